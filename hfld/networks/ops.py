"""The arithmetic StyleGAN2 shares: resampling filters, equalized layers, modulated convolution.

Sources: Karras et al., StyleGAN2 (arXiv:1912.04958), appendix B; Progressive GAN (arXiv:1710.10196), section
4.1, for the equalized learning rate.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of the leaky ReLU
GAIN = math.sqrt(2.0)  # keeps the variance behind the leaky ReLU
PIECE = 1 << 18  # numbers of a map that a CPU's cache holds several times
FILTER = (1.0, 3.0, 3.0, 1.0)  # the binomial low-pass of every up- and downsampling


def compute_dtype(x: Tensor) -> torch.dtype:
    """The type in which convolutions run: autocast's where it is on, else that of `x`."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def setup_filter(taps: tuple[float, ...] = FILTER, gain: float = 1.0) -> Tensor:
    """Outer product of the 1-D taps, summing to `gain`.  -> [K, K]"""
    line = torch.tensor(taps)
    kernel = line[:, None] * line[None, :]
    return kernel * (gain / kernel.sum())


def upfirdn2d(
    x: Tensor,  # [N, C, H, W]
    kernel: Tensor,  # [K, K]; symmetric filters only, so correlation equals convolution
    *,
    up: int = 1,  # zeros inserted: each pixel is followed by up - 1 of them
    down: int = 1,  # keep every down-th output
    pad: tuple[int, int] = (0, 0),  # zeros before and behind, in both directions, after upsampling
) -> Tensor:
    """Upsample with zeros, pad, filter, downsample.  -> [N, C, (H up + pad - K) // down + 1, ...]"""
    channels, taps = x.shape[1], kernel.shape[0]
    kernel = kernel.to(x.dtype).expand(channels, 1, taps, taps)
    if up == 1:
        if pad[0] != pad[1]:
            x, pad = F.pad(x, (pad[0], pad[1], pad[0], pad[1])), (0, 0)
        return F.conv2d(x, kernel, stride=down, padding=pad[0], groups=channels)
    # A transposed convolution is zero insertion with a full filter; cut or pad it to the window asked for.
    y = F.conv_transpose2d(x, kernel, stride=up, groups=channels)
    before, behind = pad[0] - (taps - 1), pad[1] - (taps - 1) + (up - 1)
    return F.pad(y, (before, behind, before, behind))[..., ::down, ::down]


def blur(x: Tensor, *, pad: int, down: int = 1) -> Tensor:
    """upfirdn2d(x, setup_filter(), down=down, pad=(pad, pad)), for `pad` from 0 to 3.

    On a GPU, where depthwise convolutions took half of a training step, as sums of shifted pictures. On a CPU
    in bfloat16 an unstrided one, of which every second value is thrown away, is seven times faster.
    [N, C, H, W] -> [N, C, (H + 2 pad - 4) // down + 1, ...]
    """
    if not x.is_cuda:
        kernel, step = setup_filter().to(x), 1 if x.dtype == torch.bfloat16 else down
        return upfirdn2d(x, kernel, down=step, pad=(pad, pad))[..., :: down // step, :: down // step]
    # a compiler fuses the sums and their gradient; without one the gradient is cheaper as another blur
    x = _binomial(x, pad) if torch.compiler.is_compiling() else _Binomial.apply(x, pad)
    return x if down == 1 else x[..., ::down, ::down]


def _binomial(x: Tensor, pad: int) -> Tensor:
    """(1, 3, 3, 1) / 8 along both axes, as what it is: (1, 1) / 2 three times."""
    x = F.pad(x, (pad, pad, pad, pad))
    for dim in (2, 3):
        for _ in range(3):
            size = x.shape[dim] - 1
            x = torch.lerp(x.narrow(dim, 0, size), x.narrow(dim, 1, size), 0.5)
    return x


class _Binomial(torch.autograd.Function):
    """The filter is symmetric: the gradient of a blur is a blur, with the padding that restores the size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, pad: int) -> Tensor:
        ctx.pad = pad
        return _binomial(x, pad)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Binomial.apply(gradient, 3 - ctx.pad), None


def upsample_rgb(x: Tensor) -> Tensor:
    """Twice the size with FILTER, gain 4: upfirdn2d(x, setup_filter(gain=4), up=2, pad=(2, 1)).

    Written as its two phases (.25, .75) and (.75, .25) along each axis: three-channel depthwise convolutions
    are slow.
    [N, 3, H, W] -> [N, 3, 2H, 2W]
    """
    for dim in (2, 3):
        size = x.shape[dim]
        border = torch.zeros_like(x.narrow(dim, 0, 1))
        before = torch.cat((border, x.narrow(dim, 0, size - 1)), dim=dim)
        behind = torch.cat((x.narrow(dim, 1, size - 1), border), dim=dim)
        phases = torch.stack((torch.lerp(x, before, 0.25), torch.lerp(x, behind, 0.25)), dim=dim + 1)
        x = phases.flatten(dim, dim + 1)
    return x


def lrelu(x: Tensor) -> Tensor:
    """Leaky ReLU, times sqrt(2)."""
    return F.leaky_relu(x, SLOPE) * GAIN


def activated(x: Tensor, bias: Tensor) -> Tensor:
    """lrelu(x + bias) of maps [N, C, H, W] that nothing else needs: on a CPU x is overwritten.  bias: [C]"""
    bias = bias.to(x.dtype)[:, None, None]
    if x.is_cuda or torch.compiler.is_compiling():  # a compiler fuses it
        return lrelu(x + bias)
    return _Activated.apply(x, bias)


class _Activated(torch.autograd.Function):
    """The same operations in the same order, piece by piece while it lies in the cache."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        for part in row_pieces(x):
            F.leaky_relu_(part.add_(bias), SLOPE).mul_(GAIN)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        (out,) = ctx.saved_tensors  # has the sign of what went in
        if torch.is_grad_enabled():  # a gradient of the gradient is wanted
            found = _lrelu_gradient(gradient, out)
        else:
            found = torch.empty_like(out)
            for place, *parts in zip(*map(row_pieces, (found, gradient, out)), strict=True):
                place.copy_(_lrelu_gradient(*parts))
        return found, found.sum(dim=(0, 2, 3))[:, None, None] if ctx.needs_input_grad[1] else None


def _lrelu_gradient(gradient: Tensor, out: Tensor) -> Tensor:
    return torch.ops.aten.leaky_relu_backward(gradient * GAIN, out, SLOPE, True)


def row_pieces(x: Tensor) -> tuple[Tensor, ...]:
    """x [N, C, H, W] in pieces of some rows each, of about PIECE numbers; on a GPU in one piece."""
    rows = x.shape[2] if x.is_cuda else max(1, PIECE * x.shape[2] // max(1, x.numel()))
    return x.split(rows, dim=2)


def mean_square(a: Tensor, b: Tensor) -> Tensor:
    """mean (a - b)^2 of every sample, in float32 at least; the gradient goes to b.  [N, C, H, W] twice -> [N]

    Written out, it would copy the largest maps five times in float32; here, on a CPU, a piece is done with
    while it lies in the cache.
    """
    return _MeanSquare.apply(a, b)


class _MeanSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        pieces = zip(row_pieces(a), row_pieces(b), strict=True)
        sums = [(_wide(x) - _wide(y)).square().sum(dim=(1, 2, 3)) for x, y in pieces]
        return torch.stack(sums).sum(dim=0) / a[0].numel()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        a, b = ctx.saved_tensors
        out = torch.empty_like(b)
        each = (gradient / a[0].numel())[:, None, None, None]
        for x, y, place in zip(*map(row_pieces, (a, b, out)), strict=True):
            place.copy_((_wide(x) - _wide(y)).mul_(2).mul_(each).neg_())
        return None, out


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def clamped(x: Tensor, bound: float | None) -> Tensor:
    """x within [-bound, bound]; x itself where there is no bound."""
    return x if bound is None else x.clamp(-bound, bound)


def modulated_conv2d(
    x: Tensor,  # [N, C, H, W]
    weight: Tensor,  # [O, C, K, K], already scaled
    style: Tensor,  # [N, C], float32
    *,
    demodulate: bool = True,
    up: bool = False,  # transposed convolution to twice the size, then a blur
    eps: float = 1.0e-8,
) -> tuple[Tensor, Tensor | None]:
    """Convolution whose weight is scaled by each sample's style along its input channels.

    Scaling inputs and outputs instead of weights (StyleGAN2, section 2.2) keeps one shared, dense convolution
    for the batch.  Returns the convolved activations [N, O, H', W'] and the factor [N, O, 1, 1] (float32)
    that still has to be multiplied on, so that the caller can fuse it with its bias; None where none is.
    """
    assert (*style.shape, style.shape[1]) == (*x.shape[:2], weight.shape[1]), (
        x.shape,
        weight.shape,
        style.shape,
    )
    x = x * style[:, :, None, None].to(x.dtype)
    kernel = weight.to(x.dtype)
    if up:
        x = F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2)  # [N, O, 2H + 1, 2W + 1]
        x = blur(x, pad=1)
    else:
        x = F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)
    gain = 4.0 if up else 1.0  # of zeros among the pixels
    if not demodulate:
        return (x * gain if up else x), None
    with torch.autocast(x.device.type, enabled=False):
        energy = weight.to(style.dtype).square().sum(dim=(2, 3))  # [O, C]
        factor = torch.rsqrt(style.square() @ energy.T + eps) * gain
    return x, factor[:, :, None, None]


class EqualizedLinear(nn.Module):
    """y = act(x W' + b') with W' = W lr_multiplier / sqrt(in): unit-variance parameters, scaled when used.

    Always in float32.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: float = 0.0,  # its initial value
        lr_multiplier: float = 1.0,
        activate: bool = False,  # leaky ReLU times sqrt(2)
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), bias / lr_multiplier))
        self.scale = lr_multiplier / math.sqrt(inputs)
        self.lr_multiplier = lr_multiplier
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:  # [N, inputs] -> [N, outputs]
        with torch.autocast(x.device.type, enabled=False):
            y = F.linear(x.to(self.weight.dtype), self.weight * self.scale, self.bias * self.lr_multiplier)
            return lrelu(y) if self.activate else y


class EqualizedConv(nn.Module):
    """Convolution with equalized learning rate; `down` blurs with FILTER first and then strides by two."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        down: bool = False,
        bias: bool = True,
        activate: bool = True,
        clamp: float | None = None,  # bound of the output
    ) -> None:
        super().__init__()
        self.clamp = clamp
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = 1 / math.sqrt(inputs * kernel**2)
        self.activate = activate
        self.down = down

    def forward(self, x: Tensor) -> Tensor:  # [N, inputs, H, W] -> [N, outputs, H or H/2, ...]
        kernel = (self.weight * self.scale).to(x.dtype)
        size = kernel.shape[-1]
        if not self.down:
            x = F.conv2d(x, kernel, padding=size // 2)
        elif size == 1:  # striding commutes with a 1x1 convolution
            x = F.conv2d(blur(x, pad=1, down=2), kernel)
        else:
            x = F.conv2d(blur(x, pad=2), kernel, stride=2)
        if self.bias is not None and self.activate:
            x = activated(x, self.bias)
        elif self.bias is not None:
            x = x + self.bias.to(x.dtype)[:, None, None]
        elif self.activate:
            x = lrelu(x)
        return clamped(x, self.clamp)


def minibatch_stddev(x: Tensor, group: int = 4, eps: float = 1.0e-8) -> Tensor:
    """Append one channel: the standard deviation over groups of samples, averaged over channels and pixels.

    Sample i belongs to group i mod (N / group).  A batch that `group` does not divide uses the
    largest divisor below it.
    [N, C, H, W] -> [N, C + 1, H, W]
    """
    count, _, height, width = x.shape
    group = next(size for size in range(min(group, count), 0, -1) if count % size == 0)
    deviation = (
        x.float().reshape(group, count // group, *x.shape[1:]).var(dim=0, correction=0).add(eps).sqrt()
    )
    level = deviation.mean(dim=(1, 2, 3)).repeat(group)  # [N]
    return torch.cat((x, level.to(x.dtype)[:, None, None, None].expand(-1, 1, height, width)), dim=1)
