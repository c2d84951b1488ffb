"""The layout of github.com/rosinality/stylegan2-pytorch."""

import math
from argparse import Namespace

import torch
import torch.nn.functional as F

from official import base
from official.base import TAPS, double, fir, lrelu, stddev_channel


def generator(seed=0):
    rng = torch.Generator().manual_seed(seed)
    state = {"input.input": base.numbers(1, base.WIDTHS[4], 4, 4, rng=rng)}
    for i in range(base.LAYERS):
        state[f"style.{i + 1}.weight"] = base.numbers(base.W, base.W, rng=rng, std=100)
        state[f"style.{i + 1}.bias"] = base.numbers(base.W, rng=rng, std=20)

    def modulated(name, inputs, outputs, kernel):
        state[f"{name}.weight"] = base.numbers(1, outputs, inputs, kernel, kernel, rng=rng)
        state[f"{name}.modulation.weight"] = base.numbers(inputs, base.W, rng=rng)
        state[f"{name}.modulation.bias"] = 1 + base.numbers(inputs, rng=rng, std=0.3)

    def styled(name, inputs, outputs, up):
        modulated(f"{name}.conv", inputs, outputs, 3)
        if up:
            state[f"{name}.conv.blur.kernel"] = 4 * torch.outer(TAPS, TAPS).float()
        state[f"{name}.noise.weight"] = base.numbers(1, rng=rng, std=0.4)
        state[f"{name}.activate.bias"] = base.numbers(outputs, rng=rng, std=0.3)

    def to_rgb(name, inputs, up):
        modulated(f"{name}.conv", inputs, 3, 1)
        state[f"{name}.bias"] = base.numbers(1, 3, 1, 1, rng=rng, std=0.3)
        if up:
            state[f"{name}.upsample.kernel"] = 4 * torch.outer(TAPS, TAPS).float()

    styled("conv1", base.WIDTHS[4], base.WIDTHS[4], up=False)
    to_rgb("to_rgb1", base.WIDTHS[4], up=False)
    for i, side in enumerate(base.SIDES[1:]):
        styled(f"convs.{2 * i}", base.WIDTHS[side // 2], base.WIDTHS[side], up=True)
        styled(f"convs.{2 * i + 1}", base.WIDTHS[side], base.WIDTHS[side], up=False)
        to_rgb(f"to_rgbs.{i}", base.WIDTHS[side], up=True)
    for i, side in enumerate(base.NOISES):
        state[f"noises.noise_{i}"] = base.numbers(1, 1, side, side, rng=rng)
    return state


def discriminator(seed=0):
    rng, state = torch.Generator().manual_seed(seed), {}

    def conv(name, inputs, outputs, kernel, *, down=False, active=True):
        if down:
            state[f"{name}.0.kernel"] = torch.outer(TAPS, TAPS).float()
        state[f"{name}.{int(down)}.weight"] = base.numbers(outputs, inputs, kernel, kernel, rng=rng)
        if active:
            state[f"{name}.{int(down) + 1}.bias"] = base.numbers(outputs, rng=rng, std=0.3)

    conv("convs.0", 3, base.WIDTHS[base.SIZE], 1)
    for i, side in enumerate(reversed(base.SIDES[1:])):
        inputs, outputs = base.WIDTHS[side], base.WIDTHS[side // 2]
        conv(f"convs.{i + 1}.conv1", inputs, inputs, 3)
        conv(f"convs.{i + 1}.conv2", inputs, outputs, 3, down=True)
        conv(f"convs.{i + 1}.skip", inputs, outputs, 1, down=True, active=False)
    conv("final_conv", base.WIDTHS[4] + 1, base.WIDTHS[4], 3)
    for i, (inputs, outputs) in enumerate(((16 * base.WIDTHS[4], base.WIDTHS[4]), (base.WIDTHS[4], 1))):
        state[f"final_linear.{i}.weight"] = base.numbers(outputs, inputs, rng=rng)
        state[f"final_linear.{i}.bias"] = base.numbers(outputs, rng=rng, std=0.3)
    return state


def mapped(state, z):
    """PixelNorm, then EqualLinear with lr_mul .01 and fused leaky ReLU."""
    s = double(state)
    x = z * torch.rsqrt((z**2).mean(dim=1, keepdim=True) + 1e-8)
    for i in range(1, base.LAYERS + 1):
        weight, bias = s[f"style.{i}.weight"], s[f"style.{i}.bias"]
        x = lrelu(x @ (weight * 0.01 / math.sqrt(weight.shape[1])).T + bias * 0.01)
    return x


def image(state, ws):
    """Scaled weights per sample; upsampling as transposed convolution, then Blur with pad (1, 1)."""
    s = double(state)

    def modulated(name, x, w, *, demodulate=True, up=False):
        weight = s[f"{name}.weight"][0]
        scale = 1 / math.sqrt(weight[0].numel())
        style = w @ s[f"{name}.modulation.weight"].T / math.sqrt(w.shape[1]) + s[f"{name}.modulation.bias"]
        out = []
        for sample, row in zip(x, style, strict=True):
            k = scale * weight * row[None, :, None, None]
            if demodulate:
                k = k * torch.rsqrt((k**2).sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
            if up:
                y = F.conv_transpose2d(sample[None], k.transpose(0, 1), stride=2)
                out.append(fir(y, pad=(1, 1), gain=4))
            else:
                out.append(F.conv2d(sample[None], k, padding=k.shape[-1] // 2))
        return torch.cat(out)

    def styled(name, x, w, noise, up):
        x = modulated(f"{name}.conv", x, w, up=up) + s[f"{name}.noise.weight"] * s[f"noises.noise_{noise}"]
        return lrelu(x + s[f"{name}.activate.bias"][:, None, None])

    def to_rgb(name, x, w, skip=None):
        out = modulated(f"{name}.conv", x, w, demodulate=False) + s[f"{name}.bias"]
        return out if skip is None else out + fir(skip, up=2, pad=(2, 1), gain=4)

    x = s["input.input"].expand(len(ws), -1, -1, -1)
    x = styled("conv1", x, ws[:, 0], 0, up=False)
    skip = to_rgb("to_rgb1", x, ws[:, 1])
    for i in range(len(base.SIDES) - 1):
        x = styled(f"convs.{2 * i}", x, ws[:, 2 * i + 1], 2 * i + 1, up=True)
        x = styled(f"convs.{2 * i + 1}", x, ws[:, 2 * i + 2], 2 * i + 2, up=False)
        skip = to_rgb(f"to_rgbs.{i}", x, ws[:, 2 * i + 3], skip)
    return skip


def logits(state, x):
    s = double(state)

    def conv(name, x, *, down=False, active=True):
        weight = s[f"{name}.{int(down)}.weight"]
        weight = weight / math.sqrt(weight[0].numel())
        if down:
            p = 2 + weight.shape[-1] - 1
            x = F.conv2d(fir(x, pad=((p + 1) // 2, p // 2)), weight, stride=2)
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        return lrelu(x + s[f"{name}.{int(down) + 1}.bias"][:, None, None]) if active else x

    x = conv("convs.0", x)
    for i in range(1, len(base.SIDES)):
        skip = conv(f"convs.{i}.skip", x, down=True, active=False)
        x = conv(f"convs.{i}.conv2", conv(f"convs.{i}.conv1", x), down=True)
        x = (x + skip) / math.sqrt(2)
    x = conv("final_conv", stddev_channel(x)).reshape(len(x), -1)
    for i in range(2):
        weight, bias = s[f"final_linear.{i}.weight"], s[f"final_linear.{i}.bias"]
        x = x @ (weight / math.sqrt(weight.shape[1])).T + bias
        x = lrelu(x) if i == 0 else x
    return x


def save(path, *, zipped=True, **entries):
    """torch.save of a training checkpoint, with an optimizer's state and the command line in it."""
    optimizer = {"state": {0: {"step": 5, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 2e-3}]}
    value = {**entries, "g_optim": optimizer, "args": Namespace(path="x", r1=10.0), "ada_aug_p": 0.0}
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
