"""Parameters -> picture and landmarks."""

from concurrent.futures import ProcessPoolExecutor

import cv2
import numpy as np

from hfld.portraits.accessories import (
    paint_background,
    paint_clothes,
    paint_earrings,
    paint_glasses,
    paint_necklace,
)
from hfld.portraits.canvas import DESIGN, Canvas
from hfld.portraits.face import (
    paint_brows,
    paint_ears,
    paint_eyes,
    paint_mouth,
    paint_neck,
    paint_nose,
    paint_skin,
)
from hfld.portraits.hair import paint_back_hair, paint_beard, paint_hair, paint_hat, shape_hair
from hfld.portraits.head import Head, Sheet
from hfld.portraits.palette import palette
from hfld.portraits.parameters import Parameters, decode

LAYERS = (
    paint_background, paint_back_hair, paint_neck, paint_clothes, paint_necklace, paint_ears, paint_skin,
    paint_nose, paint_beard, paint_mouth, paint_eyes, paint_brows, paint_hair, paint_hat, paint_glasses,
    paint_earrings,
)  # fmt: skip
"""From back to front."""


def render(parameters: Parameters, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Draw a batch of portraits.

    Returns images, uint8 [N, size, size, 3] RGB, and landmarks, float32 [N, 106, 2]: (x, y) by the side,
    origin top left. Deterministic. ValueError for a size outside 64..512.
    """
    if not 64 <= size <= 512:
        raise ValueError(f"size must lie in 64..512, got {size}")
    cv2.setNumThreads(1)
    images = np.empty((len(parameters), size, size, 3), dtype=np.uint8)
    landmarks = np.empty((len(parameters), 106, 2), dtype=np.float32)
    pose = parameters.pose
    for index in range(len(parameters)):
        sheet = Sheet(parameters, index)
        head = Head(sheet, pose[index])
        shape_hair(head)
        colours, canvas = palette(sheet), Canvas(size)
        for paint in LAYERS:
            paint(canvas, head, colours)
        if sheet["Blurry"] > 0.02:
            canvas.blur(3.0 * sheet["Blurry"])
        images[index] = canvas.finish()
        landmarks[index] = head.landmarks() / DESIGN
    return images, landmarks


def landmarks_of(parameters: Parameters) -> np.ndarray:
    """Landmarks alone, float32 [N, 106, 2]."""
    pose = parameters.pose
    heads = (Head(Sheet(parameters, i), pose[i]) for i in range(len(parameters)))
    return np.stack([head.landmarks() / DESIGN for head in heads]).astype(np.float32)


def _render_chunk(job: tuple[np.ndarray, int]) -> tuple[np.ndarray, np.ndarray]:
    return render(decode(job[0]), job[1])


def render_latents(
    z: np.ndarray,  # [N, Z_DIM]
    size: int = 128,
    workers: int = 2,
    progress: bool = True,
    chunk: int = 100,
) -> tuple[np.ndarray, np.ndarray]:
    """`render(decode(z), size)` over processes; the result does not depend on `workers`."""
    jobs = [(z[i : i + chunk], size) for i in range(0, len(z), chunk)]
    if workers <= 1 or len(jobs) == 1:
        parts = [_render_chunk(job) for job in _bar(jobs, len(jobs), progress)]
    else:
        with ProcessPoolExecutor(workers) as pool:
            parts = list(_bar(pool.map(_render_chunk, jobs), len(jobs), progress))
    return np.concatenate([images for images, _ in parts]), np.concatenate([points for _, points in parts])


def _bar(items, total: int, progress: bool):
    if not progress:
        return items
    from tqdm.auto import tqdm

    return tqdm(items, total=total, desc="portraits", unit="chunk")
