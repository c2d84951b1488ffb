"""Tables I-V in the paper's layout, and the tables that the paper did not have, from tidy rows."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from hfld.attributes import ATTRIBUTES, EMOTIONS, GESTURE_ATTRIBUTES, REGIONS
from hfld.evaluation.quantities import HEADLINE
from hfld.evaluation.rows import paper_values
from hfld.report.labels import LABELS
from hfld.report.tabular import MISSING, Block, Cell, Cells, Table, plain

PAPER_ATTRIBUTES = ("Male", "Bald", "Black_Hair")
"""The targets of the paper's Tables I, II and III."""
NAMES = {method: label[:1].upper() + label[1:] for method, label in LABELS.items()} | {
    "difference": "HFLD − baseline",
    "relative": "HFLD against baseline, %",
}
CONTROLS = ("random", "none", "oracle", "floor")
PAPER = "paper, FFHQ photographs"
STRENGTHS = {
    "native": "Native strength (as the paper: target 0 against target 1)",
    "matched": "Matched strength (both methods scaled to the same target change)",
}
HEADINGS = {
    "target_change": "Target change",
    "landmark_drift_px": "Landmark drift, px",
    "emotion_tvd": "Emotion change, points",
    "label_keep": "Label kept",
    "identity_cosine": "Identity cosine",
    "other_attributes": "Other attributes",
    "counterfactual_landmark_px": "Landmarks to exact, px",
    "counterfactual_emotion_tvd": "Emotion to exact, points",
    "counterfactual_label_keep": "Label of exact kept",
    "counterfactual_attributes": "Attributes to exact",
    "counterfactual_pixel": "Pixels to exact, levels",
}
DIGITS = {
    "emotion_tvd": 1,
    "counterfactual_emotion_tvd": 1,
    "counterfactual_pixel": 1,
    "other_attributes": 3,
    "perceptual_distance": 3,
    "edit_ms": 1,
}

EXPLANATION = {
    "difference": "A star marks a difference whose p, Holm-adjusted over the table, is below .05.",
    "controls": "No edit: the original twice. Random direction: as long as the baseline's. Oracle edit: the "
    "generator at the exact counterfactual latent. Floor: the rendered exact counterfactual. The last two "
    "are full edits and are never scaled.",
    "exact": "Exact: the same portrait drawn with the attribute at 0 and at 1; the average over both.",
}


def ratio_table(cells: Cells, attribute: str, *, name: str, title: str, data: str, k: int = 5) -> Table:
    """The paper's Tables I-III: the k attributes that change most, relative to the target's own change.

    An attribute that the exact counterfactual hides for more than nine latents in ten is not ranked.
    """
    blocks, notes = [], []
    quantities = [f"ratio:{other}" for other in ATTRIBUTES]
    for strength in cells.strengths:
        tops, hidden = {}, []
        for method in ("baseline", "hfld"):
            ranked, hidden = _ranked(cells, strength, attribute, method)
            tops[method] = ranked[:k]
        columns: dict[str, list[str]] = {"Top": [str(i + 1) for i in range(k)]}
        for method, top in tops.items():
            columns[NAMES[method]] = [
                f"{plain(o)} {cells(strength, attribute, method, f'ratio:{o}').text()}" for o in top
            ]
        columns["HFLD for the baseline's"] = [
            _arrowed(cells, strength, attribute, o) for o in tops["baseline"]
        ]
        for method in ("random", "oracle", "floor"):
            if method in cells.methods:
                columns[f"{NAMES[method]} for the baseline's"] = [
                    cells(strength, attribute, method, f"ratio:{o}").text() for o in tops["baseline"]
                ]
        columns |= _paper_columns(attribute, k)
        grid = pd.DataFrame({head: values + [""] * (k - len(values)) for head, values in columns.items()})
        blocks.append(Block(STRENGTHS.get(strength, strength), grid))
        if hidden:
            named = ", ".join(plain(other) for other in hidden)
            notes.append(f"Hidden by the exact counterfactual and therefore not scored: {named}.")
    rows = cells.select(attribute=[attribute], quantity=quantities).dropna(subset=["value"])
    notes = list(dict.fromkeys(notes))
    notes.append(
        f"{data}; {_counts(rows)} Mean absolute score change over the target's, 95 % bootstrap intervals of "
        "the joint ratio. ↓ ↑: against the baseline. No edit changes nothing: its ratio is not defined."
    )
    return Table(name, title, blocks, rows, [*notes, EXPLANATION["difference"]])


def _ranked(cells: Cells, strength: str, attribute: str, method: str) -> tuple[list[str], list[str]]:
    """Attributes by falling ratio, the target first; and those too often hidden to be ranked."""
    found = {other: cells(strength, attribute, method, f"ratio:{other}") for other in ATTRIBUTES}
    total = max(cell.n + cell.dropped for cell in found.values())
    hidden = [other for other, cell in found.items() if cell.n < 0.1 * total]
    known = [other for other, cell in found.items() if cell.known and other not in hidden]
    return sorted(known, key=lambda other: (other != attribute, -found[other].value)), hidden


def _arrowed(cells: Cells, strength: str, attribute: str, other: str) -> str:
    cell = cells(strength, attribute, "hfld", f"ratio:{other}")
    change = cells(strength, attribute, "difference", f"ratio:{other}")
    arrow = "" if not change.known or change.value == 0 else "↓ " if change.value < 0 else "↑ "
    return f"{arrow}{plain(other)} {cell.text()}{'*' if change.significant else ''}"


def _paper_columns(attribute: str, k: int) -> dict[str, list[str]]:
    """The paper's three columns for one of its own targets, nothing for another."""
    if attribute not in PAPER_ATTRIBUTES:
        return {}
    table = paper_values().query(
        "table == @number", local_dict={"number": PAPER_ATTRIBUTES.index(attribute) + 1}
    )
    lists = {
        method: dict(zip(part["quantity"].str.removeprefix("ratio:"), part["value"], strict=True))
        for method, part in table.groupby("method")
    }
    tops = {
        method: sorted(values, key=lambda other: (other != attribute, -values[other]))[:k]
        for method, values in lists.items()
    }
    written = {m: [f"{plain(o)} {lists[m][o]:.2f}" for o in tops[m]] for m in tops}
    known = [f"{plain(o)} {lists['hfld'][o]:.2f}" for o in tops["baseline"]]
    return {
        f"Baseline ({PAPER})": written["baseline"],
        f"Ours ({PAPER})": written["hfld"],
        f"Ours for the baseline's ({PAPER})": known,
    }


def change_table(
    cells: Cells,
    quantities: Mapping[str, str],  # heading -> quantity
    *,
    name: str,
    title: str,
    data: str,
    digits: int = 2,
    group: int = 3,  # attributes side by side, as in the paper
) -> Table:
    """The paper's Tables IV and V: a quantity a row, baseline and HFLD under each attribute."""
    attributes = [a for a in PAPER_ATTRIBUTES if a in cells.attributes]
    attributes += [a for a in cells.attributes if a not in attributes]
    groups = [attributes[i : i + group] for i in range(0, len(attributes), group)]
    blocks = []
    for strength in cells.strengths:
        for part in groups:
            lines = []
            for heading, quantity in quantities.items():
                lines.append([heading, *_pairs(cells, strength, part, quantity, digits)])
                paper = [cells(strength, a, m, quantity).paper for a in part for m in ("baseline", "hfld")]
                if np.isfinite(paper).any():
                    shown = [MISSING if value != value else f"{value:.2f}" for value in paper]
                    lines.append([f"  {heading} ({PAPER})", *shown])
            heads = [f"{plain(a)}: {NAMES[m]}" for a in part for m in ("baseline", "hfld")]
            grid = pd.DataFrame(lines, columns=["", *heads])
            blocks.append(Block(STRENGTHS.get(strength, strength), grid))
    strength = cells.strengths[-1]
    lines = [
        [
            f"{heading}: {NAMES[method]}",
            *(cells(strength, a, method, quantity).text(digits) for a in attributes),
        ]
        for heading, quantity in quantities.items()
        for method in CONTROLS
        if method in cells.methods
    ]
    grid = pd.DataFrame(lines, columns=["", *(plain(a) for a in attributes)])
    blocks.append(Block(f"What else would change it ({strength} strength where there is one)", grid))
    rows = cells.select(quantity=quantities.values())
    notes = [f"{data}; {_counts(rows)} 95 % bootstrap intervals."]
    return Table(name, title, blocks, rows, [*notes, EXPLANATION["controls"], EXPLANATION["difference"]])


def _pairs(cells: Cells, strength: str, attributes: Sequence[str], quantity: str, digits: int) -> list[str]:
    """Baseline and HFLD per attribute; the star of their difference stands at HFLD."""
    texts = []
    for attribute in attributes:
        star = "*" if cells(strength, attribute, "difference", quantity).significant else ""
        texts.append(cells(strength, attribute, "baseline", quantity).text(digits))
        texts.append(cells(strength, attribute, "hfld", quantity).text(digits) + star)
    return texts


def method_table(
    cells: Cells,
    quantities: Sequence[str],
    *,
    name: str,
    title: str,
    data: str,
    methods: Sequence[str] = ("baseline", "hfld", "difference", "relative", *CONTROLS),
    headings: Mapping[str, str] = HEADINGS,
) -> Table:
    """A method a row, a quantity a column, grouped by attribute; one block per strength."""
    shown = [q for q in quantities if (cells.rows["quantity"] == q).any()]
    blocks = []
    for strength in cells.strengths:
        lines = [
            [plain(attribute), NAMES.get(method, method)]
            + [_text(cells(strength, attribute, method, quantity), method, quantity) for quantity in shown]
            for attribute in cells.attributes
            for method in methods
            if method in cells.methods
        ]
        grid = pd.DataFrame(lines, columns=["Attribute", "Method", *(headings.get(q, q) for q in shown)])
        blocks.append(Block(STRENGTHS.get(strength, strength), grid))
    rows = cells.select(quantity=shown, method=methods)
    notes = [f"{data}; {_counts(rows)} 95 % bootstrap intervals.", EXPLANATION["controls"]]
    if any(quantity.startswith("counterfactual") for quantity in shown):
        notes.append(EXPLANATION["exact"])
    return Table(name, title, blocks, rows, [*notes, EXPLANATION["difference"]])


def _text(cell: Cell, method: str, quantity: str) -> str:
    if method == "relative":
        return cell.text(0, sign=True)
    return cell.text(DIGITS.get(quantity.partition(":")[0], 2), sign=method == "difference")


def matching_table(matches: pd.DataFrame, *, data: str) -> Table:
    """The factors of matched strength, and what is left of the mismatch on test latents."""
    grid = pd.DataFrame(
        {
            "Attribute": matches["attribute"].map(plain),
            "Method": matches["method"].map(lambda method: NAMES.get(method, method)),
            "Factor": matches["factor"].map("{:.3f}".format),
            "Native change": matches["native"].map("{:.3f}".format),
            "Goal": matches["goal"].map("{:.3f}".format),
            "Reached (validation)": matches["validation"].map("{:.3f}".format),
            "Reached (test)": matches["test"].map("{:.3f}".format),
            "Left over (test)": matches["test_residual"].map("{:+.3f}".format),
            "Failed": matches["reason"].where(matches["failed"], "no"),
        }
    )
    notes = [
        f"{data}. Signed mean change of the target's score. Native, goal and validation are read by the "
        "tuning judge on validation latents, test by the judge of the tables; left over: against the weaker."
    ]
    return Table("matching", "Matched strength", [Block("", grid)], matches, notes)


def survey_table(survey: pd.DataFrame, reasons: pd.DataFrame, *, data: str, threshold: float = 0.5) -> Table:
    """All 40 attributes: what the baseline disturbs, beside the floor, the larger drift first."""
    cells = Cells(survey)
    strength = cells.strengths[0]
    reportable = reasons.set_index("attribute")["reportable"]
    lines = []
    for attribute in cells.attributes:
        line = [plain(attribute)]
        for method, quantity in (
            ("baseline", "target_change"), ("oracle", "target_change"), ("baseline", "landmark_drift_px"),
            ("floor", "landmark_drift_px"), ("baseline", "emotion_tvd"), ("floor", "emotion_tvd"),
        ):  # fmt: skip
            line.append(_text(cells(strength, attribute, method, quantity), method, quantity))
        line.append("yes" if reportable[attribute] else "no")
        lines.append((cells(strength, attribute, "baseline", "landmark_drift_px").value, line))
    lines.sort(key=lambda pair: -np.nan_to_num(pair[0], nan=-1.0))
    heads = ["Attribute", "Target change: baseline", "oracle", "Drift, px: baseline", "floor"]
    heads += ["Emotion, points: baseline", "floor", "Reportable"]
    grid = pd.DataFrame([line for _, line in lines], columns=heads)
    rows = cells.select(quantity=("target_change", "landmark_drift_px", "emotion_tvd", "label_keep"))
    notes = [
        f"{data}; {_counts(rows, 'validation')} Native strength. Reportable: the oracle edit moves the judge "
        f"by over {threshold:g}."
    ]
    return Table("survey", "What the baseline disturbs, all 40 attributes", [Block("", grid)], rows, notes)


def all_tables(
    rows: pd.DataFrame,
    matches: pd.DataFrame | None = None,
    *,
    data: str,  # what the numbers were measured on, for every caption
    survey: tuple[pd.DataFrame, pd.DataFrame] | None = None,  # rows, reasons (hfld.evaluation.reportable)
    report_above: float = 0.5,  # what an attribute needed to be reported
) -> dict[str, Table]:
    """name -> Table: table1..table5 as far as the paper's targets are there, then the others."""
    cells = Cells(rows)
    tables = []
    for number, attribute in enumerate(PAPER_ATTRIBUTES, start=1):
        if attribute in cells.attributes:
            title = f"Table {'I' * number}: what changes with {plain(attribute)}"
            tables.append(ratio_table(cells, attribute, name=f"table{number}", title=title, data=data))
    gestures = {plain(name): f"ratio:{name}" for name in GESTURE_ATTRIBUTES}
    title = "Table IV: expression and gesture attributes, relative to the target's change"
    tables.append(change_table(cells, gestures, name="table4", title=title, data=data))
    emotions = {name.capitalize(): f"emotion:{name}" for name in EMOTIONS} | {
        "Total variation": "emotion_tvd"
    }
    title = "Table V: emotion change in percentage points"
    tables.append(change_table(cells, emotions, name="table5", title=title, data=data))
    for attribute in cells.attributes:
        if attribute not in PAPER_ATTRIBUTES:
            title = f"What changes with {plain(attribute)}"
            tables.append(ratio_table(cells, attribute, name=f"table_{attribute}", title=title, data=data))
    tables.append(method_table(cells, HEADLINE, name="headline", title="All methods", data=data))
    if "oracle" in cells.methods:
        tables.append(_counterfactual(cells, data))
    if {"baseline_w", "hfld_w"} & set(cells.methods):
        tables.append(_spaces(cells, data))
    if matches is not None and len(matches):
        tables.append(matching_table(matches, data=data))
    if survey is not None:
        tables.append(survey_table(*survey, data=data, threshold=report_above))
    return {table.name: table for table in tables}


def _counterfactual(cells: Cells, data: str) -> Table:
    landmarks = {f"counterfactual_landmark_px:{region}": f"{region.capitalize()}, px" for region in REGIONS}
    headings = {**HEADINGS, **landmarks}
    quantities = (
        "counterfactual_landmark_px",
        *landmarks,
        *(q for q in HEADINGS if q.startswith("counterf")),
    )
    title = "Distance to the exact counterfactual"
    shown = tuple(dict.fromkeys(quantities))
    return method_table(cells, shown, name="counterfactual", title=title, data=data, headings=headings)


def _spaces(cells: Cells, data: str) -> Table:
    methods = ("baseline", "baseline_w", "hfld", "hfld_w")
    quantities = (
        "target_change",
        "landmark_drift_px",
        "emotion_tvd",
        "label_keep",
        "counterfactual_landmark_px",
    )
    return method_table(cells, quantities, name="spaces", title="W beside W+", data=data, methods=methods)


def _counts(rows: pd.DataFrame, split: str = "test") -> str:
    """How many latents stand behind the numbers of a table, in words."""
    if not len(rows):
        return "no readings."
    low, high, dropped = int(rows["n"].min()), int(rows["n"].max()), int(rows["dropped"].max())
    latents = f"n = {high}" if low == high else f"n = {low} to {high}"
    latents += f" {split} latents" + (" a cell" if low != high else "")
    return f"{latents}, at most {dropped} dropped." if dropped else f"{latents}, none dropped."
