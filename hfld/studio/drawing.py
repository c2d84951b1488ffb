"""Pictures of an edit: what changed, where the landmarks went, several faces on one sheet.

Images are uint8 [H, W, 3]; nothing here knows widgets.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

OLD, NEW = (230, 159, 0), (86, 180, 233)
"""Okabe and Ito's orange and sky blue: told apart by everybody, on any skin."""
SAMPLES = 3  # per pixel and axis, against jagged lines
GAP = 2  # px between the pictures of a sheet
FULL_SCALE = 96.0  # grey levels of change that get the heat map's brightest colour


def enlarge(image: np.ndarray, side: int) -> np.ndarray:
    """The picture with `side` px a side, smoothly."""
    if image.shape[0] == side:
        return image
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS))


def difference(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Heat map of the mean absolute change over the channels; black is no change, bright FULL_SCALE."""
    if before.shape != after.shape:
        raise ValueError(f"pictures of one size expected, not {before.shape} and {after.shape}")
    change = np.abs(after.astype(np.float32) - before).mean(axis=2)
    return colormaps["inferno"](np.clip(change / FULL_SCALE, 0, 1), bytes=True)[..., :3]


def landmark_overlay(
    image: np.ndarray,
    old: np.ndarray,  # [106, 2] (x, y) / side, in the original
    new: np.ndarray | None = None,  # [106, 2] in the edited picture
    *,
    side: int = 320,  # of the result
) -> np.ndarray:
    """Landmarks over the enlarged picture: old as orange crosses, new as blue dots, lines between them."""
    scale = SAMPLES * side
    canvas = Image.fromarray(enlarge(image, side)).resize((scale, scale), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(canvas)
    thick = max(1, round(scale / 350))
    if new is not None:
        for start, end in zip(old * scale, new * scale, strict=True):
            draw.line([*start, *end], fill=NEW, width=thick)
    arm = round(2.5 * thick)
    for x, y in old * scale:
        for way in (-arm, arm):
            draw.line([x - arm, y - way, x + arm, y + way], fill=OLD, width=round(1.5 * thick))
    for x, y in () if new is None else new * scale:
        draw.ellipse([x - 2 * thick, y - 2 * thick, x + 2 * thick, y + 2 * thick], fill=NEW)
    return np.asarray(canvas.resize((side, side), Image.Resampling.BOX))


def sheet(rows: Sequence[Sequence[np.ndarray]], *, side: int) -> np.ndarray:
    """Pictures in rows on white, each `side` px; short rows are filled up with white."""
    step = side + GAP
    canvas = np.full((len(rows) * step - GAP, max(map(len, rows)) * step - GAP, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            canvas[y * step : y * step + side, x * step : x * step + side] = enlarge(image, side)
    return canvas
