"""One's own photo: find the face, cut out the square that a generator knows, put the edited face back.

    photo = open_photo("me.jpg")                 # a file, its bytes, or an array
    print(photo.message)                         # what was found and chosen
    image = photo.image(256)                     # [1, 3, 256, 256], for hfld.inversion
    Path("me2.png").write_bytes(synthetic_png(paste_back(photo, edited), kind="composite"))

Faces and eyes are found by the cascades that come with OpenCV: offline, nearly frontal faces of any roll.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image, ImageOps
from torch import Tensor, nn

from hfld.attributes import index_of
from hfld.images import to_tensor
from hfld.landmarks import predict
from hfld.photos.alignment import FEATHER, Quad, center_quad, crop, ffhq_quad, paste
from hfld.photos.face_detection import Face, find_faces
from hfld.photos.reading import read_picture, to_rgb

World = Literal["ffhq", "portraits"]
FFHQ_SQUARES: dict[str, tuple[float, float, float]] = {
    "ffhq": (0.0, 0.0, 1.0),
    "portraits": (0.072, 0.011, 0.856),
}
"""Where FFHQ's square lies in an image of each world: its left and upper edge and its side, of the side."""

MIN_FACE_WIDTH = 32
"""Px: narrower faces hold too little to invert."""


@dataclass(frozen=True)
class Photo:
    """A picture, the faces in it, and the square of the chosen one."""

    picture: np.ndarray  # uint8 [H, W, 3], upright
    faces: tuple[Face, ...]  # largest first; empty if the picture was said to be a crop
    quad: Quad  # the square that is the generator's image, px of the picture
    message: str  # what was found and done, for the person
    notes: tuple[str, ...] = ()  # of these, what was done while the file was read

    def crop(self, size: int) -> np.ndarray:
        """The square as uint8 [size, size, 3]; where it leaves the photo it is filled as FFHQ's."""
        height, width = self.picture.shape[:2]
        corners = self.quad.corners
        leaves = corners.min() < -0.5 or (corners.max(axis=0) > np.array([width, height]) + 0.5).any()
        return crop(self.picture, self.quad, size, pad=bool(leaves))

    def image(self, size: int) -> Tensor:
        """The square as [1, 3, size, size] in [-1, 1]."""
        return to_tensor(self.crop(size)[None])


def open_photo(
    source: Path | str | bytes | np.ndarray | Image.Image | Photo,  # a file, its bytes, or a picture
    *,
    face: int = 0,  # which face, 0 the largest
    world: World = "ffhq",  # whose images the square shall look like
    landmarks: nn.Module | None = None,  # a network that reads 106 points in such squares and refines them
    aligned: bool = False,  # the picture is such a square already; no face is looked for
) -> Photo:
    """Read a picture and align its face; ValueError says in one line why it cannot be used.

    Arrays are uint8 [H, W, 3]. A Photo stands for its picture, which is not read again.
    """
    picture, done = _pixels(source)
    height, width = picture.shape[:2]
    if aligned:
        words = "; ".join([*done, "taken as an aligned face"])
        return Photo(picture, (), center_quad(height, width), words, done)
    faces = find_faces(picture)
    if not faces:
        raise ValueError(
            f"no face was found in this picture of {width} x {height} px; it should be seen from the front, "
            "well lit, and at least a twentieth of the picture wide. If the picture is an aligned face "
            "already, say so (aligned=True)"
        )
    if not 0 <= face < len(faces):
        raise ValueError(f"face: {face}, but {_count(faces)} found; expected 0 to {len(faces) - 1}")
    chosen = faces[face]
    if chosen.width < MIN_FACE_WIDTH:
        raise ValueError(f"the face is {chosen.width:.0f} px wide; at least {MIN_FACE_WIDTH} are needed")
    notes = [*done, f"{_count(faces)} found" + (f", number {face} by size taken" if len(faces) > 1 else "")]
    if abs(chosen.roll) >= 5:
        notes.append(f"turned upright by {abs(chosen.roll):.0f} degrees")
    if not chosen.sure:
        notes.append("its eyes were not seen, so the alignment is rough")
    quad = world_quad(ffhq_quad(chosen.points), world)
    if landmarks is not None:
        quad = _refine(picture, quad, landmarks, world)
    whole = center_quad(height, width)
    if height == width and np.abs(whole.to_crop(quad.corners) - whole.to_crop(whole.corners)).max() < 0.1:
        quad = whole
        notes.append("the picture is an aligned face already")
    return Photo(picture, faces, quad, "; ".join(notes), done)


def world_quad(quad: Quad, world: World) -> Quad:
    """FFHQ's square of a face -> the square that is an image of `world`."""
    index_of(world, FFHQ_SQUARES, "world")
    left, above, side = FFHQ_SQUARES[world]
    across, down = quad.across / side, quad.down / side
    return Quad(quad.origin - left * across - above * down, across, down)


def paste_back(
    photo: Photo,
    face: np.ndarray,  # uint8 [S, S, 3], the edited square
    *,
    landmarks: np.ndarray | None = None,  # [106, 2] or [K, 106, 2] / side: only the oval of these faces
) -> np.ndarray:
    """The photo, uint8 [H, W, 3], with the face in its place; outside of the mask not one pixel changes.

    ValueError for a face of another shape or type.

    Without landmarks the whole square is pasted, which keeps edits of the hair; pass those of the original
    and of the edited face together for a mask that covers both.
    """
    if face.dtype != np.uint8 or face.ndim != 3 or face.shape != (len(face), len(face), 3):
        raise ValueError(f"face: {face.dtype} {list(face.shape)}, expected uint8 [S, S, 3]")
    mask = None if landmarks is None else face_mask(landmarks, len(face))
    limit, corners = np.array(photo.picture.shape[1::-1]), photo.quad.corners
    left, top = low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, limit)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, 0, limit)
    result = photo.picture.copy()
    if left < right and top < bottom:  # floats only of what can change: a photo may be large
        window, quad = result[top:bottom, left:right], photo.quad.moved(np.ones(2), -low)
        window[:] = paste(window, face, quad, mask=mask)
    return result


def face_mask(landmarks: np.ndarray, size: int) -> np.ndarray:
    """[106, 2] or [K, 106, 2] / side -> [size, size] in [0, 1]: contour and forehead, with a soft edge.

    The forehead is half an ellipse over the ends of the contour, about half as high as the chin is deep.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.ndim not in (2, 3) or landmarks.shape[-2:] != (106, 2):
        raise ValueError(f"landmarks: shape {landmarks.shape}, expected [106, 2] or [K, 106, 2]")
    mask = np.zeros((size, size), np.float32)
    for contour in landmarks.reshape(-1, 106, 2)[:, :33]:
        middle = (contour[0] + contour[32]) / 2
        angle = np.linspace(0, np.pi, 33)[1:-1, None]
        forehead = (
            middle
            + np.cos(angle) * (contour[32] - contour[0]) / 2
            - 0.55 * np.sin(angle) * (contour[16] - middle)
        )
        oval = np.concatenate([contour, forehead]) * size - 0.5
        cv2.fillPoly(mask, [np.rint(oval * 16).astype(np.int32)], 1.0, lineType=cv2.LINE_8, shift=4)
    width = 2 * round(FEATHER * size / 2) + 1
    return cv2.blur(cv2.blur(mask, (width, width)), (width, width))


def _pixels(
    source: Path | str | bytes | np.ndarray | Image.Image | Photo,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """uint8 [H, W, 3], and what was done while it was read."""
    if isinstance(source, Photo):
        return source.picture, source.notes
    if isinstance(source, Path | str | bytes):
        return read_picture(source)
    if isinstance(source, Image.Image):
        return to_rgb(ImageOps.exif_transpose(source)), ()
    if not isinstance(source, np.ndarray):
        raise ValueError(
            f"source: a {type(source).__name__}, expected a file, its bytes, an array or an image"
        )
    if source.dtype != np.uint8 or source.ndim != 3 or source.shape[2] != 3 or source.size == 0:
        raise ValueError(f"source: {source.dtype} {list(source.shape)}, expected uint8 [H, W, 3]")
    return np.ascontiguousarray(source), ()


def _count(faces: tuple[Face, ...]) -> str:
    return "one face was" if len(faces) == 1 else f"{len(faces)} faces were"


def _refine(picture: np.ndarray, quad: Quad, network: nn.Module, world: World) -> Quad:
    """The square of the landmarks that a network reads in the rough one; the rough one where they differ
    more than eyes can be wrong: then the network has not read a face.
    """
    side = getattr(network, "size", None) or 256
    better = quad
    for _ in range(2):
        points = predict(network, crop(picture, better, side)[None])[0]
        better = world_quad(ffhq_quad(better.to_picture(points)), world)
        if np.abs(quad.to_crop(better.corners) - quad.to_crop(quad.corners)).max() > 0.25:
            return quad
    return better
