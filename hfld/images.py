"""Pictures between uint8 and tensors, files that are written whole, and digests."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def to_tensor(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 [N, H, W, 3] -> float [N, 3, H, W] in [-1, 1], channels last in memory."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images: {images.dtype} {images.shape}, expected uint8 [N, H, W, 3]")
    x = torch.from_numpy(np.array(images, order="C")).to(device).permute(0, 3, 1, 2)
    return x.float().div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> np.ndarray:
    """Float [N, 3, H, W] in [-1, 1] (clipped) -> uint8 [N, H, W, 3]."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images: shape {tuple(images.shape)}, expected [N, 3, H, W]")
    x = images.detach().float().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)
    return x.permute(0, 2, 3, 1).cpu().contiguous().numpy()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the name `path` when all went well: nothing half-written carries it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def cached_arrays(folder: Path, write: Callable[[Path], None]) -> dict[str, np.ndarray]:
    """The .npy files of a folder by name, mapped from disk; where there is none, `write` fills it, whole or
    not at all.
    """
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            write(temporary)
            temporary.chmod(0o755)
            if not folder.is_dir():  # another process may have been faster
                temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}


def sha256(*parts: Path | bytes | np.ndarray) -> str:
    """Hex digest of files, given by their paths, and of plain bytes and arrays, one after the other."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with part.open("rb") as file:
                hashlib.file_digest(file, lambda: digest)
        else:
            digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part))
    return digest.hexdigest()
