"""The layout of the original StyleGAN2's TensorFlow pickles."""

import math
import pickle
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from official import base
from official.base import double, fir, lrelu, stddev_channel, stub_modules


class Network:
    """tflib.Network: its state is a dict of plain values, arrays, components, and source code."""

    def __init__(self, name, static_kwargs, variables, components, source):
        self.state = {
            "version": 4,
            "name": name,
            "static_kwargs": static_kwargs,
            "components": components,
            "build_module_src": source,
            "build_func_name": f"{name}_stylegan2",
            "variables": [(key, np.asarray(value)[()]) for key, value in variables.items()],
        }

    def __getstate__(self):
        return self.state


def generator(seed=0):
    """Variables of mapping, synthesis and G itself, under the names of the whole network."""
    rng = torch.Generator().manual_seed(seed)
    flat = {"lod": torch.zeros(()), "dlatent_avg": base.numbers(base.W, rng=rng)}
    for i in range(base.LAYERS):
        flat[f"mapping/Dense{i}/weight"] = base.numbers(base.Z if i == 0 else base.W, base.W, rng=rng, std=50)
        flat[f"mapping/Dense{i}/bias"] = base.numbers(base.W, rng=rng, std=10)
    for i, side in enumerate(base.NOISES):
        flat[f"synthesis/noise{i}"] = base.numbers(1, 1, side, side, rng=rng)
    flat["synthesis/4x4/Const/const"] = base.numbers(1, base.WIDTHS[4], 4, 4, rng=rng)

    def layer(name, inputs, outputs, kernel, noise=True):
        flat[f"synthesis/{name}/weight"] = base.numbers(kernel, kernel, inputs, outputs, rng=rng)
        flat[f"synthesis/{name}/mod_weight"] = base.numbers(base.W, inputs, rng=rng)
        flat[f"synthesis/{name}/mod_bias"] = base.numbers(inputs, rng=rng, std=0.3)
        flat[f"synthesis/{name}/bias"] = base.numbers(outputs, rng=rng, std=0.3)
        if noise:
            flat[f"synthesis/{name}/noise_strength"] = base.numbers(rng=rng, std=0.4)

    layer("4x4/Conv", base.WIDTHS[4], base.WIDTHS[4], 3)
    for side in base.SIDES:
        if side > 4:
            layer(f"{side}x{side}/Conv0_up", base.WIDTHS[side // 2], base.WIDTHS[side], 3)
            layer(f"{side}x{side}/Conv1", base.WIDTHS[side], base.WIDTHS[side], 3)
        layer(f"{side}x{side}/ToRGB", base.WIDTHS[side], 3, 1, noise=False)
    return flat


def discriminator(seed=0):
    rng, flat = torch.Generator().manual_seed(seed), {}

    def layer(name, *shape, bias=True):
        flat[f"{name}/weight"] = base.numbers(*shape, rng=rng)
        if bias:
            flat[f"{name}/bias"] = base.numbers(shape[-1], rng=rng, std=0.3)

    layer(f"{base.SIZE}x{base.SIZE}/FromRGB", 1, 1, 3, base.WIDTHS[base.SIZE])
    for side in base.SIDES[1:]:
        layer(f"{side}x{side}/Conv0", 3, 3, base.WIDTHS[side], base.WIDTHS[side])
        layer(f"{side}x{side}/Conv1_down", 3, 3, base.WIDTHS[side], base.WIDTHS[side // 2])
        layer(f"{side}x{side}/Skip", 1, 1, base.WIDTHS[side], base.WIDTHS[side // 2], bias=False)
    layer("4x4/Conv", 3, 3, base.WIDTHS[4] + 1, base.WIDTHS[4])
    layer("4x4/Dense0", 16 * base.WIDTHS[4], base.WIDTHS[4])
    layer("Output", base.WIDTHS[4], 1)
    return flat


def _kernel(weight):
    """get_weight: [k, k, in, out] / sqrt(fan in), for F.conv2d, which correlates as TensorFlow does."""
    return (weight / math.sqrt(weight[..., 0].numel())).permute(3, 2, 0, 1)


def mapped(flat, z, lrmul):
    f = double(flat)
    x = z * torch.rsqrt(z.square().mean(dim=1, keepdim=True) + 1e-8)
    for i in range(base.LAYERS):
        weight = f[f"mapping/Dense{i}/weight"] * (lrmul / math.sqrt(x.shape[1]))
        x = lrelu(x @ weight + f[f"mapping/Dense{i}/bias"] * lrmul)
    return x


def image(flat, ws):
    """upsample_conv_2d: padded once, zeros filled by the filter, correlated with the weight as stored."""
    f = double(flat)

    def modulated(name, x, w, *, demodulate=True, up=False):
        kernel = _kernel(f[f"{name}/weight"])
        style = w @ (f[f"{name}/mod_weight"] / math.sqrt(base.W)) + f[f"{name}/mod_bias"] + 1
        out = []
        for sample, row in zip(x, style, strict=True):
            k = kernel * row[None, :, None, None]
            if demodulate:
                k = k * torch.rsqrt(k.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8)
            if up:
                out.append(F.conv2d(fir(sample[None], up=2, pad=(3, 2), gain=4), k))
            else:
                out.append(F.conv2d(sample[None], k, padding=k.shape[-1] // 2))
        return torch.cat(out)

    def layer(name, x, index, up=False):
        x = modulated(f"synthesis/{name}", x, ws[:, index], up=up)
        x = x + f[f"synthesis/noise{index}"] * f[f"synthesis/{name}/noise_strength"]
        return lrelu(x + f[f"synthesis/{name}/bias"][:, None, None])

    x, y = f["synthesis/4x4/Const/const"].repeat(len(ws), 1, 1, 1), None
    for log2 in range(2, int(math.log2(base.SIZE)) + 1):
        scope = f"{2**log2}x{2**log2}"
        if log2 == 2:
            x = layer(f"{scope}/Conv", x, 0)
        else:
            x = layer(f"{scope}/Conv0_up", x, 2 * log2 - 5, up=True)
            x = layer(f"{scope}/Conv1", x, 2 * log2 - 4)
        name = f"synthesis/{scope}/ToRGB"
        t = modulated(name, x, ws[:, 2 * log2 - 3], demodulate=False) + f[f"{name}/bias"][:, None, None]
        y = t if y is None else fir(y, up=2, pad=(2, 1), gain=4) + t
    return y


def logits(flat, x):
    f = double(flat)

    def conv(name, x, *, down=False):
        kernel = _kernel(f[f"{name}/weight"])
        if down:
            p = 2 + kernel.shape[-1] - 1
            return F.conv2d(fir(x, pad=((p + 1) // 2, p // 2)), kernel, stride=2)
        return F.conv2d(x, kernel, padding=kernel.shape[-1] // 2)

    def active(name, x):
        return lrelu(x + f[f"{name}/bias"][:, None, None])

    x = active(f"{base.SIZE}x{base.SIZE}/FromRGB", conv(f"{base.SIZE}x{base.SIZE}/FromRGB", x))
    for side in reversed(base.SIDES[1:]):
        scope, t = f"{side}x{side}", x
        x = active(f"{scope}/Conv0", conv(f"{scope}/Conv0", x))
        x = active(f"{scope}/Conv1_down", conv(f"{scope}/Conv1_down", x, down=True))
        x = (x + conv(f"{scope}/Skip", t, down=True)) / math.sqrt(2)
    x = active("4x4/Conv", conv("4x4/Conv", stddev_channel(x))).reshape(len(x), -1)
    x = lrelu(x @ f["4x4/Dense0/weight"] / math.sqrt(x.shape[1]) + f["4x4/Dense0/bias"])
    return x @ f["Output/weight"] / math.sqrt(x.shape[1]) + f["Output/bias"]


def draw():
    return [generator(1), discriminator(2), generator(3)]


def build(flats=None, *, source="import tensorflow as tf\n", **static_kwargs):
    """(G, D, Gs) as networks; G's variables shared out to its components."""
    given = {"num_channels": 3, "resolution": base.SIZE, "label_size": 0, "fmap_base": 64, **static_kwargs}
    networks = []
    for name, flat in zip(("G", "D", "Gs"), flats or draw(), strict=True):
        scopes = ("mapping", "synthesis") if name != "D" else ()
        parts = {scope: {} for scope in ("", *scopes)}
        for key, value in flat.items():
            scope, _, rest = key.partition("/")
            parts[scope if scope in scopes else ""][rest if scope in scopes else key] = value
        components = {scope: Network(f"G_{scope}", given, parts[scope], {}, source) for scope in scopes}
        networks.append(Network(name, given, parts[""], components, source))
    return tuple(networks)


def save(path, *, only=None, **options):
    """pickle.dump((G, D, Gs)), or Gs alone; returns the variables of each."""
    flats = draw()
    networks = build(flats, **options)
    with stub_modules(dnnlib__tflib__network={"Network": Network}):
        Path(path).write_bytes(pickle.dumps(networks if only is None else networks[only], protocol=4))
    return flats
