"""A small anti-aliased painter: polygons, tapering strokes and soft spots on a supersampled picture.

Everything is given in design units: the picture is 128 units wide at any resolution, x to the right, y down,
origin at the top left corner.
"""

from functools import lru_cache

import cv2
import numpy as np

DESIGN = 128.0
_SHIFT = 6


@lru_cache(maxsize=256)
def _spline_matrix(count: int, closed: bool, steps: int) -> np.ndarray:
    """Rows that turn `count` control points into a Catmull-Rom curve of `steps` points a segment."""
    t = np.arange(steps) / steps
    basis = 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1
    )
    segments = count if closed else count - 1
    rows = np.zeros((segments * steps + (not closed), count))
    for segment in range(segments):
        for offset in range(4):
            column = segment + offset - 1
            column = column % count if closed else min(max(column, 0), count - 1)
            rows[segment * steps : (segment + 1) * steps, column] += basis[:, offset]
    if not closed:
        rows[-1, -1] = 1.0
    return rows


def curve(points: np.ndarray, closed: bool = False, steps: int = 6) -> np.ndarray:
    """Smooth curve through `points` [n, d] -> [m, d] (Catmull-Rom)."""
    points = np.asarray(points, dtype=np.float64)
    return _spline_matrix(len(points), closed, steps) @ points


def ribbon(points: np.ndarray, width: float | np.ndarray, taper: bool = True) -> np.ndarray:
    """Outline [2n, 2] of a stroke of `width` along `points` [n, 2], thinning towards both ends if `taper`."""
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    half = np.broadcast_to(np.asarray(width, dtype=np.float64) / 2, len(points))
    if taper:
        half = half * np.sqrt(np.clip(np.sin(np.linspace(0.06, np.pi - 0.06, len(points))), 0, 1))
    offset = normal * half[:, None]
    return np.concatenate([points + offset, (points - offset)[::-1]])


class Canvas:
    """A square picture being painted; `finish` returns it at the size asked for."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.factor = 3 if size < 96 else 2
        self.side = size * self.factor
        self.scale = self.side / DESIGN
        self.image = np.zeros((self.side, self.side, 3), dtype=np.float32)

    def mask(self, *polygons: np.ndarray, blur: float = 0.0) -> np.ndarray:
        """Coverage [side, side] in [0, 1] of the union of `polygons`, optionally blurred by `blur` units."""
        mask = np.zeros((self.side, self.side), dtype=np.uint8)
        for polygon in polygons:
            cv2.fillPoly(mask, [self._integer(polygon)], 255, lineType=cv2.LINE_AA, shift=_SHIFT)
        mask = mask.astype(np.float32) / 255
        if blur:
            mask = cv2.GaussianBlur(mask, (0, 0), blur * self.scale)
        return mask

    def fill(
        self,
        polygons: np.ndarray | list[np.ndarray],  # [n, 2], or several of them painted as one
        colour: np.ndarray,  # RGB 0..255, or a picture [side, side, 3]
        alpha: float = 1.0,
        clip: np.ndarray | None = None,  # coverage [side, side] outside which nothing is painted
        blur: float = 0.0,  # softness of the edge in units
    ) -> None:
        """Paint polygons."""
        if alpha <= 0.004:
            return
        if isinstance(polygons, np.ndarray):
            polygons = [polygons]
        points = np.concatenate(polygons)
        box = self._box(points.min(axis=0) - 3 * blur, points.max(axis=0) + 3 * blur)
        if box is None:
            return
        rows, columns = box
        corner = np.array([columns.start, rows.start])
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.uint8)
        for polygon in polygons:
            cv2.fillPoly(mask, [self._integer(polygon, corner)], 255, lineType=cv2.LINE_AA, shift=_SHIFT)
        if blur:
            mask = cv2.GaussianBlur(mask, (0, 0), blur * self.scale)
        self._blend(box, mask.astype(np.float32) * (alpha / 255), colour, clip)

    def stroke(
        self,
        points: np.ndarray,
        colour: np.ndarray,
        width: float | np.ndarray,
        alpha: float = 1.0,
        clip: np.ndarray | None = None,
        taper: bool = True,
        blur: float = 0.0,
    ) -> None:
        """Paint a line of `width` units along `points` [n, 2]."""
        self.fill(ribbon(np.asarray(points, dtype=np.float64), width, taper), colour, alpha, clip, blur)

    def ellipse(
        self,
        centre: tuple[float, float] | np.ndarray,
        radii: tuple[float, float],
        colour: np.ndarray,
        alpha: float = 1.0,
        clip: np.ndarray | None = None,
    ) -> None:
        """Paint an ellipse with a sharp edge."""
        self.fill(ellipse(centre, radii), colour, alpha, clip)

    def glow(
        self,
        centre: tuple[float, float] | np.ndarray,
        radii: tuple[float, float],
        colour: np.ndarray,
        alpha: float,
        clip: np.ndarray | None = None,
        angle: float = 0.0,
    ) -> None:
        """Paint a soft spot: Gaussian, `radii` being where it has fallen to 1/e."""
        if alpha <= 0.004:
            return
        centre = np.asarray(centre, dtype=np.float64)
        reach = 2.0 * max(radii)
        box = self._box(centre - reach, centre + reach)
        if box is None:
            return
        rows, columns = box
        y = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) / self.scale - centre[1]
        x = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5) / self.scale - centre[0]
        if angle:
            cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
            u = (x[None, :] * cos + y[:, None] * sin) / np.float32(radii[0])
            v = (y[:, None] * cos - x[None, :] * sin) / np.float32(radii[1])
            mask = np.exp(-(u * u) - v * v)
        else:
            mask = np.exp(-((y / radii[1]) ** 2))[:, None] * np.exp(-((x / radii[0]) ** 2))[None, :]
        self._blend(box, mask.astype(np.float32) * np.float32(alpha), colour, clip)

    def multiply(self, gain: np.ndarray, clip: np.ndarray) -> None:
        """Lighten or darken by `gain` [side, side] or broadcastable, where `clip` covers."""
        self.image *= 1 + (gain - 1) * clip[..., None]

    def blur(self, radius: float) -> None:
        """Blur the whole picture by a Gaussian of `radius` units."""
        self.image = cv2.GaussianBlur(
            self.image, (0, 0), radius * self.scale, borderType=cv2.BORDER_REPLICATE
        )

    def finish(self) -> np.ndarray:
        """The picture, uint8 [size, size, 3]."""
        small = cv2.resize(self.image, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return np.clip(small + 0.5, 0, 255).astype(np.uint8)

    def _integer(self, polygon: np.ndarray, corner: np.ndarray | float = 0.0) -> np.ndarray:
        # OpenCV puts pixel centres at integers, we put them at integers + 0.5.
        return np.round((polygon * self.scale - 0.5 - corner) * 2**_SHIFT).astype(np.int32)

    def _box(self, low: np.ndarray, high: np.ndarray) -> tuple[slice, slice] | None:
        low = np.clip(np.floor(low * self.scale).astype(int) - 1, 0, self.side)
        high = np.clip(np.ceil(high * self.scale).astype(int) + 2, 0, self.side)
        if (high <= low).any():
            return None
        return slice(low[1], high[1]), slice(low[0], high[0])

    def _blend(
        self, box: tuple[slice, slice], mask: np.ndarray, colour: np.ndarray, clip: np.ndarray | None
    ) -> None:
        if clip is not None:
            mask = mask * clip[box]
        colour = np.asarray(colour, dtype=np.float32)
        if colour.ndim == 3:
            colour = colour[box]
        patch = self.image[box]
        patch += (colour - patch) * mask[..., None]


def ellipse(
    centre: tuple[float, float] | np.ndarray, radii: tuple[float, float], count: int = 28
) -> np.ndarray:
    """Outline [count, 2]."""
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.asarray(centre) + np.stack([np.cos(angle) * radii[0], np.sin(angle) * radii[1]], axis=1)
