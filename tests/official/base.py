"""Sizes, and the arithmetic that all StyleGAN2s share, written out slowly in float64."""

import math
import sys
import types
from contextlib import contextmanager

import torch

SIZE = 64
WIDTHS = {4: 7, 8: 6, 16: 5, 32: 3, 64: 2}  # another width at each level, so that none can be confused
Z, W, LAYERS = 9, 8, 3
GAIN = math.sqrt(2)
TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=torch.float64) / 8
SIDES = list(WIDTHS)
NOISES = [4] + [side for side in SIDES[1:] for _ in range(2)]


def numbers(*shape: int, rng: torch.Generator, std: float = 1.0) -> torch.Tensor:
    return std * torch.randn(shape, generator=rng)


def fir(x, *, up=1, down=1, pad=(0, 0), gain=1.0):
    """Zeros inserted and padded, correlated with TAPS along both axes, every down-th kept: shifted sums."""
    n, c, h, w = x.shape
    y = x.new_zeros(n, c, h * up + sum(pad), w * up + sum(pad))
    y[:, :, pad[0] : pad[0] + h * up : up, pad[0] : pad[0] + w * up : up] = x
    height, width = y.shape[2] - 3, y.shape[3] - 3
    out = sum(TAPS[i] * TAPS[j] * y[:, :, i : i + height, j : j + width] for i in range(4) for j in range(4))
    return gain * out[:, :, ::down, ::down]


def lrelu(x, *, gain=GAIN, clamp=None):
    x = torch.where(x >= 0, x, 0.2 * x) * gain
    return x if clamp is None else x.clamp(-clamp, clamp)


def stddev_channel(x, group=4):
    """Appended by hand: the mean over channels and pixels of the deviation over samples i, i + M, ..."""
    group = min(group, len(x))
    step = len(x) // group
    level = [torch.sqrt(x[i % step :: step].var(dim=0, correction=0) + 1e-8).mean() for i in range(len(x))]
    return torch.cat((x, torch.stack(level)[:, None, None, None].expand(-1, 1, *x.shape[2:])), dim=1)


def double(tensors):
    return {key: value.double() for key, value in tensors.items()}


@contextmanager
def stub_modules(**members):
    """Importable modules for as long as a pickle names their members: pickle looks each name up."""
    modules = {name.replace("__", "."): values for name, values in members.items()}
    parents = {name.rsplit(".", i)[0] for name in modules for i in range(1, name.count(".") + 1)}
    for name in {*modules, *parents}:
        module = types.ModuleType(name)
        for key, value in modules.get(name, {}).items():
            value.__module__, value.__qualname__, value.__name__ = name, key, key
            setattr(module, key, value)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in {*modules, *parents}:
            del sys.modules[name]
