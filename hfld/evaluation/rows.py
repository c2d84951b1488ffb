"""Per-latent quantities -> tidy rows with intervals, differences of two methods and Holm-adjusted p values.

Columns: strength, attribute, method, quantity, value, lo, hi, n, dropped, p, p_holm, paper. Beside the
methods stand `difference` (second of the comparison minus first, on the same latents) and `relative` (the
same in percent of the first). `paper` is the paper's number for that cell, measured on another data set
(FFHQ photographs).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from hfld.attributes import ATTRIBUTES, GESTURE_ATTRIBUTES
from hfld.evaluation.quantities import HEADLINE
from hfld.evaluation.stats import Estimates, bootstrap_means, holm, interval, p_values, safe_ratio

COLUMNS = (
    "strength", "attribute", "method", "quantity", "value", "lo", "hi", "n", "dropped", "p", "p_holm", "paper"
)  # fmt: skip
COMPARISON = ("baseline", "hfld")
PAPER = Path(__file__).with_name("paper_tables.csv")


def paper_values() -> pd.DataFrame:
    """The paper's Tables I-V: table, attribute, method, quantity, value."""
    return pd.read_csv(PAPER)


def estimate(
    values: Mapping[str, np.ndarray], attribute: str, counts: np.ndarray
) -> tuple[list[str], Estimates]:
    """Names and estimates of all quantities of one edit, the ratios to the target's change among them.

    ratio:J is mean |change of J| / mean |change of the target| (the paper's Tables I-IV); ratio_abs_mean:J
    takes the absolute value outside the means. Numerator and denominator share every resample.
    """
    names = list(values)
    means = bootstrap_means(np.stack([values[name] for name in names], axis=1), counts)
    at = {name: i for i, name in enumerate(names)}
    parts = [means]
    for label, source, form in (("ratio", "change", np.asarray), ("ratio_abs_mean", "signed", np.abs)):
        own, target = [at[f"{source}:{name}"] for name in ATTRIBUTES], [at[f"{source}:{attribute}"]]
        parts.append(
            Estimates(
                value=safe_ratio(form(means.value[own]), form(means.value[target])),
                draws=safe_ratio(form(means.draws[:, own]), form(means.draws[:, target])),
                n=means.n[own],
                dropped=means.dropped[own],
            )
        )
        names += [f"{label}:{name}" for name in ATTRIBUTES]
    return names, Estimates(*(np.concatenate(part, axis=-1) for part in zip(*parts, strict=True)))


def rows_of(
    readings: Mapping[str, Mapping[str, np.ndarray]],  # method -> quantity -> [N]
    *,
    attribute: str,
    strength: str,
    counts: np.ndarray,  # [B, N], the same for every method
    comparison: tuple[str, str] = COMPARISON,
    further: Mapping[str, tuple[str, str]] | None = None,  # name in place of `difference` -> two methods
) -> list[dict]:
    """Tidy rows (without p_holm and paper) of all methods at one attribute and strength."""
    rows = []
    for method, values in readings.items():
        names, estimates = estimate(values, attribute, counts)
        rows += _rows(names, estimates, strength=strength, attribute=attribute, method=method)
    for name, (first, second) in {"difference": comparison, **(further or {})}.items():
        if first in readings and second in readings:
            key = {"name": name, "attribute": attribute, "strength": strength}
            rows += _difference_rows(readings[first], readings[second], counts=counts, **key)
    return rows


def _difference_rows(
    first: Mapping[str, np.ndarray],
    second: Mapping[str, np.ndarray],
    *,
    name: str,
    attribute: str,
    strength: str,
    counts: np.ndarray,
) -> list[dict]:
    """Rows `name`, and `relative` beside `difference`; a latent without a reading in either method is dropped
    from both.
    """
    known = {key: np.isfinite(first[key]) & np.isfinite(second[key]) for key in first}
    (names, a), (_, b) = (
        estimate({key: np.where(known[key], side[key], np.nan) for key in first}, attribute, counts)
        for side in (first, second)
    )
    difference = a._replace(value=b.value - a.value, draws=b.draws - a.draws)
    key = {"strength": strength, "attribute": attribute}
    rows = _rows(names, difference, method=name, p=p_values(difference.value, difference.draws), **key)
    if name != "difference":
        return rows
    percent = [100 * safe_ratio(change, of) for change, of in zip(difference[:2], a[:2], strict=True)]
    return rows + _rows(names, a._replace(value=percent[0], draws=percent[1]), method="relative", **key)


def _rows(names: list[str], estimates: Estimates, p: np.ndarray | None = None, **key: str) -> list[dict]:
    lo, hi = interval(estimates.draws)
    p = np.full(len(names), np.nan) if p is None else p
    columns = {"value": estimates.value, "lo": lo, "hi": hi}
    columns |= {"n": estimates.n, "dropped": estimates.dropped, "p": p}
    table = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [
        {**key, "quantity": name, **dict(zip(columns, values, strict=True))}
        for name, values in zip(names, table, strict=True)
    ]


def finish(rows: list[dict]) -> pd.DataFrame:
    """Rows -> DataFrame with Holm's correction per table and the paper's numbers."""
    frame = pd.DataFrame(rows)
    frame["p_holm"] = np.nan
    tested = frame[frame["p"].notna()]
    families = [f"{row.strength} {family(row.quantity, row.attribute)}" for row in tested.itertuples()]
    for _, group in tested.groupby(families):
        frame.loc[group.index, "p_holm"] = holm(group["p"].to_numpy())
    paper = paper_values().rename(columns={"value": "paper"}).drop(columns="table")
    frame = frame.drop(columns="paper", errors="ignore").merge(
        paper, how="left", on=["attribute", "method", "quantity"], validate="many_to_one"
    )
    return frame[list(COLUMNS)]


def family(quantity: str, attribute: str) -> str:
    """The table, hence the Holm family, that a difference belongs to."""
    if quantity in HEADLINE and quantity != "target_change":  # matched by construction: a check, not a claim
        return "headline"
    kind, _, name = quantity.partition(":")
    if kind == "ratio" and name in GESTURE_ATTRIBUTES:
        return "table4"
    if kind == "emotion":
        return "table5"
    return f"{kind} {attribute}" if name else quantity
