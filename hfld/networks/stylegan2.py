"""StyleGAN2 (Karras et al., arXiv:1912.04958): skip generator, residual discriminator, 64 to 1024 px.

Row use of W+ as in the common PyTorch port: convolution i takes row i and the RGB output at level j takes row
2 j + 1, so that a row is shared by the RGB output of one level and the upsampling convolution of the next.
"""

import itertools
import math
from typing import Literal

import torch
from torch import Tensor, nn

from hfld.networks.ops import (
    GAIN,
    EqualizedConv,
    EqualizedLinear,
    clamped,
    compute_dtype,
    minibatch_stddev,
    modulated_conv2d,
    upsample_rgb,
)

Noise = Literal["fixed", "none"]
# StyleGAN2's config-f (channel multiplier 2)
CONFIG_F = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}


def resolutions(size: int) -> list[int]:
    """[4, 8, ..., size]; ValueError unless `size` is a power of two from 8 to 1024."""
    if size not in CONFIG_F or size < 8:
        raise ValueError(f"size: got {size}, expected a power of two from 8 to 1024")
    return [2**level for level in range(2, int(math.log2(size)) + 1)]


def channel_table(size: int, channels: dict[int, int] | None = None) -> dict[int, int]:
    """Feature maps per resolution, checked to be complete; config-f where `channels` is None."""
    table = {int(side): int(count) for side, count in (channels or CONFIG_F).items()}
    missing = [side for side in resolutions(size) if side not in table]
    if missing:
        raise ValueError(
            f"channels: no entry for resolution {missing[0]}, expected one for each of {resolutions(size)}"
        )
    return {side: table[side] for side in resolutions(size)}


class MappingNetwork(nn.Module):
    """z -> w: fully connected layers with leaky ReLU, learning rate lowered by `lr_multiplier`."""

    def __init__(
        self,
        *,
        z_dim: int,
        w_dim: int,
        layers: int,
        normalize: bool,
        lr_multiplier: float,
        features: int | None = None,  # width of the inner layers; None: w_dim
    ) -> None:
        super().__init__()
        self.normalize = normalize
        widths = [z_dim, *[features or w_dim] * (layers - 1), w_dim]
        self.layers = nn.ModuleList(
            EqualizedLinear(inputs, outputs, lr_multiplier=lr_multiplier, activate=True)
            for inputs, outputs in itertools.pairwise(widths)
        )

    def forward(self, z: Tensor) -> Tensor:  # [N, z_dim] -> [N, w_dim]
        if self.normalize:
            z = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1.0e-8)
        for layer in self.layers:
            z = layer(z)
        return z


class StyledConv(nn.Module):
    """3x3 modulated convolution, noise, bias, activation; `up` doubles the size."""

    def __init__(
        self, inputs: int, outputs: int, *, w_dim: int, size: int, up: bool, clamp: float | None = None
    ) -> None:
        super().__init__()
        self.clamp = clamp
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.style = EqualizedLinear(w_dim, inputs, bias=1.0)
        self.scale = 1 / math.sqrt(inputs * 9)
        self.register_buffer("noise", torch.randn(1, 1, size, size))
        self.up = up

    def forward(
        self, x: Tensor, w: Tensor, noise: Noise
    ) -> Tensor:  # [N, inputs, H, W] -> [N, outputs, H or 2H, ...]
        x, factor = modulated_conv2d(x, self.weight * self.scale, self.style(w), up=self.up)
        # sqrt(2) lrelu(x) = lrelu(sqrt(2) x): the gain rides on the factor and the bias
        bias = (self.bias * GAIN)[:, None, None]
        if noise != "none":
            bias = bias + self.noise * (self.noise_strength * GAIN)
            # laid out as x is: a sum in another layout is slow, and so is every convolution behind it
            bias = bias.contiguous(memory_format=torch.channels_last)
        x = (x * (factor * GAIN).to(x.dtype)).add_(bias.to(x.dtype))
        return clamped(nn.functional.leaky_relu(x, 0.2, inplace=True), self.clamp)


class ToRGB(nn.Module):
    """1x1 modulated convolution to three channels, without demodulation."""

    def __init__(self, inputs: int, *, w_dim: int, clamp: float | None = None) -> None:
        super().__init__()
        self.clamp = clamp
        self.weight = nn.Parameter(torch.randn(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.style = EqualizedLinear(w_dim, inputs, bias=1.0)
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:  # [N, inputs, H, W] -> [N, 3, H, W]
        rgb = self._by_convolution(x, w) if x.is_cuda else self._by_product(x, w)
        rgb = rgb.float() if x.dtype in (torch.bfloat16, torch.float16) else rgb
        return clamped(rgb + self.bias[:, None, None], self.clamp)

    def _by_convolution(self, x: Tensor, w: Tensor) -> Tensor:
        return modulated_conv2d(x, self.weight * self.scale, self.style(w), demodulate=False)[0]

    def _by_product(self, x: Tensor, w: Tensor) -> Tensor:
        """With each sample's own weight: for three outputs cheaper on a CPU than scaling all of x."""
        weight = self.weight[:, :, 0, 0].T * self.scale  # [inputs, 3]
        weight = self.style(w)[:, :, None] * weight[None]  # [N, inputs, 3]
        pixels = x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1]) @ weight.to(x.dtype)
        return pixels.transpose(1, 2).reshape(x.shape[0], 3, *x.shape[2:])


class SynthesisNetwork(nn.Module):
    """ws -> image, the sum of the RGB outputs of all levels, each upsampled to the next."""

    def __init__(
        self, *, size: int, w_dim: int, channels: dict[int, int], clamp: float | None = None
    ) -> None:
        super().__init__()
        shared = {"w_dim": w_dim, "clamp": clamp}
        sides = list(channels)
        self.num_ws = 2 * len(sides)
        self.constant = nn.Parameter(torch.randn(1, channels[4], 4, 4))
        self.convs = nn.ModuleList([StyledConv(channels[4], channels[4], size=4, up=False, **shared)])
        self.to_rgbs = nn.ModuleList(ToRGB(channels[side], **shared) for side in sides)
        for side in sides[1:]:
            width = channels[side]
            self.convs.append(StyledConv(channels[side // 2], width, size=side, up=True, **shared))
            self.convs.append(StyledConv(width, width, size=side, up=False, **shared))

    def forward(self, ws: Tensor, noise: Noise = "fixed", size: int | None = None) -> Tensor:
        """[N, L, w_dim] -> [N, 3, S, S]; `size` stops at a lower resolution (progressive training)."""
        if ws.ndim != 3 or ws.shape[1] != self.num_ws:
            raise ValueError(f"ws: got {list(ws.shape)}, expected [N, {self.num_ws}, w_dim]")
        assert noise in ("fixed", "none"), noise
        x = self.constant.to(compute_dtype(self.constant)).expand(ws.shape[0], -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.convs[0](x, ws[:, 0], noise)
        rgb = self.to_rgbs[0](x, ws[:, 1])
        for level in range(1, len(self.to_rgbs)):
            if rgb.shape[-1] == size:
                break
            x = self.convs[2 * level - 1](x, ws[:, 2 * level - 1], noise)
            x = self.convs[2 * level](x, ws[:, 2 * level], noise)
            rgb = upsample_rgb(rgb) + self.to_rgbs[level](x, ws[:, 2 * level + 1])
        assert size is None or rgb.shape[-1] == size, f"size: {size} is not a level of this network"
        return rgb


class Generator(nn.Module):
    """z -> w -> ws -> image in about [-1, 1]."""

    def __init__(
        self,
        *,
        size: int,  # pixels a side, 64 to 1024
        z_dim: int = 512,
        w_dim: int = 512,
        mapping_layers: int = 8,
        mapping_features: int | None = None,  # width of the mapping network's inner layers; None: w_dim
        channels: dict[int, int] | None = None,  # feature maps per resolution; None: config-f
        normalize_z: bool = True,  # False where z's norm carries meaning (portraits)
        mapping_lr: float = 0.01,  # learning rate multiplier of the mapping network
        clamp: float | None = None,  # bound of activations, as StyleGAN2-ADA has it for half precision
    ) -> None:
        super().__init__()
        table = channel_table(size, channels)
        self.size, self.z_dim, self.w_dim = size, z_dim, w_dim
        self.mapping = MappingNetwork(
            z_dim=z_dim,
            w_dim=w_dim,
            features=mapping_features,
            layers=mapping_layers,
            normalize=normalize_z,
            lr_multiplier=mapping_lr,
        )
        self.synthesis = SynthesisNetwork(size=size, w_dim=w_dim, channels=table, clamp=clamp)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    @property
    def num_ws(self) -> int:
        """L = 2 log2(size) - 2 rows of W+."""
        return self.synthesis.num_ws

    def repeat(self, w: Tensor) -> Tensor:
        """One w for every row.  [N, w_dim] -> [N, L, w_dim]"""
        return w[:, None].expand(-1, self.num_ws, -1)

    def forward(self, z: Tensor, noise: Noise = "fixed", size: int | None = None) -> Tensor:
        """[N, z_dim] -> [N, 3, S, S]"""
        return self.synthesis(self.repeat(self.mapping(z)), noise=noise, size=size)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, the second downsampling, beside a downsampled 1x1; sum over sqrt(2)."""

    def __init__(self, inputs: int, outputs: int, *, clamp: float | None = None) -> None:
        super().__init__()
        self.conv1 = EqualizedConv(inputs, inputs, 3, clamp=clamp)
        self.conv2 = EqualizedConv(inputs, outputs, 3, down=True, clamp=clamp)
        self.skip = EqualizedConv(inputs, outputs, 1, down=True, bias=False, activate=False)

    def forward(self, x: Tensor) -> Tensor:  # [N, inputs, H, W] -> [N, outputs, H/2, W/2]
        return (self.conv2(self.conv1(x)) + self.skip(x)) * (1 / GAIN)


class Discriminator(nn.Module):
    """Image in [-1, 1] -> realness logit."""

    def __init__(
        self,
        *,
        size: int,  # pixels a side
        channels: dict[int, int] | None = None,  # feature maps per resolution; None: config-f
        group: int = 4,  # samples per minibatch standard deviation
        clamp: float | None = None,  # bound of activations, as in Generator
    ) -> None:
        super().__init__()
        table = channel_table(size, channels)
        self.size, self.group = size, group
        self.from_rgb = EqualizedConv(3, table[size], 1, clamp=clamp)
        self.blocks = nn.ModuleList(
            ResidualBlock(table[side], table[side // 2], clamp=clamp) for side in reversed(table) if side > 4
        )
        self.conv = EqualizedConv(table[4] + 1, table[4], 3, clamp=clamp)
        self.dense = EqualizedLinear(table[4] * 16, table[4], activate=True)
        self.out = EqualizedLinear(table[4], 1)

    def forward(self, images: Tensor) -> Tensor:  # [N, 3, S, S] -> [N, 1]
        assert images.shape[1:] == (3, self.size, self.size), f"images: got {tuple(images.shape)}"
        x = images.to(compute_dtype(images)).contiguous(memory_format=torch.channels_last)
        x = self.from_rgb(x)
        for block in self.blocks:
            x = block(x)
        x = self.conv(minibatch_stddev(x, self.group))
        return self.out(self.dense(x.flatten(1)))
