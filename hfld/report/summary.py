"""Results on disk: tidy rows as CSVs and summary.json, to write and to read."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hfld.attributes import ATTRIBUTES, EMOTIONS, GESTURE_ATTRIBUTES
from hfld.evaluation.quantities import HEADLINE
from hfld.images import write_text
from hfld.report.labels import CONTROLS
from hfld.report.tabular import csv_text, select

PAPER_EDITS = ("Male", "Bald", "Black_Hair")
"""The targets of the paper's Tables I, II and III."""
DISTURBANCES = ("landmark_drift_px", "emotion_tvd", "counterfactual_landmark_px", "label_keep")
"""What an edit is to leave alone: the quantities of the headline."""
CHANGES_BY_ATTRIBUTE = ("signed:", "change:")
"""What the ratios are made of: too many to keep in git."""
RATIOS_BY_ATTRIBUTE = ("ratio:", "ratio_abs_mean:")
"""Of baseline and HFLD in rows.csv, of all in the tables that show them, of gestures only in summary.json."""


def summary(
    rows: pd.DataFrame, matches: pd.DataFrame | None = None, *, about: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """summary[strength][attribute][method][quantity] = {mean, lo, hi, n, dropped}; p, p_holm of differences.

    Beside the strengths stand `about` (profile, data, units) and `matching`.
    """
    tree: dict[str, Any] = {"about": dict(about or {})}
    for row in rows.itertuples(index=False):
        by_attribute = row.quantity.startswith(RATIOS_BY_ATTRIBUTE)
        of_gesture = row.quantity.endswith(tuple(f":{name}" for name in GESTURE_ATTRIBUTES))
        if row.quantity.startswith(CHANGES_BY_ATTRIBUTE) or (by_attribute and not of_gesture):
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


def csv_tables(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """name -> rows: the paper's Tables I-V, what changes with each further edit, and all methods by topic."""
    ratios = [f"ratio:{name}" for name in ATTRIBUTES]
    numbers = {name: f"table{i}" for i, name in enumerate(PAPER_EDITS, start=1)}
    tables = {
        numbers.get(edit, f"table_{edit}"): select(rows, attribute=[edit], quantity=ratios).dropna(
            subset=["value"]
        )
        for edit in dict.fromkeys(rows["attribute"])
    }
    tables["table4"] = select(rows, quantity=[f"ratio:{name}" for name in GESTURE_ATTRIBUTES])
    tables["table5"] = select(rows, quantity=[*(f"emotion:{name}" for name in EMOTIONS), "emotion_tvd"])
    methods = ("baseline", "hfld", "difference", "relative", *CONTROLS)
    tables["headline"] = select(rows, quantity=HEADLINE, method=methods)
    found = set(rows["method"])
    if "oracle" in found:
        exact = [name for name in rows["quantity"].unique() if name.startswith("counterfactual")]
        tables["counterfactual"] = select(rows, quantity=exact, method=methods)
    if found & {"baseline_w", "hfld_w"}:
        tables["spaces"] = select(
            rows,
            quantity=("target_change", *DISTURBANCES),
            method=("baseline", "baseline_w", "hfld", "hfld_w"),
        )
    return tables


def write_results(
    folder: Path,  # results/<profile>
    rows: pd.DataFrame,  # of hfld.evaluation.evaluator.evaluate
    matches: pd.DataFrame,
    surveyed: pd.DataFrame,
    strengths: pd.DataFrame,  # of hfld.evaluation.evaluator.curves
    *,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """tables/*.csv and summary.json; returns the summary."""
    kept = rows[~rows["quantity"].str.startswith(CHANGES_BY_ATTRIBUTE)].dropna(subset=["value"])
    compared = kept["method"].isin(("baseline", "hfld", "difference"))
    tables = csv_tables(rows) | {
        "rows": kept[~kept["quantity"].str.startswith(RATIOS_BY_ATTRIBUTE) | compared],
        "matching": matches,
        "survey": select(
            surveyed, quantity=("target_change", "landmark_drift_px", "emotion_tvd", "label_keep")
        ),
        "curves": select(strengths, quantity=HEADLINE),
    }
    for name, table in tables.items():
        write_text(folder / "tables" / f"{name}.csv", csv_text(table))
    return write_summary(folder, summary(rows, matches, about=about))


def write_summary(folder: Path, tree: dict[str, Any]) -> dict[str, Any]:
    """<folder>/summary.json; returns it."""
    write_text(folder / "summary.json", json.dumps(tree, indent=1, allow_nan=False) + "\n")
    return tree


def read_csv(folder: Path, name: str = "rows") -> pd.DataFrame:
    """tables/<name>.csv of results/<profile>; `rows` has every estimate."""
    path = folder / "tables" / f"{name}.csv"
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
