"""The FFHQ crop: a square around the face, upright between eyes and mouth, and the way back into the photo.

Geometry and padding as published with FFHQ (Karras et al. 2019, and the dataset's description): the square's
axis is the mean of the line between the eyes and the perpendicular of the line from eyes to mouth, its half
side the larger of 2 eye distances and 1.8 eye-mouth distances; where it leaves the photo, the photo is
mirrored and fades into a blur. Points are px of the picture, (x, y), pixel centre at integer + 0.5.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

CORNERS = {
    5: ((0,), (1,), 3, 4),  # CelebA's five points
    68: (range(36, 42), range(42, 48), 48, 54),
    106: (range(66, 74), range(75, 83), 84, 90),
}
"""Number of landmarks -> left eye, right eye (as seen; averaged), left and right corner of the mouth."""

FEATHER = 0.1  # width of the soft edge of a pasted crop, of its side


@dataclass(frozen=True)
class Quad:
    """A square in a picture: x(u, v) = origin + u * across + v * down for u, v in [0, 1]."""

    origin: np.ndarray  # [2] px, its upper left corner
    across: np.ndarray  # [2] px, to the upper right corner
    down: np.ndarray  # [2] px, to the lower left corner

    @property
    def side(self) -> float:
        """Length of its sides in px of the picture."""
        return float(np.hypot(*self.across))

    @property
    def corners(self) -> np.ndarray:
        """[4, 2] px, clockwise from the upper left."""
        return self.to_picture(np.array([[0, 0], [1, 0], [1, 1], [0, 1]]))

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """(x, y) / side in the crop [..., 2] -> px of the picture."""
        return self.origin + np.asarray(points, np.float64) @ np.stack([self.across, self.down])

    def to_crop(self, points: np.ndarray) -> np.ndarray:
        """Px of the picture [..., 2] -> (x, y) / side in the crop."""
        inverse = np.linalg.inv(np.stack([self.across, self.down]))
        return (np.asarray(points, np.float64) - self.origin) @ inverse

    def moved(self, scale: np.ndarray, shift: np.ndarray) -> "Quad":
        """The same square after the picture was scaled by `scale` [2] and then shifted by `shift` [2] px."""
        return Quad(self.origin * scale + shift, self.across * scale, self.down * scale)


def center_quad(height: int, width: int) -> Quad:
    """The largest square in the middle of a picture."""
    side = float(min(height, width))
    origin = np.array([width - side, height - side]) / 2
    return Quad(origin, np.array([side, 0.0]), np.array([0.0, side]))


def ffhq_quad(landmarks: np.ndarray) -> Quad:
    """FFHQ's square for 106, 68 or 5 landmarks [P, 2] in px of the picture."""
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.ndim != 2 or landmarks.shape[1] != 2 or len(landmarks) not in CORNERS:
        raise ValueError(f"landmarks: shape {landmarks.shape}, expected [106, 2], [68, 2] or [5, 2]")
    left, right, mouth_left, mouth_right = CORNERS[len(landmarks)]
    left, right = landmarks[list(left)].mean(axis=0), landmarks[list(right)].mean(axis=0)
    eyes, between = (left + right) / 2, right - left
    to_mouth = (landmarks[mouth_left] + landmarks[mouth_right]) / 2 - eyes
    axis = between + to_mouth[::-1] * [1, -1]  # the second is `to_mouth` turned to point to the right
    length = np.hypot(*axis)
    if not np.isfinite(landmarks).all() or length < 1e-6:
        raise ValueError("landmarks: the eyes and the mouth are in one place or not finite")
    half = axis / length * max(2.0 * np.hypot(*between), 1.8 * np.hypot(*to_mouth))
    down = half[::-1] * [-1, 1]
    return Quad(eyes + 0.1 * to_mouth - half - down, 2 * half, 2 * down)


def crop(
    picture: np.ndarray,  # uint8 [H, W, 3]
    quad: Quad,
    size: int,
    *,
    pad: bool = True,  # mirror and blur where the square comes near the border; False: repeat the border
) -> np.ndarray:
    """The square of a picture as uint8 [size, size, 3]."""
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"picture: {picture.dtype} {picture.shape}, expected uint8 [H, W, 3]")
    picture, quad = _shrink(picture, quad, size)
    picture, quad = _cut(picture, quad)
    if pad:
        picture, quad = _pad(picture, quad)
    fine = size * max(1, math.ceil(quad.side / size - 1e-6))  # sample every pixel, then average
    sampled = cv2.warpAffine(
        picture,
        _matrix(quad, fine),
        (fine, fine),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return cv2.resize(sampled, (size, size), interpolation=cv2.INTER_AREA) if fine != size else sampled


def paste(
    picture: np.ndarray,  # uint8 [H, W, 3]
    face: np.ndarray,  # uint8 [S, S, 3], an edited crop
    quad: Quad,  # where the crop was taken from
    *,
    mask: np.ndarray | None = None,  # [S, S] in [0, 1]: how much of the face is pasted; None: all of it
) -> np.ndarray:
    """The picture with the face put back where it was; its edge fades out within the square."""
    if face.ndim != 3 or face.shape[0] != face.shape[1]:
        raise ValueError(f"face: shape {face.shape}, expected [S, S, 3]")
    if mask is not None and mask.shape != face.shape[:2]:
        raise ValueError(f"mask: shape {mask.shape}, expected {face.shape[:2]}")
    side = max(1, min(len(face), round(quad.side)))
    face = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
    height, width = picture.shape[:2]
    place = {"M": _matrix(quad, side), "dsize": (width, height), "flags": cv2.INTER_LINEAR}
    ramp = np.minimum(np.arange(side), np.arange(side)[::-1]).astype(np.float32)
    ramp = np.clip(ramp / max(FEATHER * side, 1), 0, 1)
    inner = np.minimum.outer(ramp, ramp)
    if mask is not None:
        inner = np.minimum(
            inner, cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        )
    weight = cv2.warpAffine(inner, **place)[..., None]
    placed = cv2.warpAffine(face.astype(np.float32), borderMode=cv2.BORDER_REPLICATE, **place)
    mixed = picture + weight * (placed - picture)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def _matrix(quad: Quad, size: int) -> np.ndarray:
    """Pixel indices in a crop of `size` px -> pixel indices in the picture, [2, 3]."""
    linear = np.stack([quad.across, quad.down], axis=1) / size
    return np.column_stack([linear, quad.origin + linear.sum(axis=1) / 2 - 0.5])


def _shrink(picture: np.ndarray, quad: Quad, size: int) -> tuple[np.ndarray, Quad]:
    """A picture much larger than the crop needs is first made smaller by a whole factor."""
    factor = int(quad.side / size / 2)
    if factor <= 1:
        return picture, quad
    height, width = picture.shape[:2]
    smaller = max(1, round(width / factor)), max(1, round(height / factor))
    scale = np.array(smaller) / (width, height)
    return cv2.resize(picture, smaller, interpolation=cv2.INTER_AREA), quad.moved(scale, np.zeros(2))


def _cut(picture: np.ndarray, quad: Quad) -> tuple[np.ndarray, Quad]:
    """Keep what the square needs and a border of a tenth of it."""
    border = max(round(0.1 * quad.side), 3)
    low = np.floor(quad.corners.min(axis=0)).astype(int) - border
    high = np.ceil(quad.corners.max(axis=0)).astype(int) + border
    limit = np.array(picture.shape[1::-1])
    if (low >= limit).any() or (high <= 0).any():
        raise ValueError(
            f"landmarks: the face at {quad.corners.mean(axis=0).round()} px is not in the picture"
        )
    low, high = np.maximum(low, 0), np.minimum(high, limit)
    return picture[low[1] : high[1], low[0] : high[0]], quad.moved(np.ones(2), -low)


def _pad(picture: np.ndarray, quad: Quad) -> tuple[np.ndarray, Quad]:
    """Where the square leaves the picture: reflection, blurred and faded to the median colour."""
    border = max(round(0.1 * quad.side), 3)
    height, width = picture.shape[:2]
    before = np.ceil(border - quad.corners.min(axis=0))
    after = np.ceil(quad.corners.max(axis=0) + border - (width, height))
    missing = np.maximum(np.concatenate([before, after]), 0).astype(int)  # left, above, right, below
    if missing.max() <= border - 4:
        return picture, quad
    left, above, right, below = np.maximum(missing, round(0.3 * quad.side)).tolist()
    padded = np.pad(picture, ((above, below), (left, right), (0, 0)), mode="reflect").astype(np.float32)
    height, width = padded.shape[:2]
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    inside_x = np.minimum(x / left, x[::-1] / right)
    inside_y = np.minimum(y / above, y[::-1] / below)
    outside = 1 - np.minimum.outer(inside_y, inside_x)[..., None]  # 1 at the edge, 0 where the picture begins
    blurred = cv2.GaussianBlur(padded, (0, 0), sigmaX=0.02 * quad.side)
    padded += np.clip(3 * outside + 1, 0, 1) * (blurred - padded)
    padded += np.clip(outside, 0, 1) * (np.median(padded, axis=(0, 1)) - padded)
    padded = np.clip(np.rint(padded), 0, 255).astype(np.uint8)
    return padded, quad.moved(np.ones(2), np.array([left, above], np.float64))
