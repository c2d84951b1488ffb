"""Any picture file as RGB, upright, in bounded memory; what cannot be read is refused in one line.

Of a file with more than MAX_PIXELS a JPEG is made smaller while it is decoded (libjpeg leaves frequencies
out), any other one right after: what stays is at most MAX_PIXELS of 3 bytes.
"""

import io
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_PIXELS = 52_000_000
"""Of a picture in memory: the largest that usual phones and cameras make."""

MAX_FILE_PIXELS = 120_000_000
"""Of a file that is still decoded."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000", "TGA")
"""That are opened; none of them starts another program, as EPS does."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Of the pictures of a data set."""

ORIENTATION_TAGS = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
"""Where a header can say how the camera was held; without any, Pillow would decode a PNG to look further."""

STRIP_ROWS = 512  # of a gray picture that are converted at a time

_warning_filters = threading.Lock()  # they are the process's, and data sets are read by several threads


def read_picture(source: Path | str | bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """A picture file as uint8 [H, W, 3], upright, and what a person should know about how it was read.

    Gray, 16-bit, float, palette, CMYK and transparent (on white) pictures included. ValueError names a file
    that cannot be decoded.
    """
    with _named_errors(source), open_picture(source) as picture:
        return _decode(picture)


def picture_size(path: Path | str) -> tuple[int, int]:
    """(width, height) of an upright picture, from its header.

    ValueError beyond MAX_PIXELS: pixel coordinates would not fit the picture that is read.
    """
    with _named_errors(path), open_picture(path) as picture:
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width} x {height} px, expected at most {MAX_PIXELS // 10**6} million")
        tagged = any(key in picture.info for key in ORIENTATION_TAGS)
        lies_on_its_side = tagged and picture.getexif().get(0x0112, 1) >= 5
        return (height, width) if lies_on_its_side else (width, height)


def find_pictures(folder: Path | str) -> list[Path]:
    """All picture files below a folder, sorted; hidden ones are left out."""
    found = (path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def open_picture(source: Path | str | bytes) -> Image.Image:
    """A picture file of at most MAX_FILE_PIXELS, opened but not decoded; ValueError if it has more.

    What Pillow raises for files that are no pictures passes through.
    """
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]  # as this Pillow was built
    with _warning_filters, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", Image.DecompressionBombWarning
        )  # MAX_FILE_PIXELS says it in our words
        picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)
    width, height = picture.size
    if width * height > MAX_FILE_PIXELS:
        picture.close()
        limit = MAX_FILE_PIXELS // 10**6
        raise ValueError(f"{width} x {height} px, expected at most {limit} million; make it smaller")
    return picture


def to_rgb(picture: Image.Image) -> np.ndarray:
    """A Pillow picture of any mode as uint8 [H, W, 3]; white where it is transparent."""
    if _is_wide(picture):
        picture = Image.fromarray(_narrow(picture))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


@contextmanager
def _named_errors(source: Path | str | bytes) -> Iterator[None]:
    """Whatever Pillow raises becomes a ValueError that names the file."""
    name = "this file" if isinstance(source, bytes) else source
    try:
        yield
    except FileNotFoundError:
        raise
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is not a readable picture: {_unknown_format(source)}") from error
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is not a readable picture: {error}") from error


def _unknown_format(source: Path | str | bytes) -> str:
    head = source[:4] if isinstance(source, bytes) else Path(source).read_bytes()[:4]
    if head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "a TIFF of a kind that is not read, such as colours as floats; save it as PNG or JPEG"
    return "no known picture format; save it as JPEG or PNG"


def _decode(picture: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    notes = []
    if picture.format != "MPO" and getattr(
        picture, "is_animated", False
    ):  # an MPO's second is the same small
        notes.append("the first of the file's pictures taken")
    whole = picture.size
    factor = _reduction(whole)
    if factor > 1:
        picture.draft(None, tuple(max(1, side // factor) for side in whole))  # of a JPEG only
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)
    turned = (picture.size[0] > picture.size[1]) != (whole[0] > whole[1])
    factor = _reduction(picture.size)
    if factor > 1:
        if _is_wide(picture):
            picture = Image.fromarray(_narrow(picture))
        elif picture.mode not in ("L", "RGB", "RGBA", "CMYK"):
            picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
        picture = picture.reduce(factor)
    if picture.size not in (whole, whole[::-1]):
        before = whole[::-1] if turned else whole
        notes.append("made smaller, from {} x {} to {} x {} px".format(*before, *picture.size))
    return to_rgb(picture), tuple(notes)


def _reduction(size: tuple[int, int]) -> int:
    """By how much the sides are divided so that at most MAX_PIXELS stay."""
    return max(1, math.ceil(math.sqrt(size[0] * size[1] / MAX_PIXELS)))


def _is_wide(picture: Image.Image) -> bool:
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def _narrow(picture: Image.Image) -> np.ndarray:
    """Wide integers or floats as uint8 [H, W]; what is white is guessed from the largest value: 1 of floats,
    255, or 65535.
    """
    ends = np.array([(part.min(), part.max()) for part in _strips(picture)], np.float64)
    low, high = ends[:, 0].min(), ends[:, 1].max()
    if not (low >= 0 and high <= 65535):  # also where something is not finite
        raise ValueError(f"its values go from {low:g} to {high:g}, expected 0 to 1, 255 or 65535")
    white = 1.0 if picture.mode == "F" and high <= 1 else 255.0 if high <= 255 else 65535.0
    scale = np.float32(255 / white)
    return np.concatenate(
        [np.rint(part.astype(np.float32) * scale).astype(np.uint8) for part in _strips(picture)]
    )


def _strips(picture: Image.Image) -> Iterator[np.ndarray]:
    """A few rows at a time: all as float32 would be four times the picture."""
    width, height = picture.size
    for top in range(0, height, STRIP_ROWS):
        yield np.asarray(picture.crop((0, top, width, min(top + STRIP_ROWS, height))))
