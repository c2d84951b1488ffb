"""From the CSVs of a profile: the paper's Tables I-V with its numbers beside ours, and what was found."""

import json
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import pandas as pd

from hfld.attributes import ATTRIBUTES, GESTURE_ATTRIBUTES
from hfld.report.comparisons import find_unmatched
from hfld.report.labels import CONTROLS, DEFINITIONS, heading, method_name, plain
from hfld.report.summary import DISTURBANCES, PAPER_EDITS, read_csv
from hfld.report.tabular import MISSING, Cells, Table, number, without_empty, write_tables

PAPER_METHODS = ("baseline", "hfld")
SHOWN = ("baseline", "hfld", "difference", "oracle", "floor")
"""Columns of the headline."""
TITLES = {
    "table1": "Table I: what changes with Male",
    "table2": "Table II: what changes with Bald",
    "table3": "Table III: what changes with Black Hair",
    "table4": "Table IV: expression and gesture attributes, over the change of the target",
    "table5": "Table V: change of the emotions, percentage points",
}
RATIO = "Mean absolute change of a score over that of the target's. No edit changes nothing: it has no ratio."
STRENGTHS = (
    "Native: target 0 against target 1, as in the paper. Matched: both methods scaled to the same change of "
    "the target. A star: HFLD differs from the baseline, p below .05 after Holm over the table. Paper: its "
    "numbers, on FFHQ photographs."
)


def paper_tables(results: Path) -> dict[str, Table]:
    """table1..table5 of results/<profile>, as far as its edits are there, from their CSVs."""
    about = json.loads((results / "summary.json").read_text(encoding="utf-8"))["about"]
    tables = {}
    for name, title in TITLES.items():
        if not (results / "tables" / f"{name}.csv").is_file():
            continue
        rows = read_csv(results, name)
        cells = Cells(rows)
        if name in ("table4", "table5"):
            edits = sorted(cells.attributes, key=lambda edit: edit not in PAPER_EDITS)
            lines, note = product(cells.strengths, edits, rows["quantity"].unique()), ""
            grid = _grid(cells, lines, "Attribute" if name == "table4" else "Emotion")
        else:
            lines, note = side_effects(cells, cells.attributes[0])
            grid = _grid(cells, lines, "Attribute").drop(columns="Edit")
        notes = [f"{about['data']}; {_counts(rows)} 95 % bootstrap intervals.", STRENGTHS, note, DEFINITIONS]
        if name != "table5":
            notes.insert(1, RATIO)
        tables[name] = Table(title, grid, " ".join(filter(None, notes)))
    return tables


def side_effects(cells: Cells, attribute: str, *, k: int = 5) -> tuple[list[tuple[str, str, str]], str]:
    """Lines of Tables I-III by the baseline's ratio: what either method changes most, what the paper lists;
    and a note on the attributes that the exact counterfactual hides in more than nine latents of ten.
    """
    lines, hidden = [], set(ATTRIBUTES)
    for strength in cells.strengths:
        ranked = {method: _rank(cells, strength, attribute, method) for method in PAPER_METHODS}
        shown = {name for order in ranked.values() for name in order[:k]}
        for name in ranked["baseline"]:
            listed = any(cells(strength, attribute, m, f"ratio:{name}").paper > 0 for m in PAPER_METHODS)
            if name in shown or (listed and name not in GESTURE_ATTRIBUTES):  # these are in Table IV
                lines.append((strength, attribute, f"ratio:{name}"))
        hidden -= set(ranked["baseline"])
    names = ", ".join(plain(name) for name in ATTRIBUTES if name in hidden)
    return lines, f"Hidden by the exact counterfactual and not scored: {names}." if names else ""


def _rank(cells: Cells, strength: str, attribute: str, method: str) -> list[str]:
    """Attributes by falling ratio, the target first, without those too often hidden."""
    found = {name: cells(strength, attribute, method, f"ratio:{name}") for name in ATTRIBUTES}
    total = max(cell.n + cell.dropped for cell in found.values())
    known = [name for name, cell in found.items() if cell.known and cell.n >= 0.1 * total]
    return sorted(known, key=lambda name: (name != attribute, -found[name].value))


def _grid(cells: Cells, lines: Iterable[tuple[str, str, str]], column: str) -> pd.DataFrame:
    """A line for each (strength, edit, quantity): every method's cell, then the paper's numbers."""
    methods = [name for name in (*PAPER_METHODS, *CONTROLS) if name in cells.methods]
    table = []
    for strength, edit, quantity in lines:
        texts = {name: cells(strength, edit, name, quantity).text() for name in methods}
        texts["hfld"] += "*" if cells(strength, edit, "difference", quantity).significant else ""
        line = {"Strength": strength, "Edit": plain(edit), column: heading(quantity)}
        line |= {heading(name): text for name, text in texts.items()}
        for name in PAPER_METHODS:
            paper = cells(strength, edit, name, quantity).paper
            line[f"Paper: {method_name(name)}"] = f"{paper:.2f}" if paper == paper else MISSING
        table.append(line)
    return without_empty(pd.DataFrame(table))


def headline_table(results: Path) -> Table:
    """What was found, at matched strength: a line for each edit and quantity, for the README and the page."""
    cells, missed = Cells(read_csv(results)), find_unmatched(read_csv(results, "matching"))
    table = []
    for edit in cells.attributes:
        line = {"Edit": plain(edit)}
        if any((edit, method) in missed for method in PAPER_METHODS):
            table.append(line | {"Quantity": "strengths could not be matched"})
            continue
        for quantity in DISTURBANCES:
            if not cells("matched", edit, "difference", quantity).known:  # no counterfactual of a photograph
                continue
            found = {name: cells("matched", edit, name, quantity) for name in SHOWN}
            line = {"Edit": plain(edit), "Quantity": heading(quantity)}
            line |= {heading(name): number(cell.value) for name, cell in found.items()}
            line[heading("difference")] = found["difference"].text()
            table.append(line | {"n": str(found["difference"].n)})
    note = (
        "In brackets: 95 % bootstrap intervals over test latents. A star: p below .05 after Holm's "
        "correction over all edits and quantities."
    )
    grid = pd.DataFrame(table).fillna(MISSING)
    return Table("HFLD against the baseline, at matched strength", without_empty(grid), note)


def write_paper_tables(results: Path) -> dict[str, Table]:
    """table1..table5 and headline as .md and .tex, beside the CSVs that they are made from."""
    tables = paper_tables(results)
    for name, table in tables.items():
        write_tables(results / "tables" / name, [table])
    headline = headline_table(results)
    write_tables(results / "tables" / "headline", [headline])
    return {"headline": headline, **tables}


def _counts(rows: pd.DataFrame) -> str:
    """How many latents stand behind the numbers of a table, in words."""
    low, high, dropped = int(rows["n"].min()), int(rows["n"].max()), int(rows["dropped"].max())
    latents = f"n = {high} test latents" if low == high else f"n = {low} to {high} test latents a cell"
    return f"{latents}, at most {dropped} dropped." if dropped else f"{latents}, none dropped."
