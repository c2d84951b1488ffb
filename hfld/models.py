"""The frozen networks that an experiment runs on: G and R always, D, F and H where the losses need them."""

import ctypes
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from hfld.checkpoints import load_network
from hfld.config import Profile, load_profile
from hfld.images import sha256
from hfld.networks.resized import resized

SPLITS = ("train", "validation", "test")
"""Disjoint streams of latents: training of T; choosing, matching and ranking; tables."""

Score = Callable[[Tensor], Tensor]
"""ws [N, L, w_dim] -> attribute scores [N, 40]."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc, malloc.h


@dataclass
class Models:
    """Networks in eval mode and without gradients of their own."""

    generator: nn.Module  # .mapping(z) -> w, .repeat(w) -> ws, .synthesis(ws, noise="fixed") -> images
    regressor: nn.Module  # images -> [N, 40] probabilities; trains T, never scores it
    discriminator: nn.Module | None = None  # images -> [N, 1] logits
    perceptual: nn.Module | None = None  # images -> list of feature maps
    landmarks: nn.Module | None = None  # images -> [N, 212]; the H of the landmark loss
    hashes: dict[str, str] = field(default_factory=dict)  # sha256 of each weight file
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        for network in self.networks().values():
            network.to(self.device, memory_format=torch.channels_last).eval().requires_grad_(False)

    @classmethod
    def of(cls, profile: Profile | str) -> "Models":
        """The networks of a profile (or its name), with the H that 01_landmarks trained, on its device.

        On a CPU the process keeps freed memory from here on (hfld.models.reuse_memory).
        """
        profile = load_profile(profile) if isinstance(profile, str) else profile
        device = pick_device(profile.world.device)
        if device.type == "cpu":
            reuse_memory()
        return cls.load(
            profile.paths.world,
            landmarks=profile.paths.weights / "landmarks.safetensors",
            device=device,
            read_at=profile.world.read_at,
        )

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        landmarks: Path | None = None,
        device: torch.device | str = "cpu",
        read_at: int | None = None,  # side at which R, F and H look, px; None: at pictures as they are
    ) -> "Models":
        """G, D, R and F from `folder` (profile.paths.world), and H from the file `landmarks` if given."""
        files = {name: Path(folder) / f"{name}.safetensors" for name in cls._FILES}
        if landmarks is not None:
            files["landmarks"] = Path(landmarks)
        networks = {name: load_network(path, device=device) for name, path in files.items()}
        for name in networks.keys() & {"regressor", "perceptual", "landmarks"}:
            networks[name] = resized(networks[name], read_at)
        return cls(**networks, hashes={name: sha256(path) for name, path in files.items()}, device=device)

    _FILES = ("generator", "discriminator", "regressor", "perceptual")

    def networks(self) -> dict[str, nn.Module]:
        names = (*self._FILES, "landmarks")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @property
    def z_dim(self) -> int:
        return self.generator.z_dim

    def chunk(self, most: int) -> int:
        """How many pictures to make at a time: `most` up to 256 px, fewer where they are larger."""
        return max(1, min(most, most * 256**2 // getattr(self.generator, "size", 1) ** 2))

    def latents(self, count: int, *, seed: int, split: str) -> Tensor:
        """z [count, z_dim] ~ N(0, I); the splits never share a stream."""
        if split not in SPLITS:
            raise ValueError(f"split must be one of {SPLITS}, not {split!r}")
        generator = torch.Generator().manual_seed(seed * len(SPLITS) + SPLITS.index(split))
        return torch.randn(count, self.z_dim, generator=generator)

    def ws(self, z: Tensor | np.ndarray) -> Tensor:
        """z [N, z_dim] -> ws [N, L, w_dim], every row the same w, without truncation."""
        with torch.no_grad():
            return self.generator.repeat(self.generator.mapping(torch.as_tensor(z).to(self.device)))

    def images(self, ws: Tensor) -> Tensor:
        """ws -> images [N, 3, H, W] with the fixed noise that x and x' share."""
        return self.generator.synthesis(ws, noise="fixed")

    def points(self, images: Tensor) -> Tensor:
        """H's landmarks [N, 106, 2]."""
        if self.landmarks is None:
            raise ValueError("there is no landmark network; train it with 01_landmarks and pass its file")
        return self.landmarks(images).float().unflatten(1, (106, 2))

    def score(self, ws: Tensor, *, batch: int = 64) -> Tensor:
        """R(G(ws)) [N, 40], in batches, without gradients."""
        with torch.no_grad():
            return torch.cat(
                [self.regressor(self.images(part)).float() for part in ws.split(self.chunk(batch))]
            )


def reuse_memory() -> bool:
    """Keep freed tensors' memory in the process instead of returning it to the kernel after every operation.

    glibc maps large blocks anew each time, and the page faults cost a third of a training step on a CPU
    (measured: 100 against 139 images/s).  Returns whether the setting was applied; other C libraries are
    left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))


def pick_device(name: str) -> torch.device:
    """The device called `name`; "auto": a GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def autocast(precision: str, device: torch.device | str = "cpu") -> Callable[[], object]:
    """A factory of contexts: "bf16", "fp32", "tf32" (as fp32; see training.graphs.cuda_flags), or "auto":
    bf16 where the hardware computes in it."""
    if precision not in ("auto", "bf16", "tf32", "fp32"):
        raise ValueError(f"precision must be auto, bf16, tf32 or fp32, not {precision!r}")
    kind = torch.device(device).type
    if precision in ("fp32", "tf32") or (precision == "auto" and not _computes_bf16(kind)):
        return nullcontext
    return lambda: torch.autocast(kind, dtype=torch.bfloat16)


def _computes_bf16(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # no public name for it yet
    return kind == "cpu" and supported()
