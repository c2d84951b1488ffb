"""Any picture file as RGB, in bounded memory; what cannot be read is refused in one line.

A file of more than KEPT pixels is made smaller: a JPEG while it is decoded (libjpeg leaves frequencies out),
any other one right after. What stays is at most KEPT pixels of 3 bytes.
"""

import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from hfld.photos.photo_set import to_rgb

LARGEST = 120_000_000
"""Pixels of a picture that is still read."""

KEPT = 52_000_000
"""Pixels of a picture that is kept as it is: the largest that usual phones and cameras make."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000", "TGA")
"""That are opened; none of them starts another program, as EPS does."""

ROWS = 512  # of a gray picture that are converted at a time


def opened(source: Path | str | bytes) -> Image.Image:
    """A picture file of at most LARGEST pixels, opened but not decoded; ValueError if it has more.

    What Pillow raises for files that are no pictures passes through.
    """
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]  # as this Pillow was built
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # LARGEST says it in our words
        picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)
    width, height = picture.size
    if width * height > LARGEST:
        picture.close()
        raise ValueError(
            f"{width} x {height} px, expected at most {LARGEST // 10**6} million; make it smaller"
        )
    return picture


def read(source: Path | str | bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """A picture file as uint8 [H, W, 3], upright, and what a person should know about how it was read.

    ValueError names a file that cannot be decoded.
    """
    name = "this file" if isinstance(source, bytes) else str(source)
    try:
        with opened(source) as picture:
            return _decoded(picture)
    except FileNotFoundError:
        raise
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is not a readable picture: {_unknown(source)}") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is not a readable picture: {error}") from error


def _unknown(source: Path | str | bytes) -> str:
    head = source[:4] if isinstance(source, bytes) else Path(source).read_bytes()[:4]
    if head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "a TIFF of a kind that is not read, such as colours as floats; save it as PNG or JPEG"
    return "no known picture format; save it as JPEG or PNG"


def _decoded(picture: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    notes = []
    if picture.format != "MPO" and getattr(
        picture, "is_animated", False
    ):  # an MPO's second is the same small
        notes.append("the first of the file's pictures taken")
    whole = picture.size
    factor = _factor(whole)
    if factor > 1:
        picture.draft(None, tuple(max(1, side // factor) for side in whole))  # of a JPEG only
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)
    turned = (picture.size[0] > picture.size[1]) != (whole[0] > whole[1])
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        picture = Image.fromarray(_gray(picture))
    factor = _factor(picture.size)
    if factor > 1:
        if picture.mode not in ("L", "RGB", "RGBA", "CMYK"):
            picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        picture = picture.reduce(factor)
    if picture.size not in (whole, whole[::-1]):
        before = whole[::-1] if turned else whole
        notes.append("made smaller, from {} x {} to {} x {} px".format(*before, *picture.size))
    plain = picture.mode == "RGB" and not picture.has_transparency_data  # spares two copies
    return np.array(picture) if plain else to_rgb(picture), tuple(notes)


def _factor(size: tuple[int, int]) -> int:
    """By how much the sides are divided so that at most KEPT pixels stay."""
    return max(1, math.ceil(math.sqrt(size[0] * size[1] / KEPT)))


def _gray(picture: Image.Image) -> np.ndarray:
    """Wide integers or floats as uint8 [H, W]; what is white is guessed from the largest value: 1 of floats,
    255, or 65535.
    """
    ends = np.array([(part.min(), part.max()) for part in _strips(picture)], np.float64)
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if not (low >= 0 and high <= 65535):  # also where something is not finite
        raise ValueError(f"its values go from {low:g} to {high:g}, expected 0 to 1, 255 or 65535")
    white = 1.0 if picture.mode == "F" and high <= 1 else 255.0 if high <= 255 else 65535.0
    parts = [
        np.rint(part.astype(np.float32) * np.float32(255 / white)).astype(np.uint8)
        for part in _strips(picture)
    ]
    return np.concatenate(parts)


def _strips(picture: Image.Image) -> Iterator[np.ndarray]:
    width, height = picture.size
    for top in range(0, height, ROWS):
        yield np.asarray(picture.crop((0, top, width, min(top + ROWS, height))))
