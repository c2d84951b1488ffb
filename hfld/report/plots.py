"""Curves and intervals: rows and histories in, a matplotlib Figure out (hfld.report.figures: faces)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hfld.report.figures import COLOURS, FONT, INK, style_of
from hfld.report.labels import LABELS
from hfld.report.tabular import plain

UNITS = {
    "landmark_drift_px": "landmark drift, px",
    "emotion_tvd": "emotion change, points",
    "target_change": "target change",
    "counterfactual_landmark_px": "landmarks to the exact counterfactual, px",
    "label_keep": "emotion label kept",
}


def headline(
    rows: pd.DataFrame,
    *,
    strength: str = "matched",
    quantities: Sequence[str] = ("landmark_drift_px", "emotion_tvd", "counterfactual_landmark_px"),
    methods: Sequence[str] = ("baseline", "hfld", "oracle", "floor"),
    units: Mapping[str, str] = UNITS,
    unmatched: Collection[str] = (),  # attributes that are left out, and named below the title
) -> Figure:
    """Baseline against HFLD per attribute with 95 % intervals, beside oracle and floor."""
    known = set(rows["quantity"])
    quantities = [quantity for quantity in quantities if quantity in known]
    part = rows[rows["strength"] == strength].set_index(["quantity", "method", "attribute"])
    attributes = [a for a in dict.fromkeys(rows["attribute"]) if a not in unmatched]
    figure = Figure(figsize=(3.1 * len(quantities) + 1, 0.42 * len(attributes) + 1.3), layout="constrained")
    axes = figure.subplots(1, len(quantities), squeeze=False, sharey=True)[0]
    for ax, quantity in zip(axes, quantities, strict=True):
        for shift, method in zip(np.linspace(0.24, -0.24, len(methods)), methods, strict=True):
            keys = [(i, (quantity, method, a)) for i, a in enumerate(attributes)]
            keys = [(i, key) for i, key in keys if key in part.index]
            if not keys:
                continue
            found = part.loc[[key for _, key in keys]]
            y = np.array([i for i, _ in keys]) + shift
            _with_interval(ax, found, y, method)
        ax.set_xlabel(units.get(quantity, quantity), fontsize=FONT)
        ax.set_xlim(left=0)
        _plain(ax, "x")
    axes[0].set_yticks(range(len(attributes)), [a.replace("_", " ") for a in attributes])
    axes[0].set_ylim(len(attributes) - 0.5, -0.5)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(methods), fontsize=FONT, frameon=False
    )
    title = f"Disturbance at {strength} strength, 95 % intervals"
    if unmatched:
        title += f"\nwithout {', '.join(map(plain, unmatched))}: strengths could not be matched"
    figure.suptitle(title, fontsize=FONT + 2, color=INK)
    return figure


def _with_interval(ax: Axes, found: pd.DataFrame, y: np.ndarray, method: str) -> None:
    reach = np.abs(found[["lo", "hi"]].to_numpy().T - found["value"].to_numpy())
    style = {"fmt": "o", "markersize": 4, "elinewidth": 1.4, "color": COLOURS.get(method, INK)}
    ax.errorbar(found["value"], y, xerr=reach, label=LABELS.get(method, method), **style)


def survey(
    rows: pd.DataFrame,
    *,
    quantities: Sequence[str] = ("landmark_drift_px", "emotion_tvd"),
    units: Mapping[str, str] = UNITS,
) -> Figure:
    """All attributes: the baseline's disturbance against the floor, sorted by landmark drift.

    Horizontal axes are square roots: edits of the expression itself disturb ten times as much as others.
    """
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
        ax.set_xlabel(f"{units.get(quantity, quantity)} (root scale)", fontsize=FONT)
        ax.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
        ax.set_xlim(left=0)
        nice = [digit * 10.0**power for power in range(-3, 4) for digit in (1, 2, 5)]
        ticks = [0.0, *(tick for tick in nice if 0.02 < tick / ax.get_xlim()[1] < 1)]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        _plain(ax, "x")
    axes[0].set_yticks(y, [name.replace("_", " ") for name in order], fontsize=FONT - 2)
    axes[0].set_ylim(-0.8, len(order) - 0.2)
    axes[0].legend(loc="lower right", fontsize=FONT, frameon=False)
    figure.suptitle("What the baseline disturbs, attribute by attribute", fontsize=FONT + 2, color=INK)
    return figure


def lambda_sweep(
    rows: pd.DataFrame,  # of hfld.evaluation.sweeps.sweep_landmark_weight
    *,
    quantities: Sequence[str] = ("target_change", "landmark_drift_px", "emotion_tvd"),
    chosen: float | None = None,  # weight per pixel
    units: Mapping[str, str] = UNITS,
) -> Figure:
    """What the weight of the landmark loss buys and costs, one line an attribute; 0 is at the left end."""
    weights = np.sort(rows["per_pixel"].unique())
    positive = weights[weights > 0]
    zero = positive.min() / 10 if len(positive) else 1.0
    figure = Figure(figsize=(6.4, 1.9 * len(quantities) + 0.8), layout="constrained")
    axes = figure.subplots(len(quantities), 1, squeeze=False, sharex=True)[:, 0]
    for ax, quantity in zip(axes, quantities, strict=True):
        for attribute, part in rows[rows["quantity"] == quantity].groupby("attribute", sort=False):
            part = part.sort_values("per_pixel")
            x = part["per_pixel"].where(part["per_pixel"] > 0, zero)
            (line,) = ax.plot(x, part["value"], "o-", markersize=4, label=attribute.replace("_", " "))
            ax.fill_between(x, part["lo"], part["hi"], color=line.get_color(), alpha=0.15, linewidth=0)
        if chosen is not None:
            ax.axvline(chosen or zero, color=COLOURS["floor"], linewidth=1, linestyle=(0, (4, 2)))
        ax.set_ylabel(units.get(quantity, quantity), fontsize=FONT)
        _plain(ax, "y")
    axes[-1].set_xscale("log")
    if len(positive) < len(weights):
        ticks = [zero, *positive]
        axes[-1].set_xticks(ticks, ["0", *(f"{value:g}" for value in positive)])
        axes[-1].minorticks_off()
    if chosen is not None:
        axes[0].annotate("chosen", (chosen or zero, axes[0].get_ylim()[1]), fontsize=FONT - 1, color=INK)
    axes[-1].set_xlabel("weight of the landmark loss, per pixel at 256", fontsize=FONT)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=FONT, frameon=False)
    return figure


def training_spread(
    rows: pd.DataFrame,  # of hfld.evaluation.sweeps.repeat
    means: pd.DataFrame,  # of hfld.evaluation.sweeps.spread
    *,
    strength: str = "matched",
    units: Mapping[str, str] = UNITS,
) -> Figure:
    """The difference HFLD - baseline of every training with its interval over latents, and their mean with
    one over both sources of chance.
    """
    rows = rows[(rows["strength"] == strength) & (rows["method"] == "difference")]
    means = means[means["strength"] == strength].set_index("quantity")
    attributes, quantities = list(dict.fromkeys(means["attribute"])), means.index.unique()
    figure = Figure(figsize=(4 * len(quantities) + 1, 0.6 * len(attributes) + 1.4), layout="constrained")
    axes = figure.subplots(1, len(quantities), squeeze=False, sharey=True)[0]
    palette = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"]
    for ax, quantity in zip(axes, quantities, strict=True):
        parts = rows[rows["quantity"] == quantity].groupby("variant", sort=False)
        for i, (variant, part) in enumerate(parts):
            y = [attributes.index(name) + 0.15 * (i + 1) for name in part["attribute"]]
            _difference(ax, part["value"], part, y, color=palette[i % len(palette)], fmt="o", label=variant)
        mean = means.loc[[quantity]]
        _difference(ax, mean["mean"], mean, range(len(mean)), color=INK, fmt="s", label="mean of the seeds")
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.set_xlabel(f"{units.get(quantity, quantity)}: HFLD − baseline", fontsize=FONT)
        _plain(ax, "x")
    axes[0].set_yticks(range(len(attributes)), [name.replace("_", " ") for name in attributes])
    axes[0].set_ylim(len(attributes) - 0.2, -0.5)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), fontsize=FONT, frameon=False
    )
    figure.suptitle(f"Every training, {strength} strength, 95 % intervals", fontsize=FONT + 2, color=INK)
    return figure


def _difference(
    ax: Axes, value: pd.Series, ends: pd.DataFrame, y: Sequence[float], **style: Any
) -> None:  # `ends` has lo and hi
    reach = [value - ends["lo"], ends["hi"] - value]
    ax.errorbar(value, y, xerr=reach, markersize=4, elinewidth=1.2, **style)


def cumulative_error(
    errors: Mapping[str, np.ndarray],  # label -> [N] error of each image
    *,
    unit: str = "NME, % of the inter-ocular distance",
    limit: float | None = None,
) -> Figure:
    """Share of images below an error."""
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    ax = figure.subplots()
    palette = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
    for i, (label, values) in enumerate(errors.items()):
        values = np.sort(np.asarray(values, np.float64))
        share = np.arange(1, len(values) + 1) / len(values)
        name = f"{label}: median {np.median(values):.2f}, n {len(values)}"
        ax.step(values, 100 * share, where="post", color=palette[i % len(palette)], label=name)
    ax.set_xlim(0, limit)
    ax.set_ylim(0, 101)
    ax.set_xlabel(unit, fontsize=FONT)
    ax.set_ylabel("images below, %", fontsize=FONT)
    ax.legend(loc="lower right", fontsize=FONT - 1, frameon=False)
    _plain(ax, "both")
    return figure


def disturbance_curves(
    rows: pd.DataFrame,  # of hfld.evaluation.curves
    *,
    quantity: str = "emotion_tvd",
    methods: Sequence[str] = ("baseline", "hfld", "random"),
    columns: int = 3,
    cell: float = 2.8,  # inches
    bands: bool = True,  # intervals
    units: Mapping[str, str] = UNITS,
) -> Figure:
    """Disturbance against the achieved target change, over strengths: lower and further right is better.

    Curves start at no edit.
    """
    attributes = list(dict.fromkeys(rows["attribute"]))
    columns = min(columns, len(attributes))
    lines = -(-len(attributes) // columns)
    figure = Figure(figsize=(cell * columns + 0.4, (cell - 0.4) * lines + 0.6), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax, attribute in zip(axes, attributes, strict=False):
        part = rows[rows["attribute"] == attribute]
        none = part.loc[(part["method"] == "none") & (part["quantity"] == quantity), "value"]
        start = float(none.iloc[0]) if len(none) else 0.0
        for method in methods:
            change, other = (
                part[(part["method"] == method) & (part["quantity"] == q)].dropna(subset=["factor"])
                for q in ("target_change", quantity)
            )
            if change.empty:
                continue
            x, other = change.set_index("factor")["value"], other.set_index("factor")
            style = style_of(method)
            xs, ys = [0.0, *x], [start, *other["value"].loc[x.index]]
            ax.plot(xs, ys, marker="o", markersize=3.5, label=LABELS.get(method, method), **style)
            band = other.loc[x.index]
            if bands:
                ax.fill_between(x, band["lo"], band["hi"], color=style["color"], alpha=0.18, linewidth=0)
        oracle = part[(part["method"] == "oracle")].drop_duplicates("quantity").set_index("quantity")["value"]
        if quantity in oracle:
            point = oracle["target_change"], oracle[quantity]
            ax.plot(*point, "*", color=COLOURS["oracle"], markersize=9, label=LABELS["oracle"])
        ax.set_title(attribute.replace("_", " "), fontsize=FONT)
        _plain(ax, "both")
    for ax in axes[len(attributes) :]:
        ax.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=FONT, frameon=False)
    figure.supxlabel("achieved target change", fontsize=FONT)
    figure.supylabel(units.get(quantity, quantity), fontsize=FONT)
    return figure


def _plain(ax: Axes, axis: str) -> None:
    """Light grid, no box."""
    ax.grid(True, axis=axis, color="#e6e6e6", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=FONT - 1)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
