"""A table that prints itself as Markdown, LaTeX and long CSV; and the way into tidy rows."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hfld.images import write_text

MISSING = "-"


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

    def text(self, digits: int = 2, sign: bool = False) -> str:
        """'0.55 [0.52, 0.58]', with a star where the Holm-adjusted p is below .05."""
        if not self.known:
            return MISSING
        value, lo, hi = (_number(number, digits, sign) for number in (self.value, self.lo, self.hi))
        return f"{value} [{lo}, {hi}]{'*' if self.significant else ''}"


def _number(value: float, digits: int, sign: bool) -> str:
    """A number without the sign of a zero."""
    value = round(value, digits) or 0.0
    return f"{value:{'+' if sign and value else ''}.{digits}f}".replace("-", "−")


class Cells:
    """Tidy rows by (strength, attribute, method, quantity)."""

    _nothing = Cell(*[float("nan")] * 3, 0, 0, float("nan"), float("nan"))

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows
        keys = rows[["strength", "attribute", "method", "quantity"]].itertuples(index=False, name=None)
        values = rows[list(Cell._fields)].itertuples(index=False, name=None)
        self._cells = {key: Cell(*value) for key, value in zip(keys, values, strict=True)}
        self.strengths = list(dict.fromkeys(rows["strength"]))
        self.attributes = list(dict.fromkeys(rows["attribute"]))
        self.methods = list(dict.fromkeys(rows["method"]))

    def __call__(self, strength: str, attribute: str, method: str, quantity: str) -> Cell:
        """The cell; one that is not there is unknown (NaN, n 0)."""
        return self._cells.get((strength, attribute, method, quantity), self._nothing)

    def select(self, **columns: Iterable[str]) -> pd.DataFrame:
        """Rows whose columns hold one of the given values."""
        keep = pd.Series(True, index=self.rows.index)
        for name, values in columns.items():
            keep &= self.rows[name].isin(list(values))
        return self.rows[keep]


@dataclass(frozen=True)
class Block:
    """One grid of ready text under a heading."""

    title: str
    grid: pd.DataFrame


@dataclass(frozen=True)
class Table:
    """Blocks for reading, and the rows behind them for computing."""

    name: str  # file name without extension
    title: str
    blocks: list[Block]
    rows: pd.DataFrame
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        parts = [f"### {self.title}"]
        for block in self.blocks:
            parts += [f"**{block.title}**"] if block.title else []
            parts.append(markdown_grid(block.grid))
        parts += [f"*{note}*" for note in self.notes]
        return "\n\n".join(parts) + "\n"

    def latex(self) -> str:
        """One table environment per block (needs booktabs)."""
        return "\n".join(latex_grid(block.grid, f"{self.title}. {block.title}") for block in self.blocks)

    def write(self, folder: Path) -> None:
        """<name>.md, <name>.tex and <name>.csv, each through a temporary file."""
        write_text(folder / f"{self.name}.md", self.markdown())
        write_text(folder / f"{self.name}.tex", self.latex())
        write_text(folder / f"{self.name}.csv", csv_text(self.rows))

    def _repr_markdown_(self) -> str:  # a notebook shows a table that ends its cell
        return self.markdown()


def csv_text(rows: pd.DataFrame) -> str:
    """CSV with five significant digits."""
    return rows.to_csv(index=False, float_format="%.5g", lineterminator="\n")


def markdown_grid(grid: pd.DataFrame) -> str:
    """A GitHub Markdown table; the first column left, the others right aligned."""
    header = [str(column).replace("|", "\\|") for column in grid.columns]
    rule = [":--"] + ["--:"] * (len(header) - 1)
    body = [[str(value).replace("|", "\\|") for value in row] for row in grid.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *body])


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "↓": r"$\downarrow$", "↑": r"$\uparrow$",
    "−": "$-$", "±": r"$\pm$", "≤": r"$\le$", "→": r"$\to$",
}  # fmt: skip


def latex_text(text: object) -> str:
    """`text` with LaTeX's own signs escaped."""
    return re.sub("|".join(map(re.escape, _LATEX)), lambda found: _LATEX[found.group()], str(text))


def latex_grid(grid: pd.DataFrame, caption: str) -> str:
    def line(values: Iterable[object]) -> str:
        return " & ".join(latex_text(value) for value in values) + r" \\"

    body = [line(row) for row in grid.itertuples(index=False)]
    columns = "l" + "r" * (len(grid.columns) - 1)
    return "\n".join(
        [
            r"\begin{table}[t]",
            rf"\caption{{{latex_text(caption)}}}",
            r"\centering",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            line(grid.columns),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def plain(name: str) -> str:
    """An attribute as people write it."""
    return name.replace("_", " ")
