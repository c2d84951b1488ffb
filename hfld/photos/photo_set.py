"""Photographs on disk, read as squares when asked for, with landmarks and attributes where known."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from hfld.attributes import ATTRIBUTES
from hfld.images import cached_arrays, sha256
from hfld.photos.alignment import center_quad, crop, ffhq_quad
from hfld.photos.reading import read_picture

Frame = Literal["center", "ffhq"]
"""Which square of a photo is its image: the largest in the middle, or FFHQ's around the landmarks."""

THREADS = 4  # that decode photos


@dataclass(frozen=True)
class PhotoSet:
    """N photos of one split. Nothing is decoded before `read` or `store`."""

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
        picture, _ = read_picture(self.files[i])
        landmarks = None if self.landmarks is None else self.landmarks[i]
        if frame == "ffhq" and landmarks is None:
            raise ValueError("frame 'ffhq' needs landmarks, and this set has none")
        try:
            quad = center_quad(*picture.shape[:2]) if frame == "center" else ffhq_quad(landmarks)
            image = crop(picture, quad, size, pad=frame == "ffhq")
        except ValueError as error:
            raise ValueError(f"{self.files[i]}: {error}") from error
        return image, None if landmarks is None else quad.to_crop(landmarks).astype(np.float32)

    def store(
        self,
        folder: Path | str,  # a folder of `folder` per set of photos, size and frame
        *,
        size: int,  # side in px
        frame: Frame = "center",
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """All squares uint8 [N, size, size, 3], made once and then mapped from disk, and their landmarks.

        Every photo is decoded when they are made; ValueError names one that cannot be.
        """
        made = Path(folder) / f"photos_{len(self)}x{size}_{frame}_{self._digest(size, frame)}"
        arrays = cached_arrays(made, partial(self._write, size=size, frame=frame))
        return arrays["images"], arrays.get("landmarks")

    def _write(self, folder: Path, *, size: int, frame: Frame) -> None:
        shape = (len(self), size, size, 3)
        images = np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
        landmarks = None if self.landmarks is None else np.empty(self.landmarks.shape, np.float32)

        def write(i: int) -> None:
            images[i], points = self.read(i, size=size, frame=frame)
            if landmarks is not None:
                landmarks[i] = points

        with ThreadPoolExecutor(THREADS) as pool:
            done = pool.map(write, range(len(self)))
            for _ in tqdm(done, total=len(self), desc=f"photos at {size} px"):
                pass
        images.flush()
        if landmarks is not None:
            np.save(folder / "landmarks.npy", landmarks)

    def _digest(self, size: int, frame: Frame) -> str:
        stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in self.files]
        landmarks = b"" if self.landmarks is None else self.landmarks
        return sha256(json.dumps([size, frame, stats]).encode(), landmarks)[:12]
