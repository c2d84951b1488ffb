"""Results on disk: every table in three formats, the long CSV and summary.json."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hfld.images import write_text
from hfld.report.tabular import Table, csv_text

LONG = "rows"
"""tables/rows.csv: strength, attribute, method, quantity, value, lo, hi, n, dropped, p, p_holm, paper."""
INTERNAL = ("signed:", "change:")
"""Per-attribute changes that the ratios are made of: too many to keep in git."""
BY_ATTRIBUTE = ("ratio:", "ratio_abs_mean:")
"""Kept for baseline and HFLD only; the controls' are in the tables that show them."""
COMPARED = ("baseline", "hfld", "difference")
SUMMARISED = ("ratio", "ratio_abs_mean")
"""Quantities by attribute that stay out of summary.json, except for the three gesture attributes."""


def summary(
    rows: pd.DataFrame, matches: pd.DataFrame | None = None, *, about: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """summary[strength][attribute][method][quantity] = {mean, lo, hi, n, dropped}; difference has p and
    p_holm too.

    Beside the strengths stand `about` (profile, data, units) and `matching`.
    """
    gestures = {"Smiling", "Mouth_Slightly_Open", "Narrow_Eyes"}
    tree: dict[str, Any] = {"about": dict(about or {})}
    for row in rows.itertuples(index=False):
        kind, _, name = row.quantity.partition(":")
        if row.quantity.startswith(INTERNAL) or (kind in SUMMARISED and name not in gestures):
            continue
        cell = {"mean": row.value, "lo": row.lo, "hi": row.hi, "n": int(row.n), "dropped": int(row.dropped)}
        if row.method == "difference" or row.p == row.p:  # further comparisons have a p as well
            cell |= {"p": row.p, "p_holm": row.p_holm}
        branch = tree.setdefault(row.strength, {}).setdefault(row.attribute, {}).setdefault(row.method, {})
        branch[row.quantity] = cell
    if matches is not None and len(matches):
        tree["matching"] = {
            attribute: {row.method: row._asdict() for row in part.itertuples(index=False)}
            for attribute, part in matches.groupby("attribute", sort=False)
        }
    return _rounded(tree)


def write_results(
    folder: Path,  # results/<profile>
    tables: Mapping[str, Table],
    rows: pd.DataFrame,
    matches: pd.DataFrame | None = None,
    *,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """tables/<name>.{csv,md,tex}, tables/rows.csv and summary.json; returns the summary."""
    for table in tables.values():
        table.write(folder / "tables")
    kept = rows[~rows["quantity"].str.startswith(INTERNAL)].dropna(subset=["value"])
    kept = kept[~kept["quantity"].str.startswith(BY_ATTRIBUTE) | kept["method"].isin(COMPARED)]
    write_text(folder / "tables" / f"{LONG}.csv", csv_text(kept))
    tree = summary(rows, matches, about=about)
    write_text(folder / "summary.json", json.dumps(tree, indent=1, allow_nan=False) + "\n")
    return tree


def read_rows(folder: Path) -> pd.DataFrame:
    """tables/rows.csv of results/<profile>."""
    path = folder / "tables" / f"{LONG}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; `dvc repro` (or `make repro`) makes it")
    return pd.read_csv(path, dtype={"strength": str})


def _rounded(value: Any) -> Any:
    """Six significant digits, NaN as null: JSON that every reader takes and whose diffs can be read."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(part) for part in value]
    if isinstance(value, bool) or not isinstance(value, float):
        return value.item() if hasattr(value, "item") else value
    return float(f"{value:.6g}") if math.isfinite(value) else None
