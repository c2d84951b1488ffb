"""Sets of rendered portraits with exact labels."""

import ast
import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hfld.attributes import ATTRIBUTES
from hfld.images import cached_arrays, sha256
from hfld.portraits import parameters
from hfld.portraits.parameters import Parameters

NOT_DRAWING = ("dataset.py", "world.py")
"""Files of this folder that do not decide what a portrait looks like."""


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
    key = sha256(json.dumps([arguments, renderer_hash()]).encode())[:12]

    def write(folder: Path) -> None:
        for name, array in _render(arguments, workers, progress).items():
            np.save(folder / f"{name}.npy", array)

    arrays = cached_arrays(Path(cache_dir) / f"portraits_{mode}_{n}x{size}_seed{seed}_{key}", write)
    return PortraitSet(z=arrays["z"], images=arrays["images"], landmarks=arrays["landmarks"])


def intervened(n: int, seed: int) -> np.ndarray:
    """Natural latents [n, z_dim] after one to three exact interventions each, every attribute equally often.

    These are the counterfactuals that a generator is asked for, and that nature seldom shows.
    """
    z = parameters.sample(n, seed)
    draws = np.random.default_rng((seed, 1))
    count = draws.integers(1, 4, size=n)
    chosen = draws.random((n, len(ATTRIBUTES))).argsort(axis=1) < count[:, None]  # [n, 40]
    labels = parameters.decode(z).labels
    for k, attribute in enumerate(ATTRIBUTES):
        for value in (0.0, 1.0):
            rows = np.flatnonzero(chosen[:, k] & (labels[:, k] != bool(value)))
            if len(rows):
                z[rows] = parameters.counterfactual(z[rows], attribute, value)
    return z


def renderer_hash() -> str:
    """Digest of what draws: code and tables. The networks in data/ name the one whose portraits they saw.

    Of the code without comments and docstrings: better words in them are no reason to draw anew.
    """
    parts: list[bytes | Path] = []
    for path in sorted(Path(__file__).parent.iterdir()):
        if path.suffix == ".py" and path.name not in NOT_DRAWING:
            parts.append(f"{path.name} {_code(path.read_text(encoding='utf-8'))}".encode())
        elif path.suffix == ".csv":
            parts += [f"{path.name} ".encode(), path]
    return sha256(*parts)


def _code(source: str) -> str:
    """The syntax tree without docstrings and positions, as Python 3.11 writes it."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(getattr(node, "body", None), list):
            node.body = [line for line in node.body if not _is_docstring(line)]
        vars(node).pop("type_params", None)  # new in 3.12
    return ast.dump(tree, **({"show_empty": True} if sys.version_info >= (3, 13) else {}))


def _is_docstring(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)


def _render(arguments: dict, workers: int, progress: bool) -> dict[str, np.ndarray]:
    from hfld.portraits.render import render_latents  # drawing needs OpenCV, reading a cache does not

    n, seed, mode = arguments["n"], arguments["seed"], arguments["mode"]
    if mode == "intervened":
        z = intervened(n, seed)
    else:
        z = parameters.sample(n, seed, mode=mode, coupling=arguments["coupling"])
    images, landmarks = render_latents(z, arguments["size"], workers=workers, progress=progress)
    return {"z": z, "images": images, "landmarks": landmarks.astype(np.float32)}
