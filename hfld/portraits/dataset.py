"""Sets of rendered portraits with exact labels."""

import ast
import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hfld.attributes import ATTRIBUTES
from hfld.images import to_tensor
from hfld.portraits import parameters
from hfld.portraits.parameters import Parameters

_ARRAYS = ("z", "images", "landmarks")


@dataclass(frozen=True)
class PortraitSet:
    """N rendered portraits. Labels are decoded from the latents, so they agree with the pictures."""

    z: np.ndarray  # [N, z_dim] float32
    images: np.ndarray  # [N, H, W, 3] uint8
    landmarks: np.ndarray  # [N, 106, 2] (x, y) / side

    def __len__(self) -> int:
        return len(self.z)

    def __getitem__(self, index: slice | np.ndarray) -> "PortraitSet":
        return PortraitSet(z=self.z[index], images=self.images[index], landmarks=self.landmarks[index])

    @cached_property
    def parameters(self) -> Parameters:
        """Strengths, labels, visibility, emotions and pose of every portrait."""
        return parameters.decode(self.z)

    def batch(self, index: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Images [N, 3, H, W] in [-1, 1] of the chosen portraits."""
        return to_tensor(self.images[index.numpy()], device)


def portraits(
    n: int,
    seed: int,
    *,
    mode: str = "natural",  # as counted in CelebA; "independent": for judges; "intervened": see below
    coupling: float = 1.0,  # scales the correlations between attributes, "natural" only
    size: int,  # side in px
    cache_dir: Path | str | None = None,  # None: render every time
    workers: int = 2,
    progress: bool = True,
) -> PortraitSet:
    """Sample and render n portraits, or read them from `cache_dir` if it has them from this renderer."""
    arguments = {"n": n, "seed": seed, "mode": mode, "coupling": coupling, "size": size}
    if cache_dir is None:
        return PortraitSet(**_render(arguments, workers, progress))
    key = hashlib.sha256(json.dumps([arguments, renderer_hash()]).encode()).hexdigest()[:12]
    folder = Path(cache_dir) / f"portraits_{mode}_{n}x{size}_seed{seed}_{key}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for name, array in _render(arguments, workers, progress).items():
                np.save(temporary / f"{name}.npy", array)
            temporary.chmod(0o755)
            if not folder.is_dir():  # another process may have been faster
                temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return PortraitSet(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS})


def intervened(n: int, seed: int, *, most: int = 3) -> np.ndarray:
    """Natural latents [n, z_dim] after one to `most` exact interventions each, every attribute equally often.

    These are the counterfactuals that a generator is asked for, and that nature seldom shows.
    """
    z = parameters.sample(n, seed)
    draws = np.random.default_rng((seed, 1))
    count = draws.integers(1, most + 1, size=n)
    chosen = draws.random((n, len(ATTRIBUTES))).argsort(axis=1) < count[:, None]  # [n, 40]
    labels = parameters.decode(z).labels
    for k, attribute in enumerate(ATTRIBUTES):
        for value in (0.0, 1.0):
            rows = np.flatnonzero(chosen[:, k] & (labels[:, k] != bool(value)))
            if len(rows):
                z[rows] = parameters.counterfactual(z[rows], attribute, value)
    return z


def renderer_hash() -> str:
    """Digest of what hfld/portraits does: its code without comments and docstrings, and its tables."""
    folder = Path(parameters.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".py":
            digest.update(f"{path.relative_to(folder)} {_code(path.read_text())}".encode())
        elif path.suffix in (".csv", ".npz", ".json"):
            digest.update(f"{path.relative_to(folder)} ".encode() + path.read_bytes())
    return digest.hexdigest()


def _code(source: str) -> str:
    """The syntax tree without docstrings and positions."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [
                line
                for line in body
                if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            ]
    return ast.dump(tree)


def _render(arguments: dict, workers: int, progress: bool) -> dict[str, np.ndarray]:
    from hfld.portraits.render import render_latents  # drawing needs OpenCV, reading a cache does not

    if arguments["mode"] == "intervened":
        z = intervened(arguments["n"], arguments["seed"])
    else:
        z = parameters.sample(
            arguments["n"], arguments["seed"], mode=arguments["mode"], coupling=arguments["coupling"]
        )
    images, landmarks = render_latents(z, arguments["size"], workers=workers, progress=progress)
    return {"z": z, "images": images, "landmarks": landmarks.astype(np.float32)}
