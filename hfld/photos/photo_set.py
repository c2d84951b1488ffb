"""Photographs on disk: read when asked for, cropped to squares, with landmarks and attributes where known."""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from hfld.attributes import ATTRIBUTES
from hfld.images import cached_arrays, sha256, to_tensor
from hfld.photos.alignment import Quad, center_quad, crop, ffhq_quad

Frame = Literal["center", "ffhq"]
"""Which square of a photo is its image: the largest in the middle, or FFHQ's around the landmarks."""

TAGS = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
"""Where a header can say how the camera was held; without any, Pillow would decode a PNG to look further."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


@dataclass(frozen=True)
class Batch:
    """N photos in hfld's conventions."""

    images: Tensor  # [N, 3, S, S] in [-1, 1]
    landmarks: Tensor | None  # [N, P, 2] (x, y) / side
    attributes: Tensor | None  # [N, 40], 0 or 1


@dataclass(frozen=True)
class PhotoSet:
    """N photos of one split. Nothing is decoded before `read`, `batch` or `store`."""

    files: tuple[Path, ...]
    landmarks: np.ndarray | None = None  # [N, P, 2] px of the file, (x, y), pixel centre at integer + 0.5
    attributes: np.ndarray | None = None  # [N, 40] bool

    def __post_init__(self) -> None:
        n = len(self.files)
        if self.landmarks is not None and (self.landmarks.ndim != 3 or len(self.landmarks) != n):
            raise ValueError(f"landmarks: shape {self.landmarks.shape}, expected [{n}, P, 2]")
        if self.attributes is not None and self.attributes.shape != (n, len(ATTRIBUTES)):
            raise ValueError(f"attributes: shape {self.attributes.shape}, expected [{n}, {len(ATTRIBUTES)}]")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: slice | np.ndarray) -> "PhotoSet":
        chosen = np.arange(len(self))[index]
        landmarks, attributes = (
            None if values is None else values[chosen] for values in (self.landmarks, self.attributes)
        )
        return PhotoSet(tuple(self.files[i] for i in chosen), landmarks, attributes)

    def read(self, i: int, *, size: int, frame: Frame = "center") -> tuple[np.ndarray, np.ndarray | None]:
        """Photo i as uint8 [size, size, 3], and its landmarks [P, 2] / side in that square."""
        picture = read_picture(self.files[i])
        landmarks = None if self.landmarks is None else self.landmarks[i]
        try:
            quad = square(frame, picture, landmarks)
            image = crop(picture, quad, size, pad=frame == "ffhq")
        except ValueError as error:
            raise ValueError(f"{self.files[i]}: {error}") from error
        return image, None if landmarks is None else quad.to_crop(landmarks).astype(np.float32)

    def batch(
        self,
        index: Sequence[int] | Tensor | np.ndarray,
        *,
        size: int,  # side in px
        frame: Frame = "center",
        device: torch.device | str = "cpu",
    ) -> Batch:
        """The chosen photos as tensors."""
        index = [int(i) for i in index]
        images, landmarks = zip(*(self.read(i, size=size, frame=frame) for i in index), strict=True)
        return Batch(
            images=to_tensor(np.stack(images), device),
            landmarks=None if self.landmarks is None else torch.from_numpy(np.stack(landmarks)).to(device),
            attributes=None
            if self.attributes is None
            else torch.from_numpy(self.attributes[index]).float().to(device),
        )

    def verify(
        self,
        *,
        size: tuple[int, int] | None = None,  # (width, height) that every photo has to have
        decode: bool = True,  # False: headers only, some 0.1 ms each from a warm disk
        progress: bool = True,
    ) -> None:
        """Look at every photo; ValueError names the first that is not readable or not of `size`."""
        bar = tqdm(self.files, desc="photos checked", unit="photo", disable=not progress, delay=1)
        for path in bar:
            found = read_picture(path).shape[1::-1] if decode else picture_size(path)
            if size is not None and found != size:
                raise ValueError(f"{path}: {found[0]} x {found[1]} px, expected {size[0]} x {size[1]}")

    def store(
        self,
        folder: Path | str,  # a folder of `folder` per set of photos, size and frame
        *,
        size: int,
        frame: Frame = "center",
        workers: int = 4,  # threads
        progress: bool = True,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """All squares uint8 [N, size, size, 3], made once and then mapped from disk, and their landmarks.

        Every photo is decoded when they are made; ValueError names one that cannot be.
        """
        made = Path(folder) / f"photos_{len(self)}x{size}_{frame}_{self._digest(size, frame)}"
        write = partial(self._write, size=size, frame=frame, workers=workers, progress=progress)
        arrays = cached_arrays(made, write)
        return arrays["images"], arrays.get("landmarks")

    def _write(self, folder: Path, *, size: int, frame: Frame, workers: int, progress: bool) -> None:
        shape = (len(self), size, size, 3)
        images = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
        landmarks = None if self.landmarks is None else np.empty(self.landmarks.shape, np.float32)

        def write(i: int) -> None:
            images[i], points = self.read(i, size=size, frame=frame)
            if landmarks is not None:
                landmarks[i] = points

        with ThreadPoolExecutor(workers) as pool:
            done = pool.map(write, range(len(self)))
            for _ in tqdm(done, total=len(self), desc=f"photos at {size} px", disable=not progress):
                pass
        images.flush()
        if landmarks is not None:
            np.save(folder / "landmarks.npy", landmarks)

    def _digest(self, size: int, frame: Frame) -> str:
        stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in self.files]
        landmarks = b"" if self.landmarks is None else self.landmarks
        return sha256(json.dumps([size, frame, stats]).encode(), landmarks)[:12]


def square(frame: Frame, picture: np.ndarray, landmarks: np.ndarray | None) -> Quad:
    """The square of a picture [H, W, 3] that `frame` stands for."""
    if frame == "center":
        return center_quad(*picture.shape[:2])
    if frame == "ffhq":
        if landmarks is None:
            raise ValueError("frame 'ffhq' needs landmarks, and this set has none")
        return ffhq_quad(landmarks)
    raise ValueError(f"frame must be 'center' or 'ffhq', not {frame!r}")


def read_picture(path: Path | str) -> np.ndarray:
    """A file as RGB uint8 [H, W, 3], turned as its EXIF says; gray, 16-bit, CMYK and transparent (on white)
    pictures included. ValueError names a file that cannot be decoded.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            return to_rgb(picture)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a readable picture: {error}") from error


def to_rgb(picture: Image.Image) -> np.ndarray:
    """A Pillow picture of any mode as RGB uint8 [H, W, 3], upright."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture).astype(np.float64)
        gray = values / 257 if values.max() > 255 else values
        return np.repeat(np.clip(np.rint(gray), 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.array(picture.convert("RGB"))


def picture_size(path: Path | str) -> tuple[int, int]:
    """(width, height) of an upright picture, from its header."""
    try:
        with Image.open(path) as picture:
            tagged = any(key in picture.info for key in TAGS)
            turned = tagged and picture.getexif().get(0x0112, 1) >= 5  # 5 to 8 lie on their side
            return picture.size[::-1] if turned else picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is not a readable picture: {error}") from error


def pictures_in(folder: Path | str) -> list[Path]:
    """All picture files below a folder, sorted; hidden ones are left out."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def split_by_name(
    names: Iterable[str],
    *,
    validation: float = 0.1,  # share
    test: float = 0.1,
) -> np.ndarray:
    """0 train, 1 validation, 2 test for each name; a name keeps its split when others come and go."""
    place = np.array([int(sha256(name.encode())[:16], base=16) / 2**64 for name in names])
    return np.where(place < test, 2, np.where(place < test + validation, 1, 0))
