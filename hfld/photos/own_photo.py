"""One's own photo: find the face, cut out the square that a generator knows, put the edited face back.

    photo = open_photo("me.jpg")                 # a file, its bytes, or an array
    print(photo.message)                         # what was found and chosen
    image = photo.image(256)                     # [1, 3, 256, 256], for hfld.inversion
    save_png("me2.png", paste_back(photo, edited))

Faces and eyes are found by the cascades that come with OpenCV: offline, nearly frontal faces of any roll.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image, PngImagePlugin
from torch import Tensor, nn

from hfld.images import replacing, to_tensor
from hfld.photos.alignment import Quad, center_quad, crop, ffhq_quad, paste
from hfld.photos.cascades import Face, find_faces
from hfld.photos.decoding import read
from hfld.photos.photo_set import to_rgb

Frame = Literal["ffhq", "portraits"]
FRAMES: dict[str, tuple[float, float, float]] = {"ffhq": (0.0, 0.0, 1.0), "portraits": (0.072, 0.011, 0.856)}
"""Where FFHQ's square lies in an image of each world: its left and upper edge and its side, of the side."""

SMALLEST = 32
"""Px: narrower faces hold too little to invert."""

RECIPE_KEY = "hfld-recipe"
"""Of the text in a PNG's metadata that says how it was made; hfld.studio reads it."""

MARK = "synthetic: the face in this photo was changed by a generative model"
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/'
    'compositeWithTrainedAlgorithmicMedia"/></rdf:RDF></x:xmpmeta>'
)
"""IPTC's statement that a picture is partly made by a trained algorithm; picture programs read it."""


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
    frame: Frame = "ffhq",  # the world whose images the square shall look like
    landmarks: nn.Module | None = None,  # a network that reads 106 points in such squares and refines them
    aligned: bool = False,  # the picture is such a square already; no face is looked for
) -> Photo:
    """Read a picture and align its face; ValueError says in one line why it cannot be used.

    Arrays are [H, W] or [H, W, 1 | 3 | 4]: uint8, uint16, bool, or floats from 0 to 1. A Photo stands for its
    picture, which is not read again.
    """
    if isinstance(source, Photo):
        picture, done = source.picture, source.notes
    elif isinstance(source, np.ndarray | Image.Image):
        picture, done = to_rgb(source) if isinstance(source, Image.Image) else _array_to_rgb(source), ()
    elif isinstance(source, Path | str | bytes):
        picture, done = read(source)
    else:
        raise ValueError(
            f"source: a {type(source).__name__}, expected a file, its bytes, an array or an image"
        )
    if frame not in FRAMES:
        raise ValueError(f"frame must be one of {', '.join(FRAMES)}, not {frame!r}")
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
    if chosen.width < SMALLEST:
        raise ValueError(f"the face is {chosen.width:.0f} px wide; at least {SMALLEST} are needed")
    notes = [*done, f"{_count(faces)} found" + (f", number {face} by size taken" if len(faces) > 1 else "")]
    if abs(chosen.roll) >= 5:
        notes.append(f"turned upright by {abs(chosen.roll):.0f} degrees")
    if not chosen.sure:
        notes.append("its eyes were not seen, so the alignment is rough")
    quad = framed(ffhq_quad(chosen.points), frame)
    if landmarks is not None:
        quad = _refined(picture, quad, landmarks, frame)
    whole = center_quad(height, width)
    if height == width and np.abs(whole.to_crop(quad.corners) - whole.to_crop(whole.corners)).max() < 0.1:
        quad = whole
        notes.append("the picture is an aligned face already")
    return Photo(picture, faces, quad, "; ".join(notes), done)


def framed(quad: Quad, frame: Frame) -> Quad:
    """FFHQ's square of a face -> the square that is an image of the world `frame`."""
    left, above, side = FRAMES[frame]
    across, down = quad.across / side, quad.down / side
    return Quad(quad.origin - left * across - above * down, across, down)


def paste_back(
    photo: Photo,
    face: np.ndarray,  # uint8 [S, S, 3], the edited square
    *,
    landmarks: np.ndarray | None = None,  # [106, 2] or [K, 106, 2] / side: only the oval of these faces
    feather: float = 0.1,  # width of the soft edge, of the square's side
) -> np.ndarray:
    """The photo, uint8 [H, W, 3], with the face in its place; outside of the mask not one pixel changes.

    ValueError for a face of another shape or type.

    Without landmarks the whole square is pasted, which keeps edits of the hair; pass those of the original
    and of the edited face together for a mask that covers both.
    """
    if face.dtype != np.uint8 or face.ndim != 3 or face.shape != (len(face), len(face), 3):
        raise ValueError(f"face: {face.dtype} {list(face.shape)}, expected uint8 [S, S, 3]")
    mask = None if landmarks is None else face_mask(landmarks, len(face), feather=feather)
    limit, corners = np.array(photo.picture.shape[1::-1]), photo.quad.corners
    left, top = low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, limit)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, 0, limit)
    result = photo.picture.copy()
    if left < right and top < bottom:  # floats only of what can change: a photo may be large
        window, quad = result[top:bottom, left:right], photo.quad.moved(np.ones(2), -low)
        window[:] = paste(window, face, quad, feather=feather, mask=mask)
    return result


def face_mask(landmarks: np.ndarray, size: int, *, feather: float = 0.1) -> np.ndarray:
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
    width = 2 * round(feather * size / 2) + 1
    return cv2.blur(cv2.blur(mask, (width, width)), (width, width))


def marked_png(picture: np.ndarray, note: dict[str, Any] | None = None) -> bytes:
    """A photo with a changed face as PNG: its metadata say that it is synthetic, and hold `note` as JSON."""
    info = PngImagePlugin.PngInfo()
    info.add_itxt("Comment", MARK)
    info.add_itxt("XML:com.adobe.xmp", XMP)
    if note is not None:
        info.add_itxt(RECIPE_KEY, json.dumps(note, ensure_ascii=False))
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png", pnginfo=info)
    return buffer.getvalue()


def save_png(path: Path | str, picture: np.ndarray, note: dict[str, Any] | None = None) -> None:
    """Write `marked_png` to a file; ValueError if it is not called .png."""
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path}: a PNG is written, expected a name that ends in .png")
    with replacing(path) as temporary:
        temporary.write_bytes(marked_png(picture, note))


def _count(faces: tuple[Face, ...]) -> str:
    return "one face was" if len(faces) == 1 else f"{len(faces)} faces were"


def _refined(picture: np.ndarray, quad: Quad, network: nn.Module, frame: Frame) -> Quad:
    """The square of the landmarks that a network reads in the rough one; the rough one where they differ
    more than eyes can be wrong: then the network has not read a face.
    """
    from hfld.landmarks import predict

    side = getattr(network, "size", None) or 256
    better = quad
    for _ in range(2):
        points = predict(network, crop(picture, better, side)[None])[0]
        better = framed(ffhq_quad(better.to_picture(points)), frame)
        if np.abs(quad.to_crop(better.corners) - quad.to_crop(quad.corners)).max() > 0.25:
            return quad
    return better


def _array_to_rgb(values: np.ndarray) -> np.ndarray:
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    colours = values.shape[2] if values.ndim == 3 else 1
    if values.ndim not in (2, 3) or colours not in (1, 3, 4) or values.size == 0:
        raise ValueError(f"source: shape {values.shape}, expected [H, W], [H, W, 3] or [H, W, 4]")
    if values.dtype == np.uint16:
        values = values / 65535
    elif values.dtype == bool:
        values = values.astype(np.float64)
    if np.issubdtype(values.dtype, np.floating):
        if not (values.min() >= 0 and values.max() <= 1):  # also where something is not finite
            raise ValueError(f"source: floats from {values.min()} to {values.max()}, expected 0 to 1")
        values = np.rint(values * 255).astype(np.uint8)
    if values.dtype != np.uint8:
        raise ValueError(f"source: {values.dtype}, expected uint8, uint16, bool, or floats from 0 to 1")
    return to_rgb(Image.fromarray(np.ascontiguousarray(values)))
