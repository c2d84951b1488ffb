"""Pictures of faces: the paper's Figures 1, 3 and 4, and what changes where. Images in, a matplotlib Figure
out.

Images are uint8 [H, W, 3]. No function touches pyplot: a Figure shows itself in a notebook, and `save` writes
it.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from hfld.images import replacing
from hfld.report.labels import COLOURS, end, method_name, plain

DPI = 150
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
) -> Figure:
    """One face in the middle, its appearances around it."""
    if len(around) != len(labels) or not around:
        raise ValueError(
            f"as many labels as images, and at least one: {len(around)} images, {len(labels)} labels"
        )
    side = max(4, -(-len(around) // 4) + 1)  # a ring of a side x side grid has 4 (side - 1) places
    figure = Figure(figsize=(1.25 * side, 1.45 * side + 0.4), layout="constrained")
    grid = figure.add_gridspec(side, side, wspace=0.02, hspace=0.02)
    middle = figure.add_subplot(grid[1 : side - 1, 1 : side - 1])
    _show_picture(middle, centre, label="original", size=FONT + 2)
    border = (place for place in product(range(side), repeat=2) if {0, side - 1} & {*place})
    for place, image, label in zip(border, around, labels, strict=False):
        lines = label.replace(" + ", " +\n")
        _show_picture(figure.add_subplot(grid[place]), image, label=lines, size=FONT - 1)
    figure.suptitle("One expression, many appearances", fontsize=FONT + 3, color=INK)
    return figure


def figure3(
    images: Sequence[np.ndarray],
    predictions: np.ndarray,  # [N, 106, 2] (x, y) / side
    truth: np.ndarray | None = None,  # [N, 106, 2]
    *,
    title: str,
) -> Figure:
    """Predicted landmarks over the images; where the truth is known, a line joins each to its true place."""
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.9 * columns, 1.9 * rows + 0.45), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[len(images) :]:
        ax.set_axis_off()
    for i, (ax, image) in enumerate(zip(axes, images, strict=False)):
        side = np.array([image.shape[1], image.shape[0]])
        points = predictions[i] * side - 0.5  # a pixel's centre is at integer + .5, imshow's at the integer
        _show_picture(ax, image)
        ax.scatter(*points.T, s=4, color="#56B4E9", edgecolors="black", linewidths=0.2, zorder=3)
        if truth is not None:
            lines = np.stack([points, truth[i] * side - 0.5], axis=1)
            ax.plot(*lines.transpose(2, 1, 0), color="#D55E00", linewidth=0.9, zorder=2)
    note = "" if truth is None else "\norange lines lead to the true places"
    figure.suptitle(f"{title}{note}", fontsize=FONT + 2, color=INK)
    return figure


def figure4(
    faces: Sequence[Mapping],  # attribute: str; original: image; baseline, hfld: images along the trajectory
    targets: Sequence[float],  # rising
) -> Figure:
    """Two rows a face, the baseline above and HFLD below, the original leftmost, then rising targets."""
    columns, methods = 1 + len(targets), ("baseline", "hfld")
    figure = Figure(figsize=(columns + 0.9, 2.25 * len(faces) + 0.6), layout="constrained")
    axes = figure.subplots(2 * len(faces), columns, squeeze=False)
    for i, face in enumerate(faces):
        labels = [f"{target:g}" for target in targets]
        for at in (0, -1):
            labels[at] = f"{end(face['attribute'], targets[at])}\n{labels[at]}"
        for line, method in zip(axes[2 * i : 2 * i + 2], methods, strict=True):
            if len(face[method]) != len(targets):
                raise ValueError(f"face {i}, {method}: {len(face[method])} images for {len(targets)} targets")
            first = method == methods[0]
            _show_picture(line[0], face["original"], label="original" if first else None)
            line[0].set_ylabel(method_name(method), fontsize=FONT, color=COLOURS[method], fontweight="bold")
            for ax, image, label in zip(line[1:], face[method], labels, strict=True):
                _show_picture(ax, image, label=label if first else None)
    title = "The same edit without and with the landmark loss"
    figure.suptitle(title, fontsize=FONT + 2, color=INK)
    return figure


def change_maps(
    maps: Mapping[str, Mapping[str, np.ndarray]],  # attribute -> method -> [H, W] mean |change|, grey levels
) -> Figure:
    """Mean absolute change of the pixels between target 0 and 1, and HFLD's minus the baseline's, each with a
    scale per attribute.
    """
    methods = list(next(iter(maps.values())))
    figure = Figure(figsize=(1.5 * len(methods) + 3.7, 1.5 * len(maps) + 0.7), layout="constrained")
    axes = figure.subplots(len(maps), len(methods) + 1, squeeze=False)
    for ax, method in zip(axes[0], [*methods, "difference"], strict=True):
        ax.set_title(method_name(method), fontsize=FONT)
    for line, (attribute, row) in zip(axes, maps.items(), strict=True):
        difference = row["hfld"] - row["baseline"]
        top, most = max(values.max() for values in row.values()) or 1.0, np.abs(difference).max() or 1.0
        for ax, method in zip(line, methods, strict=False):
            changes = ax.imshow(row[method], vmin=0, vmax=top, cmap="viridis", interpolation="nearest")
        gain = line[-1].imshow(difference, vmin=-most, vmax=most, cmap="RdBu_r", interpolation="nearest")
        for ax in line:
            _strip(ax)
        line[0].set_ylabel(plain(attribute), fontsize=FONT)
        for shown, beside in ((changes, line[:-1].tolist()), (gain, line[-1])):
            bar = figure.colorbar(shown, ax=beside, fraction=0.05, pad=0.01)
            bar.ax.tick_params(labelsize=FONT - 2)
    figure.suptitle("What changes where (mean absolute change, grey levels)", fontsize=FONT + 2, color=INK)
    return figure


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
            _show_picture(ax, rows[r][c], label=column_labels[c] if column_labels and r == 0 else None)
        if row_labels:
            line[0].set_ylabel(row_labels[r], fontsize=FONT, rotation=0, ha="right", va="center")
    if title:
        figure.suptitle(title, fontsize=FONT + 2, color=INK)
    return figure


def _show_picture(ax: Axes, image: np.ndarray, *, label: str | None = None, size: float = FONT) -> None:
    ax.imshow(image, interpolation="lanczos" if image.shape[0] < 256 else "antialiased")
    _strip(ax)
    if label:
        ax.set_title(label, fontsize=size, pad=2, color=INK)


def _strip(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)
