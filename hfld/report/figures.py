"""Pictures of faces: the paper's Figures 1, 3 and 4, and what changes where. Images in, a matplotlib Figure
out.

Images are uint8 [H, W, 3]. No function touches pyplot: a Figure shows itself in a notebook, and `save` writes
it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from hfld.images import replacing
from hfld.report.labels import LABELS

DPI = 150
COLOURS = {
    "baseline": "#D55E00",
    "hfld": "#0072B2",
    "oracle": "#009E73",
    "random": "#CC79A7",
    "floor": "#666666",
    "none": "#999999",
    "baseline_w": "#E69F00",
    "hfld_w": "#56B4E9",
    "ganspace": "#882255",
    "interfacegan": "#117733",
    "sefa": "#AA7700",
    "styleflow": "#6633AA",
    "sdflow": "#222222",
    "adatrans": "#33AACC",
}
"""Okabe and Ito's palette, told apart by everybody, and further colours for the benchmark's editors."""
VARIANTS = {"_hfld": (0, (4, 1.5)), "_lock": (0, (1, 1))}
"""Endings of a method's name with the landmark term, by training or by a lock: drawn in other lines."""
FONT = 9
INK = "#222222"


def save(figure: Figure, path: Path, *, colours: int | None = None) -> Path:
    """Write a PNG at 150 dpi, without dates in it, so that equal pictures are equal files.

    With `colours` in a palette of so many: a third of the size, for drawings without faces in them.
    """
    path = Path(path)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=DPI, format="png", metadata={"Software": None}, facecolor="white")
        if colours is not None:
            in_palette(Image.open(temporary), colours).save(temporary, format="png", optimize=True)
    return path


def in_palette(image: Image.Image, colours: int) -> Image.Image:
    """The picture in so many colours, chosen by median cut, not dithered."""
    return image.convert("RGB").quantize(colours, dither=Image.Dither.NONE)


def style_of(method: str) -> dict:
    """Colour and kind of line: variants of a method have its colour."""
    ending = next((ending for ending in VARIANTS if method.endswith(ending)), "")
    colour = COLOURS.get(method) or COLOURS.get(method.removesuffix(ending), INK)
    return {"color": colour, "linestyle": VARIANTS.get(ending, "-") if method not in COLOURS else "-"}


def figure1(
    centre: np.ndarray,  # [H, W, 3] the face
    around: Sequence[np.ndarray],  # the same expression under other appearances
    labels: Sequence[str],
    *,
    title: str = "One expression, many appearances",
    centre_label: str = "original",
    cell: float = 1.25,  # inches
) -> Figure:
    """One face in the middle, its appearances around it (clockwise from the top left)."""
    if len(around) != len(labels) or not around:
        raise ValueError(
            f"as many labels as images, and at least one: {len(around)} images, {len(labels)} labels"
        )
    side = max(4, -(-len(around) // 4) + 1)  # a ring of a side x side grid has 4 (side - 1) places
    figure = Figure(figsize=(side * cell, side * (cell + 0.2) + 0.4), layout="constrained")
    grid = figure.add_gridspec(side, side, wspace=0.02, hspace=0.02)
    middle = figure.add_subplot(grid[1 : side - 1, 1 : side - 1])
    _picture(middle, centre, label=centre_label, size=FONT + 2)
    for place, image, label in zip(_ring(side), around, labels, strict=False):
        _picture(figure.add_subplot(grid[place]), image, label=label, size=FONT - 1)
    figure.suptitle(title, fontsize=FONT + 3, color=INK)
    return figure


def _ring(side: int) -> list[tuple[int, int]]:
    """(row, column) of the border of a side x side grid, clockwise."""
    last = side - 1
    top = [(0, c) for c in range(side)]
    right = [(r, last) for r in range(1, side)]
    bottom = [(last, c) for c in range(last - 1, -1, -1)]
    left = [(r, 0) for r in range(last - 1, 0, -1)]
    return top + right + bottom + left


def figure3(
    images: Sequence[np.ndarray],
    predictions: np.ndarray,  # [N, 106, 2] (x, y) / side
    truth: np.ndarray | None = None,  # [N, 106, 2]
    *,
    columns: int = 4,
    title: str = "106 landmarks on held-out portraits",
    cell: float = 1.9,
) -> Figure:
    """Predicted landmarks over the images; where the truth is known, a line joins each to its true place."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(columns * cell, rows * cell + 0.45), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for i, ax in enumerate(axes.flat):
        if i >= len(images):
            ax.set_axis_off()
            continue
        side = np.array([images[i].shape[1], images[i].shape[0]])
        points = predictions[i] * side - 0.5  # a pixel's centre is at integer + .5, imshow's at the integer
        _picture(ax, images[i])
        ax.scatter(*points.T, s=4, color="#56B4E9", edgecolors="black", linewidths=0.2, zorder=3)
        if truth is not None:
            true = truth[i] * side - 0.5
            lines = np.stack([points, true], axis=1)
            ax.plot(*lines.transpose(2, 1, 0), color="#D55E00", linewidth=0.9, zorder=2)
    note = "" if truth is None else "; orange lines lead to the true places"
    figure.suptitle(f"{title}{note}", fontsize=FONT + 2, color=INK)
    return figure


def figure4(
    faces: Sequence[Mapping],  # attribute: str; original: image; baseline, hfld: images along the trajectory
    targets: Sequence[float],
    *,
    title: str = "The same edit without and with the landmark loss",
    cell: float = 1.0,
) -> Figure:
    """Two rows a face, the baseline above and HFLD below, the original leftmost, then rising targets."""
    columns = 1 + len(targets)
    height = 2 * len(faces) * cell + 0.25 * len(faces) + 0.6
    figure = Figure(figsize=(columns * cell + 0.9, height), layout="constrained")
    axes = figure.subplots(2 * len(faces), columns, squeeze=False)
    for i, face in enumerate(faces):
        for row, method in enumerate(("baseline", "hfld")):
            line = axes[2 * i + row]
            if len(face[method]) != len(targets):
                raise ValueError(f"face {i}, {method}: {len(face[method])} images for {len(targets)} targets")
            _picture(line[0], face["original"], label="original" if row == 0 else None)
            line[0].set_ylabel(LABELS[method], fontsize=FONT, color=COLOURS[method], fontweight="bold")
            for ax, image, target in zip(line[1:], face[method], targets, strict=True):
                _picture(ax, image, label=f"{target:g}" if row == 0 else None)
        axes[2 * i][(columns + 1) // 2].set_title(
            f"{face['attribute'].replace('_', ' ')}, target\n{targets[(columns + 1) // 2 - 1]:g}",
            fontsize=FONT,
        )
    figure.suptitle(title, fontsize=FONT + 2, color=INK)
    return figure


def change_maps(
    maps: Mapping[str, Mapping[str, np.ndarray]],  # attribute -> method -> [H, W] mean |change|, grey levels
    *,
    title: str = "What changes where",
    compared: tuple[str, str] = ("baseline", "hfld"),  # a last column has the second minus the first
    cell: float = 1.5,
) -> Figure:
    """Mean absolute change of the pixels between target 0 and 1; one scale per attribute, and one for the
    difference.
    """
    methods = list(dict.fromkeys(method for row in maps.values() for method in row))
    columns = len(methods) + set(compared).issubset(methods)
    figure = Figure(figsize=(columns * cell + 2.2, len(maps) * cell + 0.7), layout="constrained")
    axes = figure.subplots(len(maps), columns, squeeze=False)
    for line, (attribute, row) in zip(axes, maps.items(), strict=True):
        top = max(float(values.max()) for values in row.values()) or 1.0
        for ax, method in zip(line, methods, strict=False):
            if method not in row:
                ax.set_axis_off()
                continue
            shown = ax.imshow(
                row[method], cmap=colormaps["viridis"], vmin=0, vmax=top, interpolation="nearest"
            )
            _bare(ax)
            if ax in axes[0]:
                ax.set_title(LABELS.get(method, method), fontsize=FONT)
        line[0].set_ylabel(attribute.replace("_", " "), fontsize=FONT)
        bar = figure.colorbar(shown, ax=line[: len(methods)].tolist(), fraction=0.05, pad=0.01)
        bar.ax.tick_params(labelsize=FONT - 2)
        if columns > len(methods):
            first, second = compared
            if row.keys() >= {first, second}:
                _difference_map(figure, line[-1], row[second] - row[first])
            else:
                line[-1].set_axis_off()
            if line[-1] in axes[0]:
                names = [LABELS.get(method, method) for method in (second, first)]
                line[-1].set_title(" − ".join(names), fontsize=FONT)
    figure.suptitle(f"{title} (mean absolute change, grey levels)", fontsize=FONT + 2, color=INK)
    return figure


def _difference_map(figure: Figure, ax: Axes, difference: np.ndarray) -> None:
    """Blue where the second changes less, red where it changes more."""
    top = float(np.abs(difference).max()) or 1.0
    shown = ax.imshow(difference, cmap=colormaps["RdBu_r"], vmin=-top, vmax=top, interpolation="nearest")
    _bare(ax)
    figure.colorbar(shown, ax=ax, fraction=0.05, pad=0.02).ax.tick_params(labelsize=FONT - 2)


def contact_sheet(
    rows: Sequence[Sequence[np.ndarray]],
    *,
    row_labels: Sequence[str] | None = None,
    column_labels: Sequence[str] | None = None,
    title: str | None = None,
    cell: float = 1.0,
) -> Figure:
    """A plain grid of images."""
    columns = max(len(row) for row in rows)
    names = 0.07 * max(map(len, row_labels or [""]))  # inches
    size = (columns * cell + 0.4 + names, len(rows) * cell + (0.5 if title else 0.2))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for r, line in enumerate(axes):
        for c, ax in enumerate(line):
            if c >= len(rows[r]):
                ax.set_axis_off()
                continue
            _picture(ax, rows[r][c], label=column_labels[c] if column_labels and r == 0 else None)
        if row_labels:
            line[0].set_ylabel(row_labels[r], fontsize=FONT, rotation=0, ha="right", va="center")
    if title:
        figure.suptitle(title, fontsize=FONT + 2, color=INK)
    return figure


def _picture(ax: Axes, image: np.ndarray, *, label: str | None = None, size: float = FONT) -> None:
    ax.imshow(image, interpolation="lanczos" if image.shape[0] < 256 else "antialiased")
    _bare(ax)
    if label:
        ax.set_title(label.replace("_", " "), fontsize=size, pad=2, color=INK)


def _bare(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
