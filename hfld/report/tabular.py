"""Tidy rows as cells of text, and a table that pandas writes as Markdown and LaTeX."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hfld.images import write_text

MISSING = "-"


def number(value: float | None) -> str:
    """Three significant digits, never an exponent: 0.0338, −12.5, 0.970, 1230."""
    if value is None or value != value:
        return MISSING
    return "0" if value == 0 else f"{Decimal(f'{value:.2e}'):f}".replace("-", "−")


class Cell(NamedTuple):
    """One estimate of the tidy rows."""

    value: float
    lo: float
    hi: float
    n: int
    dropped: int
    p_holm: float
    paper: float

    @property
    def known(self) -> bool:
        return self.value == self.value

    @property
    def significant(self) -> bool:
        return self.p_holm < 0.05  # False for NaN

    def text(self) -> str:
        """'0.550 [0.520, 0.580]', with a star where the Holm-adjusted p is below .05."""
        if not self.known:
            return MISSING
        return f"{number(self.value)} [{number(self.lo)}, {number(self.hi)}]{'*' if self.significant else ''}"


class Cells:
    """Tidy rows by (strength, attribute, method, quantity)."""

    _nothing = Cell(*[float("nan")] * 3, 0, 0, float("nan"), float("nan"))

    def __init__(self, rows: pd.DataFrame) -> None:
        keys = rows[["strength", "attribute", "method", "quantity"]].itertuples(index=False, name=None)
        values = rows[list(Cell._fields)].itertuples(index=False, name=None)
        self._cells = {key: Cell(*value) for key, value in zip(keys, values, strict=True)}
        self.strengths = list(dict.fromkeys(rows["strength"]))
        self.attributes = list(dict.fromkeys(rows["attribute"]))
        self.methods = list(dict.fromkeys(rows["method"]))

    def __call__(self, strength: str, attribute: str, method: str, quantity: str) -> Cell:
        """The cell; one that is not there is unknown (NaN, n 0)."""
        return self._cells.get((strength, attribute, method, quantity), self._nothing)


@dataclass(frozen=True)
class Table:
    """A grid of text under a title."""

    title: str
    grid: pd.DataFrame
    note: str = ""

    def markdown(self) -> str:
        grid = self.grid.to_markdown(index=False, disable_numparse=True)
        return "\n\n".join(part for part in (f"### {self.title}", grid, self.note) if part) + "\n"

    def latex(self) -> str:
        """A table environment (needs booktabs)."""
        return self.grid.to_latex(index=False, escape=True, caption=self.title, position="t")


def write_tables(stem: Path, tables: Iterable[Table]) -> None:
    """<stem>.md and <stem>.tex with the tables one below the other."""
    tables = list(tables)
    write_text(stem.with_suffix(".md"), "\n".join(table.markdown() for table in tables))
    write_text(stem.with_suffix(".tex"), "\n".join(table.latex() for table in tables))


def without_empty(grid: pd.DataFrame) -> pd.DataFrame:
    """Without the columns in which every cell is missing: methods that this world does not have."""
    return grid.loc[:, (grid != MISSING).any()]


def csv_text(rows: pd.DataFrame) -> str:
    """CSV with five significant digits."""
    return rows.to_csv(index=False, float_format="%.5g", lineterminator="\n")


def select(rows: pd.DataFrame, **columns: Iterable[str]) -> pd.DataFrame:
    """Rows whose columns hold one of the given values."""
    keep = pd.Series(True, index=rows.index)
    for name, values in columns.items():
        keep &= rows[name].isin(list(values))
    return rows[keep]
