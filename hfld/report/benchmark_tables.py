"""The benchmark's table from tidy rows: a method a row, one block per group of quantities and strength."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hfld.attributes import ATTRIBUTES, EMOTIONS, GESTURE_ATTRIBUTES, REGIONS
from hfld.evaluation.rows import COMPARISON
from hfld.images import write_text
from hfld.report.summary import summary
from hfld.report.tables import CONTROLS, HEADINGS, NAMES, method_table
from hfld.report.tabular import Block, Cells, Table, plain

HEADLINE = {
    "target_change": "Target change",
    "success": "Crosses .5",
    "preservation": "Other labels kept",
    "other_attributes": "Other attributes",
    "landmark_nme": "Landmark NME, %",
    "emotion_tvd": "Emotion change, points",
    "label_keep": "Emotion label kept",
    "identity_cosine": "Identity cosine",
    "perceptual_distance": "Perceptual distance",
    "latent_log_likelihood": "Latent log-likelihood, nats/dim",
    "edit_ms": "ms per edit",
}
EXACT = {name: heading for name, heading in HEADINGS.items() if name.startswith("counterfactual")}
REGIONAL = {f"landmark_nme:{region}": f"{region.capitalize()}, %" for region in REGIONS}
GESTURES = {f"ratio:{name}": plain(name) for name in GESTURE_ATTRIBUTES}
EMOTIONAL = {f"emotion:{name}": name.capitalize() for name in EMOTIONS}
GROUPS = {
    "Effect, disturbance and cost": HEADLINE,
    "Distance to the exact counterfactual": EXACT,
    "Landmarks by region": REGIONAL,
    "Expression attributes over the target's change (Table IV)": GESTURES,
    "Emotions, percentage points (Table V)": EMOTIONAL,
}
MORE_IS_BETTER = {"preservation", "label_keep", "identity_cosine", "latent_log_likelihood"}
JUDGED = (
    "other_attributes",
    "preservation",
    "landmark_nme",
    "emotion_tvd",
    "label_keep",
    "identity_cosine",
    "perceptual_distance",
    "latent_log_likelihood",
    "counterfactual_landmark_px",
    "counterfactual_emotion_tvd",
    "counterfactual_attributes",
)
"""What a comparison is won or lost by."""
CURVES = (
    "landmark_nme",
    "emotion_tvd",
    "label_keep",
    "identity_cosine",
    "other_attributes",
    "preservation",
    "perceptual_distance",
    "latent_log_likelihood",
    *EXACT,
)
"""A figure each: disturbance against achieved change."""
SCALES = {"latent_log_likelihood": "symlog"}
"""Of the vertical axis, where it is not linear: some edits leave W by a hundred times as far as others."""
CLOSE = 0.02
"""Changes of a score that count as the same, although the search wanted them closer."""
APART = 0.05
"""Changes on test latents that do not, although on validation latents, by another judge, they matched."""
MARK = "†"
"""Behind a method that is not at the common change where its table says matched."""
UNITS = {**HEADLINE, **EXACT}


def benchmark_table(
    rows: pd.DataFrame, methods: Iterable[str], *, data: str, matches: pd.DataFrame | None = None
) -> Table:
    """Every group of quantities, Tables I-III for the baseline's five largest side effects, the comparisons
    and who wins them, in one table with the rows behind all of it.
    """
    methods = [*methods, *(name for name in CONTROLS if name not in methods)]
    cells, blocks, kept, missed = Cells(rows), [], [], unmatched(matches, compared(rows))

    def add(title: str, quantities: Mapping[str, str], *, of: Cells = cells, by: Iterable[str] = methods):
        part = method_table(
            of, tuple(quantities), name="", title="", data=data, methods=tuple(by), headings=quantities
        )
        for strength, block in zip(of.strengths, part.blocks, strict=True):
            grid = marked(block.grid, missed) if strength == "matched" else block.grid
            blocks.append(Block(f"{title}. {block.title}", grid))
        kept.append(part.rows)
        return part

    first = add("Effect, disturbance and cost", HEADLINE)
    for title, quantities in list(GROUPS.items())[1:]:
        if any((rows["quantity"] == quantity).any() for quantity in quantities):
            add(title, quantities)
    for attribute in cells.attributes:
        top = side_effects(cells, attribute)
        own = Cells(rows[rows["attribute"] == attribute])
        if top:
            add(f"What changes with {plain(attribute)}, over its own change (Tables I-III)", top, of=own)
    named = compared(rows)
    if named:
        quantities = {name: UNITS[name] for name in JUDGED}
        add("Differences, the second method minus the first", quantities, by=named)
        for strength in cells.strengths:
            won = verdicts(counted(rows, strength, matches))
            blocks.append(Block(f"Comparisons won and lost, {strength} strength", won))
    notes = [
        *first.notes,
        "Locked: the editor inside an ExpressionLock; + HFLD: trained with the landmark term. ms per edit: "
        "median of the repeats, with the least and the most. Perceptual distance: in features of the "
        "attribute judge. Latent log-likelihood: under a Gaussian fitted to W.",
        "Won, lost, undecided: over the attributes, by the Holm-adjusted p of each difference; at matched "
        "strength without those at which a method did not reach the common change.",
    ]
    if missed:
        notes.append(f"{MARK}: not at the common change; matching.csv has the change that was reached.")
    shown = pd.concat(kept).drop_duplicates(["strength", "attribute", "method", "quantity"])
    return Table("benchmark", "All editors at native and at matched strength", blocks, shown, notes)


def unmatched(matches: pd.DataFrame | None, named: Iterable[str] = ()) -> set[tuple[str, str]]:
    """(attribute, method) that did not reach the common change, and those of the comparisons `named` with
    such a side.
    """
    if matches is None or not len(matches):
        return set()
    missed = _missed(matches)
    found = set(zip(missed["attribute"], missed["method"], strict=True))
    further = {(a, name) for name in named for a, method in found if method in sides(name)}
    return found | further


def marked(grid: pd.DataFrame, missed: Iterable[tuple[str, str]]) -> pd.DataFrame:
    """The grid with a MARK behind the methods of rows that were not matched."""
    shown = {(plain(attribute), NAMES.get(method, method)) for attribute, method in missed}
    pairs = zip(grid["Attribute"], grid["Method"], strict=True)
    return grid.assign(Method=[f"{pair[1]} {MARK}" if pair in shown else pair[1] for pair in pairs])


def side_effects(cells: Cells, attribute: str, *, k: int = 5) -> dict[str, str]:
    """quantity -> heading of the k attributes that the baseline changes most beside its target."""
    strength = cells.strengths[-1]
    found = {name: cells(strength, attribute, "baseline", f"ratio:{name}") for name in ATTRIBUTES}
    known = [name for name, cell in found.items() if cell.known and name != attribute]
    top = sorted(known, key=lambda name: -found[name].value)[:k]
    return {f"ratio:{name}": plain(name) for name in top}


def compared(rows: pd.DataFrame) -> list[str]:
    """Names of the comparisons in the rows."""
    tested = rows.loc[rows["p"].notna(), "method"]
    return [name for name in dict.fromkeys(rows["method"]) if name in set(tested)]


def sides(comparison: str) -> tuple[str, str]:
    """(first, second) of a comparison's name."""
    if comparison == "difference":
        return COMPARISON
    second, first = comparison.split(" - ")
    return first, second


def counted(
    rows: pd.DataFrame,
    strength: str,
    matches: pd.DataFrame | None = None,
    quantities: Iterable[str] = JUDGED,
) -> pd.DataFrame:
    """comparison, quantity -> won, lost, undecided: numbers of attributes, by the Holm-adjusted p.

    At matched strength an attribute counts only where both methods reached the same change.
    """
    failed = unmatched(matches) if strength == "matched" else set()
    part = rows[(rows["strength"] == strength) & rows["p_holm"].notna()]
    found = []
    for name in compared(rows):
        own = part[part["method"] == name]
        fair = [not any((a, side) in failed for side in sides(name)) for a in own["attribute"]]
        own = own[pd.Series(fair, index=own.index, dtype=bool)]
        for quantity in quantities:
            cells = own[own["quantity"] == quantity]
            sign = cells["value"] * (1 if quantity in MORE_IS_BETTER else -1)
            sure = cells["p_holm"] < 0.05
            won, lost = int((sure & (sign > 0)).sum()), int((sure & (sign < 0)).sum())
            found.append((name, quantity, won, lost, len(cells) - won - lost))
    return pd.DataFrame(found, columns=["comparison", "quantity", "won", "lost", "undecided"])


def _missed(matches: pd.DataFrame) -> pd.DataFrame:
    """Matches that failed by more than CLOSE, whose reference does not move the target itself, or that came
    out more than APART on test latents.
    """
    off = (matches["validation"] - matches["goal"]).abs() > CLOSE
    failed = matches["failed"] & (off | (matches["goal"] <= CLOSE))
    return matches[failed | (matches["test_residual"].abs() > APART)]


def verdicts(counts: pd.DataFrame) -> pd.DataFrame:
    """`counted` for reading: a comparison a row, a quantity a column, '+won −lost =undecided'."""
    lines = []
    for name, own in counts.groupby("comparison", sort=False):
        line = {"Second against first": NAMES.get(name, name)}
        for row in own.itertuples():
            total = row.won + row.lost + row.undecided
            line[UNITS[row.quantity]] = f"+{row.won} −{row.lost} ={row.undecided}" if total else "-"
        lines.append(line)
    return pd.DataFrame(lines)


def findings(rows: pd.DataFrame, matches: pd.DataFrame) -> list[str]:
    """What the table says at matched strength, a sentence per comparison, and what could not be matched."""
    counts, said = counted(rows, "matched", matches), []
    for name, own in counts.groupby("comparison", sort=False):
        first, second = (NAMES.get(side, side) for side in sides(name))
        won, lost, undecided = (int(own[column].sum()) for column in ("won", "lost", "undecided"))
        if not won + lost + undecided:
            said.append(f"{second} against {first}: nowhere at the same change, no comparison.")
            continue
        worse = "; ".join(UNITS[row.quantity].lower() for row in own.itertuples() if row.lost)
        said.append(
            f"{second} against {first}: better in {won}, worse in {lost}, undecided in {undecided} of "
            f"{won + lost + undecided} cells" + (f"; worse in {worse}." if worse else ".")
        )
    for row in _missed(matches).itertuples():
        name = NAMES.get(row.method, row.method)
        why = row.reason or f"{row.test_residual:+.3f} off on test latents"
        said.append(f"{plain(row.attribute)}, {name}: not matched; {why}.")
    return said


def caption(name: str) -> str:
    """What a picture of the page shows, by its name."""
    if name not in UNITS:
        return "Figures 5 and 6 of the paper: the same faces by every editor, at matched strength."
    better = "higher" if name.removeprefix("counterfactual_") in MORE_IS_BETTER else "lower"
    return f"{UNITS[name]} against the achieved change of the target; {better} is better."


def write_benchmark(
    folder: Path,  # results/<profile>/benchmark
    table: Table,
    matches: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """benchmark.{csv,md,tex}, matching.csv, curves.csv and summary.json, and README.md, which shows what was
    found and the pictures that lie in figures/; returns the summary.
    """
    table.write(folder)
    shown = curves[curves["quantity"].isin(("target_change", *CURVES))]
    for name, frame in (("matching", matches), ("curves", shown)):
        write_text(folder / f"{name}.csv", frame.to_csv(index=False, float_format="%.5g"))
    said = findings(table.rows, matches)
    tree = summary(table.rows, matches, about={**about, "findings": said})
    write_text(folder / "summary.json", json.dumps(tree, indent=1, allow_nan=False) + "\n")
    pictures = sorted((folder / "figures").glob("*.png"))
    page = [
        f"# All editors: {about.get('data', '')}",
        "At matched strength:",
        "\n".join(f"- {line}" for line in said),
        "All cells: [table](benchmark.md), [csv](benchmark.csv), [tex](benchmark.tex).",
        *(f"{caption(path.stem)}\n\n![{path.stem}](figures/{path.name})" for path in pictures),
    ]
    write_text(folder / "README.md", "\n\n".join(page) + "\n")
    return tree
