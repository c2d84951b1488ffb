"""All editors in one benchmark: its rows, its two tables, and the page that shows what was found."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hfld.attributes import ATTRIBUTES, EMOTIONS, GESTURE_ATTRIBUTES, REGIONS
from hfld.images import write_text
from hfld.report.comparisons import (
    comparison_names,
    count_verdicts,
    find_unmatched,
    sides,
    summarize_verdicts,
)
from hfld.report.labels import CONTROLS, DEFINITIONS, MORE_IS_BETTER, QUANTITIES, heading, method_name, plain
from hfld.report.summary import summary, write_summary
from hfld.report.tabular import MISSING, Cells, Table, csv_text, select, without_empty, write_tables

KEPT = (
    "other_attributes", "preservation", "landmark_nme", "emotion_tvd", "label_keep", "identity_cosine",
    "perceptual_distance", "latent_log_likelihood",
)  # fmt: skip
"""What an edit is to leave alone."""
EFFECTS = ("target_change", "success", *KEPT, "edit_ms")
EXACT = tuple(name for name in QUANTITIES if name.startswith("counterfactual"))
GROUPS = (
    EFFECTS,
    EXACT,
    tuple(f"landmark_nme:{region}" for region in REGIONS),
    tuple(f"ratio:{name}" for name in GESTURE_ATTRIBUTES),  # the paper's Table IV
    tuple(f"emotion:{name}" for name in EMOTIONS),  # and V
)
"""What benchmark.csv holds, in its order."""
COMPARED = (*KEPT, "counterfactual_landmark_px", "counterfactual_emotion_tvd", "counterfactual_attributes")
"""What a comparison is won or lost by."""
CURVES = (*KEPT, *EXACT)
"""A figure each: disturbance against achieved change."""
SCALES = {"latent_log_likelihood": "symlog"}
"""Of the vertical axis, where it is not linear: some edits leave W by a hundred times as far as others."""
NOT_MATCHED = "†"
"""Behind a method that is not at the common change where its table says matched."""


def benchmark_rows(rows: pd.DataFrame, editors: Iterable[str]) -> pd.DataFrame:
    """benchmark.csv: every group of quantities, the baseline's largest side effects, and the comparisons."""
    methods = [*editors, *CONTROLS]
    kept = [select(rows, quantity=group, method=methods) for group in GROUPS]
    cells = Cells(rows)
    for edit in cells.attributes:
        kept.append(select(rows, quantity=side_effects(cells, edit), method=methods, attribute=[edit]))
    kept.append(select(rows, quantity=COMPARED, method=comparison_names(rows)))
    return pd.concat(kept).drop_duplicates(["strength", "attribute", "method", "quantity"])


def side_effects(cells: Cells, attribute: str, *, k: int = 5) -> list[str]:
    """ratio:J of the k attributes that the baseline changes most beside its target (Tables I-III)."""
    strength = cells.strengths[-1]
    found = {name: cells(strength, attribute, "baseline", f"ratio:{name}") for name in ATTRIBUTES}
    known = [name for name, cell in found.items() if cell.known and name != attribute]
    return [f"ratio:{name}" for name in sorted(known, key=lambda name: -found[name].value)[:k]]


def benchmark_tables(rows: pd.DataFrame, matches: pd.DataFrame, *, data: str) -> list[Table]:
    """Effect, disturbance and cost of every editor; and the comparisons won and lost."""
    named = comparison_names(rows)
    cells, missed = Cells(rows[~rows["method"].isin(named)]), find_unmatched(matches)
    lines = []
    for strength in cells.strengths:
        for edit in cells.attributes:
            for method in cells.methods:
                sign = f" {NOT_MATCHED}" if strength == "matched" and (edit, method) in missed else ""
                line = {"Strength": strength, "Edit": plain(edit), "Method": method_name(method) + sign}
                texts = {heading(name): cells(strength, edit, method, name).text() for name in EFFECTS}
                lines.append(line | texts)
    note = (
        f"{data}; {int(rows['n'].max())} test latents, 95 % bootstrap intervals. Locked: the editor inside "
        "an ExpressionLock; + HFLD: trained with the landmark term. Time: median of the repeats, with the "
        "least and the most. Perceptual distance: in features of the attribute judge. Latent "
        f"log-likelihood: under a Gaussian fitted to W. {DEFINITIONS}"
    )
    if missed:
        note += f" {NOT_MATCHED}: not at the common change."
    effects = Table("Effect, disturbance and cost of all editors", without_empty(pd.DataFrame(lines)), note)
    if not named:
        return [effects]
    counts = {s: count_verdicts(rows, s, matches, COMPARED) for s in cells.strengths}
    grid = pd.concat([verdict_grid(part).assign(Strength=s) for s, part in counts.items()])
    grid.insert(0, "Strength", grid.pop("Strength"))
    note = (
        "+won −lost =undecided, over the edits, by the Holm-adjusted p of each difference; at matched "
        "strength without those at which a method did not reach the common change (matching.csv)."
    )
    return [effects, Table("Comparisons won and lost", grid, note)]


def verdict_grid(counts: pd.DataFrame) -> pd.DataFrame:
    """`count_verdicts` for reading: a comparison a row, a quantity a column, '+won −lost =undecided'."""
    lines = []
    for name, own in counts.groupby("comparison", sort=False):
        first, second = map(method_name, sides(name))
        line = {"Comparison": f"{second} against {first}"}
        for row in own.itertuples():
            total = row.won + row.lost + row.undecided
            text = f"+{row.won} −{row.lost} ={row.undecided}" if total else MISSING
            line[heading(row.quantity)] = text
        lines.append(line)
    return pd.DataFrame(lines)


def findings(rows: pd.DataFrame, matches: pd.DataFrame) -> list[str]:
    """What the comparisons say at matched strength, and what could not be matched: a sentence each."""
    return summarize_verdicts(count_verdicts(rows, "matched", matches, COMPARED), matches)


def caption(name: str) -> str:
    """What a picture of the page shows, by its name."""
    if name not in QUANTITIES:
        return "Figures 5 and 6 of the paper: the same faces by every editor, at matched strength."
    better = "higher" if name in MORE_IS_BETTER else "lower"
    return f"{heading(name)} against the achieved change of the target; {better} is better."


def write_benchmark(
    folder: Path,  # results/<profile>/benchmark
    rows: pd.DataFrame,  # of benchmark_rows
    matches: pd.DataFrame,
    curves: pd.DataFrame,
    *,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """benchmark.csv, matching.csv, curves.csv, then the page and summary.json; returns the summary."""
    shown = select(curves, quantity=("target_change", *CURVES))
    for name, frame in (("benchmark", rows), ("matching", matches), ("curves", shown)):
        write_text(folder / f"{name}.csv", csv_text(frame))
    said = write_page(folder, data=about["data"])
    return write_summary(folder, summary(rows, matches, about={**about, "findings": said}))


def write_page(folder: Path, *, data: str) -> list[str]:
    """From the CSVs: benchmark.md, .tex and README.md with the pictures of figures/; returns what it says."""
    rows, matches = (pd.read_csv(folder / f"{name}.csv") for name in ("benchmark", "matching"))
    matches["reason"] = matches["reason"].fillna("")
    write_tables(folder / "benchmark", benchmark_tables(rows, matches, data=data))
    said = findings(rows, matches)
    page = [
        f"# All editors: {data}",
        "At matched strength:",
        "\n".join(f"- {line}" for line in said),
        "[Effect, disturbance and cost](benchmark.md) of every editor; [all measurements](benchmark.csv): "
        "also distances to the exact counterfactual, landmarks by region, the paper's Tables I-V.",
    ]
    for path in sorted((folder / "figures").glob("*.png")):
        page.append(f"{caption(path.stem)}\n\n![{path.stem}](figures/{path.name})")
    write_text(folder / "README.md", "\n\n".join(page) + "\n")
    return said
