"""Nearly frontal faces of any roll in a picture, by the cascades that come with OpenCV; nothing else is
needed. Viola & Jones 2001, in OpenCV's training (frontalface_alt2, eye, eye_tree_eyeglasses).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

SEARCH_SIDE = 640  # px: longer side of the picture that is searched
MAX_ZOOM = 4.0  # of small pictures
BORDER = 0.15  # of the longer side, repeated around it: cascades miss faces that fill a picture
MIN_FACE = 0.05  # smallest width of a face, of the picture's longer side
EYE_SIDE = 240  # px: a face is looked at for its eyes at this width
ROLLS = (0, 20, 40, 60, 80, 100, 120, 140, 160, 180)
"""Degrees, tried from small to large until a clear face is found; a cascade takes about 20."""

CLEAR_SUPPORT = 15
"""Boxes of the cascade that agree on a face; faces have 6 to 60, what only looks like one mostly under 10."""

EYES = np.array([[0.32, 0.40], [0.68, 0.40]])
"""Where eyes are in a box of the face cascade, of its side: the median over rendered portraits."""

MOUTH = 1.04
"""Distance of eyes and mouth in distances of the eyes: FFHQ's mean face."""

NOTHING = (False, 0)  # the rank of no face


@dataclass(frozen=True)
class Face:
    """Where a face is; px of the picture, (x, y), pixel centre at integer + 0.5."""

    eyes: np.ndarray  # [2, 2] px, left and right as seen when upright
    width: float  # px, of the detector's box
    sure: bool  # whether both eyes were seen; else they are where a face's box has them
    support: int  # boxes of the detector that agree on it

    @property
    def roll(self) -> float:
        """Degrees in (-180, 180] by which the face is turned clockwise."""
        x, y = self.eyes[1] - self.eyes[0]
        return math.degrees(math.atan2(y, x))

    @property
    def center(self) -> np.ndarray:
        """[2] px, between the eyes."""
        return self.eyes.mean(axis=0)

    @property
    def points(self) -> np.ndarray:
        """[5, 2] px: eyes, nose and corners of the mouth of a face of mean proportions with these eyes."""
        across = self.eyes[1] - self.eyes[0]
        down = across[::-1] * [-1, 1]
        nose, mouth = self.center + 0.6 * MOUTH * down, self.center + MOUTH * down
        return np.stack([*self.eyes, nose, mouth - 0.44 * across, mouth + 0.44 * across])


def find_faces(picture: np.ndarray) -> tuple[Face, ...]:
    """All faces of an RGB picture, uint8 [H, W, 3], the largest first."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    zoom = min(SEARCH_SIDE / max(gray.shape), MAX_ZOOM)
    interpolation = cv2.INTER_AREA if zoom < 1 else cv2.INTER_CUBIC
    size = [max(1, round(side * zoom)) for side in gray.shape[::-1]]
    small = cv2.resize(gray, size, interpolation=interpolation)
    scale = np.array(gray.shape[::-1]) / size
    border = round(BORDER * max(size))
    small = cv2.copyMakeBorder(small, border, border, border, border, cv2.BORDER_REPLICATE)
    to_picture = np.column_stack([np.diag(scale), -border * scale])  # [2, 3]
    best: tuple[Face, ...] = ()
    for roll in ROLLS:
        angles = {roll, -roll} if 0 < roll < 180 else {roll}
        found = [face for angle in sorted(angles) for face in _find_at(gray, small, to_picture, angle)]
        found = [face for face in found if face.sure or (roll == 0 and face.support >= CLEAR_SUPPORT)]
        if max(map(_rank, found), default=NOTHING) > max(map(_rank, best), default=NOTHING):
            best = _drop_overlaps(found)
        if any(face.sure and face.support >= CLEAR_SUPPORT for face in best):
            break
    return best


def _find_at(gray: np.ndarray, small: np.ndarray, to_picture: np.ndarray, angle: float) -> list[Face]:
    """Faces turned clockwise by about `angle` degrees; `to_picture` [2, 3] leads from small to gray."""
    turned, to_small = _rotate(small, angle)
    least = max(20, round(MIN_FACE * max(small.shape)))
    boxes, support = _cascade("frontalface_alt2").detectMultiScale2(turned, 1.1, 5, minSize=(least, least))
    faces = []
    for (x, y, side, _), count in zip(boxes, support, strict=True):
        corner = np.array([[x, y], [x + side, y], [x, y + side]], np.float64)
        origin, right, below = _apply(_apply(corner, to_small), to_picture)
        box = np.stack([right - origin, below - origin])
        eyes = _find_eyes(gray, origin, box)
        points = origin + EYES @ box if eyes is None else _refine_eyes(gray, eyes)
        faces.append(Face(points, float(np.hypot(*box[0])), eyes is not None, int(count)))
    return faces


def _refine_eyes(gray: np.ndarray, eyes: np.ndarray) -> np.ndarray:
    """Eyes [2, 2] px, looked for once more in the box that they ask for, in which they are level."""
    across = (eyes[1] - eyes[0]) / (EYES[1, 0] - EYES[0, 0])
    box = np.stack([across, across[::-1] * [-1, 1]])
    better = _find_eyes(gray, eyes.mean(axis=0) - EYES.mean(axis=0) @ box, box)
    return eyes if better is None else better


def _apply(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _rotate(image: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """The image turned counterclockwise by `angle` degrees, and the way back [2, 3] in px."""
    if angle == 0:
        return image, np.eye(2, 3)
    height, width = image.shape
    radians = math.radians(angle)
    cos, sin = math.cos(radians), math.sin(radians)
    wide = math.ceil(abs(width * cos) + abs(height * sin))
    high = math.ceil(abs(width * sin) + abs(height * cos))
    linear = np.array([[cos, -sin], [sin, cos]])  # from turned to image: clockwise as seen
    back = np.column_stack([linear, np.array([width, height]) / 2 - linear @ [wide / 2, high / 2]])
    return _warp(image, back, (wide, high)), back


def _warp(image: np.ndarray, back: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`size` (width, height) px of an image; `back` [2, 3] leads from them to px of the image."""
    index = back.copy()
    index[:, 2] += back[:, :2].sum(axis=1) / 2 - 0.5  # pixel centres to pixel indices
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, index, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _find_eyes(gray: np.ndarray, origin: np.ndarray, box: np.ndarray) -> np.ndarray | None:
    """Eyes [2, 2] px in the box with the sides `box` [2, 2] px; None where its upper half shows no two."""
    face = _warp(gray, np.column_stack([box.T / EYE_SIDE, origin]), (EYE_SIDE, EYE_SIDE))
    upper = cv2.equalizeHist(face[: round(0.62 * EYE_SIDE)])
    spots = []
    for name in ("eye", "eye_tree_eyeglasses"):
        found = _cascade(name).detectMultiScale(
            upper, 1.05, 3, minSize=(EYE_SIDE // 8, EYE_SIDE // 8), maxSize=(EYE_SIDE // 2, EYE_SIDE // 2)
        )
        spots += [np.array([x + w / 2, y + h / 2]) / EYE_SIDE for x, y, w, h in found]
    eyes = []
    for usual in EYES:
        near = [place for place in spots if np.hypot(*(place - usual)) < 0.14]
        if not near:
            return None
        eyes.append(np.mean(near, axis=0))
    return origin + np.stack(eyes) @ box


def _rank(face: Face) -> tuple[bool, int]:
    return face.sure, face.support


def _drop_overlaps(faces: list[Face]) -> tuple[Face, ...]:
    """Largest first; of those that lie on one another the clearest."""
    kept: list[Face] = []
    for face in sorted(faces, key=_rank, reverse=True):
        if all(np.hypot(*(face.center - k.center)) > 0.5 * max(face.width, k.width) for k in kept):
            kept.append(face)
    return tuple(sorted(kept, key=lambda face: -face.width))


@lru_cache(maxsize=8)
def _cascade(name: str) -> cv2.CascadeClassifier:
    cascade = cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_{name}.xml")
    if cascade.empty():
        raise FileNotFoundError(f"this OpenCV ({cv2.__version__}) comes without its cascade {name!r}")
    return cascade
