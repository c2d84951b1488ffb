"""MobileStyleGAN (Belousov, arXiv:2104.04767): StyleGAN2's generator, distilled into separable convolutions
and wavelets, without demodulation.

W+ has 23 rows at 1024 px, one for each layer that is modulated: the convolution at 4 px, then *up, conv1,
conv2* of each block, then the picture. Codes of StyleGAN2 (18 rows) fit block by block, exactly only where
all rows are alike.
"""

import itertools
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hfld.networks.ops import PIECE, SLOPE, compute_dtype, lrelu
from hfld.networks.stylegan2 import resolutions

Noise = Literal["fixed", "random", "none"]
CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64}
"""Feature maps per resolution of the generator for 1024 px."""


class MobileStyleGAN(nn.Module):
    """z -> w -> ws -> image in about [-1, 1]."""

    def __init__(
        self,
        *,
        size: int = 1024,  # pixels a side, 16 to 1024
        z_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        channels: dict[int, int] | None = None,  # feature maps per resolution up to size / 2; None: CHANNELS
    ) -> None:
        super().__init__()
        sides = resolutions(size)[:-1]
        table = CHANNELS if channels is None else channels
        if missing := [side for side in sides if side not in table]:
            raise ValueError(
                f"channels: no entry for resolution {missing[0]}, expected one for each of {sides}"
            )
        self.size, self.z_dim, self.w_dim = size, z_dim, w_dim
        self.mapping = Mapping(z_dim=z_dim, w_dim=w_dim, layers=mapping_layers)
        self.synthesis = Synthesis(w_dim=w_dim, channels={side: table[side] for side in sides})
        self.register_buffer("w_avg", torch.zeros(w_dim))

    @property
    def num_ws(self) -> int:
        """L = 3 log2(size) - 7 rows of W+."""
        return self.synthesis.num_ws

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """w, or ws, moved towards the mean: the whole way at psi 0, not at all at psi 1."""
        return torch.lerp(self.w_avg, w, psi)

    def repeat(self, w: Tensor) -> Tensor:
        """One w for every row.  [N, w_dim] -> [N, L, w_dim]"""
        return w[:, None].expand(-1, self.num_ws, -1)

    def forward(self, z: Tensor, noise: Noise = "fixed", size: int | None = None) -> Tensor:
        """[N, z_dim] -> [N, 3, S, S]"""
        return self.synthesis(self.repeat(self.mapping(z)), noise=noise, size=size)


class Mapping(nn.Module):
    """z -> w: normalisation, then fully connected layers with leaky ReLU times sqrt(2)."""

    def __init__(self, *, z_dim: int, w_dim: int, layers: int) -> None:
        super().__init__()
        widths = [z_dim, *[w_dim] * layers]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, z: Tensor) -> Tensor:  # [N, z_dim] -> [N, w_dim]
        with torch.autocast(z.device.type, enabled=False):
            x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1.0e-8)
            for layer in self.layers:
                x = lrelu(layer(x))
            return x


class Synthesis(nn.Module):
    """ws -> image."""

    def __init__(self, *, w_dim: int, channels: dict[int, int]) -> None:
        super().__init__()
        sides = list(channels)
        self.size = 2 * sides[-1]
        self.constant = nn.Parameter(torch.randn(1, channels[4], 4, 4))
        self.convs = nn.ModuleList([Conv(channels[4], channels[4], side=4, w_dim=w_dim)])
        for before, side in itertools.pairwise(sides):
            self.convs.append(
                SeparableConv(channels[before], channels[side], side=side, w_dim=w_dim, up=True)
            )
            self.convs.append(SeparableConv(channels[side], channels[side], side=side, w_dim=w_dim))
        self.to_image = ToImage(channels[sides[-1]], w_dim=w_dim)

    @property
    def styles(self) -> list[nn.Linear]:
        """What each row of W+ meets first, in order."""
        layers = [*self.convs, self.to_image]
        return [style for layer in layers for style in (getattr(layer, "up", None), layer.style) if style]

    @property
    def num_ws(self) -> int:
        return len(self.styles)

    def forward(self, ws: Tensor, noise: Noise = "fixed", size: int | None = None) -> Tensor:
        """[N, L, w_dim] -> [N, 3, S, S]

        `size`: half or a quarter of the generator's, the mean over 2 x 2 or 4 x 4 pixels of its picture; half
        is had without the last wavelet.
        """
        if ws.ndim != 3 or ws.shape[1] != self.num_ws:
            raise ValueError(f"ws: got {list(ws.shape)}, expected [N, {self.num_ws}, w_dim]")
        if size not in (None, self.size, self.size // 2, self.size // 4):
            raise ValueError(f"size: got {size}, expected {self.size}, {self.size // 2} or {self.size // 4}")
        assert noise in ("fixed", "random", "none"), noise
        with torch.autocast(ws.device.type, enabled=False):
            styles = [layer(w) for layer, w in zip(self.styles, ws.unbind(dim=1), strict=True)]
        rows = iter(styles)  # of [N, C]
        x = self.constant.to(compute_dtype(self.constant)).expand(ws.shape[0], -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        for layer in self.convs:
            x = layer(x, *(next(rows) for _ in range(layer.rows)), noise=noise)
        if size in (None, self.size):
            return idwt(self.to_image(x, next(rows)))
        x = self.to_image(x, next(rows), low_band=True) / 2
        return x if size == self.size // 2 else F.avg_pool2d(x, 2)


class _Layer(nn.Module):
    """A modulated convolution, noise, bias, leaky ReLU."""

    rows = 1  # of W+

    def __init__(self, inputs: int, outputs: int, *, side: int, w_dim: int) -> None:
        super().__init__()
        self.style = nn.Linear(w_dim, inputs)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise", torch.zeros(1, 1, side, side))  # times its strength

    def field(self, x: Tensor, noise: Noise) -> Tensor:
        """What is added at each place, [1 or N, 1, H, W]."""
        if noise == "fixed":
            return self.noise
        if noise == "none":
            return torch.zeros_like(self.noise)
        count, side = x.shape[0], self.noise.shape[-1]
        return self.noise.std() * torch.randn(count, 1, side, side, device=x.device)


class Conv(_Layer):
    """3 x 3, at the smallest side."""

    def __init__(self, inputs: int, outputs: int, **options: Any) -> None:
        super().__init__(inputs, outputs, **options)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3) / (3 * inputs**0.5))

    def forward(self, x: Tensor, style: Tensor, *, noise: Noise) -> Tensor:  # [N, C, H, W], [N, C]
        x = F.conv2d(x * style[:, :, None, None].to(x.dtype), self.weight.to(x.dtype), padding=1)
        return F.leaky_relu(x + (self.field(x, noise) + self.bias[:, None, None]).to(x.dtype), SLOPE)


class SeparableConv(_Layer):
    """3 x 3 for each channel, then 1 x 1; `up` doubles the size first, by an inverse wavelet transform."""

    def __init__(self, inputs: int, outputs: int, *, up: bool = False, w_dim: int, side: int) -> None:
        if up and inputs % 4:
            raise ValueError(f"channels: got {inputs}, expected a multiple of 4, for four bands")
        width = inputs // 4 if up else inputs
        super().__init__(width, outputs, side=side, w_dim=w_dim)
        self.up = nn.Linear(w_dim, inputs) if up else None
        self.rows = 2 if up else 1
        self.depthwise = nn.Parameter(torch.randn(width, 1, 3, 3) / 3)
        self.weight = nn.Parameter(torch.randn(outputs, width) / width**0.5)

    def forward(self, x: Tensor, *styles: Tensor, noise: Noise) -> Tensor:
        """[N, C, H, W], [N, C] before the wavelet if there is one, [N, C'] -> [N, outputs, H or 2H, ...]"""
        up, style = styles if self.up is not None else (None, *styles)
        weights = self.depthwise, self.weight, self.bias, self.field(x, noise)
        if x.is_cuda or torch.compiler.is_compiling() or any(weight.requires_grad for weight in weights):
            return separable_conv(x, up, style, *weights)
        return _SeparableConv.apply(x, up, style, *weights)


class ToImage(nn.Module):
    """1 x 1 to the four bands of the picture."""

    def __init__(self, inputs: int, *, w_dim: int) -> None:
        super().__init__()
        self.style = nn.Linear(w_dim, inputs)
        self.weight = nn.Parameter(torch.randn(12, inputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(12))

    def forward(self, x: Tensor, style: Tensor, *, low_band: bool = False) -> Tensor:
        """[N, C, H, W], [N, C] -> [N, 12 or 3, H, W], float32"""
        bands = 3 if low_band else 12
        weight = style[:, None] * self.weight[:bands]  # [N, bands, C]: cheaper than to scale all of x
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2) @ weight.mT.to(x.dtype)
        y = pixels.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return y.float() + self.bias[:bands, None, None]


def idwt(x: Tensor) -> Tensor:
    """Inverse Haar transform. The bands, low and three high ones, stand one after the other.
    [N, 4C, H, W] -> [N, C, 2H, 2W]
    """
    low, a, b, d = (x / 2).chunk(4, dim=1)
    s, t, u, v = low + a, low - a, b + d, b - d
    top, bottom = torch.stack((s + u, s - u), dim=-1), torch.stack((t + v, t - v), dim=-1)
    return torch.stack((top, bottom), dim=3).flatten(4, 5).flatten(2, 3)


def separable_conv(
    x: Tensor,  # [N, C, H, W]
    up: Tensor | None,  # [N, C], scales x before the wavelet; None: no wavelet
    style: Tensor,  # [N, C'], C' = C / 4 behind a wavelet
    depthwise: Tensor,  # [C', 1, 3, 3]
    weight: Tensor,  # [O, C']
    bias: Tensor,  # [O]
    noise: Tensor,  # [1 or N, 1, H', W']
) -> Tensor:  # [N, O, H', W']
    """As it is written in the paper; a compiler fuses it."""
    if up is not None:
        x = idwt(x * up[:, :, None, None].to(x.dtype))
    x = x * style[:, :, None, None].to(x.dtype)
    x = F.conv2d(x, depthwise.to(x.dtype), padding=1, groups=x.shape[1])
    x = F.conv2d(x, weight[:, :, None, None].to(x.dtype))
    return F.leaky_relu(x + noise.to(x.dtype) + bias[:, None, None].to(x.dtype), SLOPE)


class _SeparableConv(torch.autograd.Function):
    """`separable_conv` for a CPU without a compiler: some rows at a time, from the wavelet to the leaky ReLU,
    while they lie in the cache.

    A sample's style is part of its 1 x 1 weights: scaling commutes with the depthwise convolution. The
    backward pass makes again what it needs beside input and output; the weights get no gradient.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, up: Tensor | None, style: Tensor, *weights: Tensor) -> Tensor:
        depthwise, weight, bias, noise = (value.to(x.dtype) for value in weights)
        height, width = noise.shape[2:]
        out = x.new_empty(x.shape[0], height, width, weight.shape[0])
        for n, start, stop in _strips(out):
            y = _filtered(_window(x, up, n, start, stop), depthwise)
            w = (weight * style[n].to(x.dtype)).T
            z = torch.mm(y.flatten(0, 1), w, out=out[n, start:stop].flatten(0, 1))
            z.add_(bias).add_(noise[n % len(noise), 0, start:stop].reshape(-1, 1))
            F.leaky_relu_(z, SLOPE)
        ctx.save_for_backward(x, up, style, depthwise, weight, out)
        return out.permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, up, style, depthwise, weight, out = ctx.saved_tensors
        gradient = gradient.permute(0, 2, 3, 1).contiguous()
        back = depthwise.flip(2, 3)
        to_x = torch.empty_like(x, memory_format=torch.channels_last)
        to_up = None if up is None else torch.zeros_like(up)
        to_style = torch.zeros_like(style)
        for n, start, stop in _strips(out):
            rows = slice(max(start - 1, 0), stop + 1)  # the neighbours belong to the filter's window
            z = torch.ops.aten.leaky_relu_backward(gradient[n, rows], out[n, rows], SLOPE, True)
            y = z @ weight  # [rows, W, C']
            seen = _window(x, up, n, start, stop)
            own = y[start - rows.start :][: stop - start]
            to_style[n] += (own * _filtered(seen, depthwise)).sum(dim=(0, 1), dtype=style.dtype)
            y = (y * style[n].to(y.dtype)).permute(2, 0, 1)[None]
            y = _filtered(_bordered(y, start, stop, out.shape[1]), back)
            if up is None:
                to_x[n, :, start:stop] = y.permute(2, 0, 1)
            else:
                y = _dwt(y)
                place = slice(start // 2, stop // 2)
                to_up[n] += (y * x[n, :, place].permute(1, 2, 0)).sum(dim=(0, 1), dtype=up.dtype)
                to_x[n, :, place] = y.mul_(up[n].to(y.dtype)).permute(2, 0, 1)
        return to_x, to_up, to_style, None, None, None, None


def _strips(out: Tensor) -> Iterator[tuple[int, int, int]]:
    """Sample, first row and the row behind the last, of pieces of about PIECE numbers.  out [N, H, W, C]"""
    count, height = out.shape[:2]
    step = max(2, PIECE // (out.shape[2] * out.shape[3]) // 2 * 2)
    for n, start in itertools.product(range(count), range(0, height, step)):
        yield n, start, min(start + step, height)


def _window(x: Tensor, up: Tensor | None, n: int, start: int, stop: int) -> Tensor:
    """Rows start - 1 to stop of what the depthwise convolution sees of sample n, zeros beyond its borders.
    [1, C', rows, W]
    """
    height = x.shape[2] if up is None else 2 * x.shape[2]
    low, high = max(start - 1, 0), min(stop + 1, height)
    if up is None:
        return _bordered(x[n : n + 1, :, low:high], start, stop, height)
    first = low // 2
    bands = x[n, :, first : (high + 1) // 2].permute(1, 2, 0) * (up[n] / 2).to(x.dtype)  # [rows, W, C]
    low_band, a, b, d = bands.chunk(4, dim=-1)
    made = bands.new_empty(bands.shape[0], 2, bands.shape[1], 2, low_band.shape[-1])
    s, t, u, v = low_band + a, low_band - a, b + d, b - d
    torch.add(s, u, out=made[:, 0, :, 0])
    torch.sub(s, u, out=made[:, 0, :, 1])
    torch.add(t, v, out=made[:, 1, :, 0])
    torch.sub(t, v, out=made[:, 1, :, 1])
    rows = made.flatten(2, 3).flatten(0, 1)[low - 2 * first : high - 2 * first]
    return _bordered(rows.permute(2, 0, 1)[None], start, stop, height)


def _bordered(rows: Tensor, start: int, stop: int, height: int) -> Tensor:
    """Rows start - 1 to stop, a row of zeros where the picture ends.  [1, C, rows, W]"""
    above, below = int(start == 0), int(stop == height)
    return F.pad(rows, (0, 0, above, below)) if above or below else rows


def _filtered(rows: Tensor, depthwise: Tensor) -> Tensor:
    """[1, C, rows + 2, W] -> [rows, W, C]"""
    y = F.conv2d(rows, depthwise, padding=(0, 1), groups=rows.shape[1])
    return y[0].permute(1, 2, 0).contiguous()


def _dwt(x: Tensor) -> Tensor:
    """The transpose of `idwt`, which is its inverse.  [2H, 2W, C] -> [H, W, 4C]"""
    p, q = x[::2, ::2], x[::2, 1::2]
    r, s = x[1::2, ::2], x[1::2, 1::2]
    top, bottom, left, right = p + q, r + s, p - q, r - s
    return torch.cat((top + bottom, top - bottom, left + right, left - right), dim=-1) / 2
