"""Curves and intervals: rows in, a matplotlib Figure out (hfld.report.figures: faces)."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hfld.report.figures import FONT, INK, style_of
from hfld.report.labels import COLOURS, method_name, plain, quantity_name

TRAININGS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")


def headline(rows: pd.DataFrame, *, unmatched: Collection[str] = ()) -> Figure:
    """Baseline against HFLD per attribute at matched strength, beside oracle and floor; `unmatched` ones are
    left out, and named.
    """
    rows = rows[(rows["strength"] == "matched")]
    methods = [method for method in ("baseline", "hfld", "oracle", "floor") if method in set(rows["method"])]
    quantities = ("landmark_drift_px", "emotion_tvd", "counterfactual_landmark_px")
    quantities = [quantity for quantity in quantities if quantity in set(rows["quantity"])]
    attributes = [a for a in dict.fromkeys(rows["attribute"]) if a not in unmatched]
    figure = Figure(figsize=(3.1 * len(quantities) + 1, 0.42 * len(attributes) + 1.3), layout="constrained")
    axes = figure.subplots(1, len(quantities), squeeze=False, sharey=True)[0]
    for ax, quantity in zip(axes, quantities, strict=True):
        for shift, method in zip(np.linspace(-0.24, 0.24, len(methods)), methods, strict=True):
            found = rows[(rows["quantity"] == quantity) & (rows["method"] == method)]
            found = found.set_index("attribute").reindex(attributes)
            y, style = (
                np.arange(len(attributes)) + shift,
                {"color": COLOURS[method], "label": method_name(method)},
            )
            _draw_intervals(ax, found["value"], found, y, **style)
        ax.set_xlabel(quantity_name(quantity), fontsize=FONT)
        ax.set_xlim(left=0)
        _lighten(ax, "x")
    axes[0].set_yticks(range(len(attributes)), [plain(name) for name in attributes])
    axes[0].set_ylim(len(attributes) - 0.5, -0.5)
    _add_legend(figure, axes[0], "lower", columns=len(methods))
    title = "Disturbance at equal change of the attribute, 95 % intervals"
    if unmatched:
        title += f"\nwithout {', '.join(map(plain, unmatched))}: strengths could not be matched"
    figure.suptitle(title, fontsize=FONT + 2, color=INK)
    return figure


def survey(rows: pd.DataFrame) -> Figure:
    """All attributes: the baseline's disturbance against the floor, sorted by landmark drift.

    Horizontal axes are square roots: edits of the expression itself disturb ten times as much as others.
    """
    quantities = ("landmark_drift_px", "emotion_tvd")
    table = rows.pivot_table(index="attribute", columns=["quantity", "method"], values="value")
    order = table[quantities[0], "baseline"].sort_values().index
    figure = Figure(figsize=(4 * len(quantities) + 1.2, 0.19 * len(order) + 1.2), layout="constrained")
    axes = figure.subplots(1, len(quantities), squeeze=False, sharey=True)[0]
    y = np.arange(len(order))
    for ax, quantity in zip(axes, quantities, strict=True):
        base = table.loc[order, (quantity, "baseline")]
        if (quantity, "floor") in table.columns:
            floor = table.loc[order, (quantity, "floor")]
            ax.hlines(y, np.minimum(floor, base), np.maximum(floor, base), color="#cccccc", linewidth=1.5)
            ax.plot(floor, y, "|", color=COLOURS["floor"], markersize=8, markeredgewidth=2, label="floor")
        ax.plot(base, y, "o", color=COLOURS["baseline"], markersize=4, label="baseline")
        ax.set_xlabel(f"{quantity_name(quantity)} (root scale)", fontsize=FONT)
        ax.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
        ax.set_xlim(left=0)
        nice = [digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 5)]
        ticks = [0.0, *(tick for tick in nice if 0.02 < tick / ax.get_xlim()[1] < 1)]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        _lighten(ax, "x")
    axes[0].set_yticks(y, [plain(name) for name in order], fontsize=FONT - 2)
    axes[0].set_ylim(-0.8, len(order) - 0.2)
    axes[0].legend(loc="lower right", fontsize=FONT, frameon=False)
    figure.suptitle("What the baseline disturbs, attribute by attribute", fontsize=FONT + 2, color=INK)
    return figure


def lambda_sweep(
    rows: pd.DataFrame,  # of hfld.evaluation.sweeps.sweep_landmark_weight
    *,
    chosen: float,  # weight per pixel
) -> Figure:
    """What the weight of the landmark loss buys and costs, one line an attribute; 0 is at the left end."""
    positive = np.sort(rows.loc[rows["per_pixel"] > 0, "per_pixel"].unique())
    zero = positive[0] / 10
    quantities = [
        q for q in ("target_change", "landmark_drift_px", "emotion_tvd") if q in set(rows["quantity"])
    ]
    figure = Figure(figsize=(6.4, 1.9 * len(quantities) + 0.8), layout="constrained")
    axes = figure.subplots(len(quantities), 1, squeeze=False, sharex=True)[:, 0]
    for ax, quantity in zip(axes, quantities, strict=True):
        for attribute, part in rows[rows["quantity"] == quantity].groupby("attribute", sort=False):
            part = part.sort_values("per_pixel")
            x = part["per_pixel"].where(part["per_pixel"] > 0, zero)
            (line,) = ax.plot(x, part["value"], "o-", markersize=4, label=plain(attribute))
            ax.fill_between(x, part["lo"], part["hi"], color=line.get_color(), alpha=0.15, linewidth=0)
        ax.axvline(chosen or zero, color=COLOURS["floor"], linewidth=1, linestyle=(0, (4, 2)))
        ax.set_ylabel(quantity_name(quantity), fontsize=FONT)
        _lighten(ax, "y")
    axes[-1].set_xscale("log")
    axes[-1].set_xticks([zero, *positive], ["0", *(f"{value:g}" for value in positive)])
    axes[-1].minorticks_off()
    axes[0].annotate("chosen", (chosen or zero, axes[0].get_ylim()[1]), fontsize=FONT - 1, color=INK)
    axes[-1].set_xlabel("weight of the landmark loss, per pixel at 256", fontsize=FONT)
    _add_legend(figure, axes[0], "upper", columns=3)
    return figure


def training_spread(
    rows: pd.DataFrame,  # of hfld.evaluation.sweeps.repeat
    means: pd.DataFrame,  # of hfld.evaluation.sweeps.spread
) -> Figure:
    """HFLD - baseline of every training at matched strength, with its interval over latents, and their mean
    with one over both sources of chance.
    """
    rows = rows[(rows["strength"] == "matched") & (rows["method"] == "difference")]
    means = means[means["strength"] == "matched"].set_index("quantity")
    attributes, quantities = list(dict.fromkeys(means["attribute"])), means.index.unique()
    figure = Figure(figsize=(4 * len(quantities) + 1, 0.6 * len(attributes) + 1.4), layout="constrained")
    axes = figure.subplots(1, len(quantities), squeeze=False, sharey=True)[0]
    for ax, quantity in zip(axes, quantities, strict=True):
        parts = rows[rows["quantity"] == quantity].groupby("variant", sort=False)
        for i, (variant, part) in enumerate(parts):
            y = [attributes.index(name) + 0.15 * (i + 1) for name in part["attribute"]]
            _draw_intervals(ax, part["value"], part, y, color=TRAININGS[i % len(TRAININGS)], label=variant)
        mean, y = means.loc[[quantity]], range(len(attributes))
        _draw_intervals(ax, mean["mean"], mean, y, color=INK, fmt="s", label="mean of the seeds")
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set_xlabel(f"{quantity_name(quantity)}: HFLD − baseline", fontsize=FONT)
        _lighten(ax, "x")
    axes[0].set_yticks(range(len(attributes)), [plain(name) for name in attributes])
    axes[0].set_ylim(len(attributes) - 0.2, -0.5)
    _add_legend(figure, axes[0], "lower", columns=rows["variant"].nunique() + 1)
    figure.suptitle("Every training, matched strength, 95 % intervals", fontsize=FONT + 2, color=INK)
    return figure


def disturbance_curves(
    rows: pd.DataFrame,  # of hfld.evaluation.evaluator.curves
    *,
    quantity: str = "emotion_tvd",
    methods: Sequence[str] = ("baseline", "hfld", "random"),
    cell: float = 2.8,  # inches
    bands: bool = True,  # intervals
) -> Figure:
    """Disturbance against the achieved target change, over strengths: lower and further right is better.

    Curves start at no edit.
    """
    attributes = list(dict.fromkeys(rows["attribute"]))
    columns = min(3, len(attributes))
    lines = -(-len(attributes) // columns)
    figure = Figure(figsize=(cell * columns + 0.4, (cell - 0.4) * lines + 0.6), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax, attribute in zip(axes, attributes, strict=False):
        _draw_curves(ax, rows[rows["attribute"] == attribute], quantity, methods, bands=bands)
        ax.set_title(plain(attribute), fontsize=FONT)
        _lighten(ax, "both")
    for ax in axes[len(attributes) :]:
        ax.set_axis_off()
    _add_legend(figure, axes[0], "upper", columns=4)
    figure.supxlabel("achieved target change", fontsize=FONT)
    figure.supylabel(quantity_name(quantity), fontsize=FONT)
    return figure


def _draw_curves(ax: Axes, rows: pd.DataFrame, quantity: str, methods: Sequence[str], *, bands: bool) -> None:
    """One attribute's curves, and the oracle edit as a star."""
    none = rows.loc[(rows["method"] == "none") & (rows["quantity"] == quantity), "value"]
    start = float(none.iloc[0]) if len(none) else 0.0
    for method in methods:
        change, other = (
            rows[(rows["method"] == method) & (rows["quantity"] == q)].dropna(subset=["factor"])
            for q in ("target_change", quantity)
        )
        if change.empty:
            continue
        x = change.set_index("factor")["value"]
        other = other.set_index("factor").loc[x.index]
        style = style_of(method)
        ax.plot(
            [0.0, *x],
            [start, *other["value"]],
            marker="o",
            markersize=3.5,
            label=method_name(method),
            **style,
        )
        if bands:
            ax.fill_between(x, other["lo"], other["hi"], color=style["color"], alpha=0.18, linewidth=0)
    oracle = rows[rows["method"] == "oracle"].drop_duplicates("quantity").set_index("quantity")["value"]
    if quantity in oracle:
        style = {"color": COLOURS["oracle"], "markersize": 9, "label": method_name("oracle")}
        ax.plot(oracle["target_change"], oracle[quantity], "*", **style)


def _draw_intervals(
    ax: Axes,
    value: pd.Series,
    ends: pd.DataFrame,  # lo and hi
    y: Sequence[float],
    *,
    fmt: str = "o",
    **style: Any,
) -> None:
    reach = [value - ends["lo"], ends["hi"] - value]
    ax.errorbar(value, y, xerr=reach, fmt=fmt, markersize=4, elinewidth=1.3, **style)


def _add_legend(figure: Figure, ax: Axes, side: str, *, columns: int) -> None:
    """The legend of one of the axes above or below all of them."""
    where = {"loc": f"outside {side} center", "ncols": columns}
    figure.legend(*ax.get_legend_handles_labels(), fontsize=FONT, frameon=False, **where)


def _lighten(ax: Axes, axis: str) -> None:
    """Light grid, no box."""
    ax.grid(True, axis=axis, color="#e6e6e6", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=FONT - 1)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
