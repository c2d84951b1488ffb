"""The layout of StyleGAN2-ADA's PyTorch pickles."""

import math
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from official import base
from official.base import TAPS, double, fir, lrelu, stddev_channel, stub_modules


def generator(seed=0):
    rng = torch.Generator().manual_seed(seed)
    flat = {
        "mapping.w_avg": base.numbers(base.W, rng=rng),
        "synthesis.b4.const": base.numbers(base.WIDTHS[4], 4, 4, rng=rng),
    }
    for i in range(base.LAYERS):
        flat[f"mapping.fc{i}.weight"] = base.numbers(base.W, base.Z if i == 0 else base.W, rng=rng, std=50)
        flat[f"mapping.fc{i}.bias"] = base.numbers(base.W, rng=rng, std=10)

    def layer(name, inputs, outputs, kernel, side=None):
        flat[f"{name}.weight"] = base.numbers(outputs, inputs, kernel, kernel, rng=rng)
        flat[f"{name}.bias"] = base.numbers(outputs, rng=rng, std=0.3)
        flat[f"{name}.affine.weight"] = base.numbers(inputs, base.W, rng=rng)
        flat[f"{name}.affine.bias"] = 1 + base.numbers(inputs, rng=rng, std=0.3)
        if side:
            flat[f"{name}.noise_const"] = base.numbers(side, side, rng=rng)
            flat[f"{name}.noise_strength"] = base.numbers(rng=rng, std=0.4)

    for side in base.SIDES:
        if side > 4:
            layer(f"synthesis.b{side}.conv0", base.WIDTHS[side // 2], base.WIDTHS[side], 3, side)
        layer(f"synthesis.b{side}.conv1", base.WIDTHS[side], base.WIDTHS[side], 3, side)
        layer(f"synthesis.b{side}.torgb", base.WIDTHS[side], 3, 1)
    return flat


def discriminator(seed=0):
    rng, flat = torch.Generator().manual_seed(seed), {}

    def layer(name, *shape, bias=True):
        flat[f"{name}.weight"] = base.numbers(*shape, rng=rng)
        if bias:
            flat[f"{name}.bias"] = base.numbers(shape[0], rng=rng, std=0.3)

    layer(f"b{base.SIZE}.fromrgb", base.WIDTHS[base.SIZE], 3, 1, 1)
    for side in base.SIDES[1:]:
        layer(f"b{side}.conv0", base.WIDTHS[side], base.WIDTHS[side], 3, 3)
        layer(f"b{side}.conv1", base.WIDTHS[side // 2], base.WIDTHS[side], 3, 3)
        layer(f"b{side}.skip", base.WIDTHS[side // 2], base.WIDTHS[side], 1, 1, bias=False)
    layer("b4.conv", base.WIDTHS[4], base.WIDTHS[4] + 1, 3, 3)
    layer("b4.fc", base.WIDTHS[4], 16 * base.WIDTHS[4])
    layer("b4.out", 1, base.WIDTHS[4])
    return flat


def mapped(flat, z, lr):
    f = double(flat)
    x = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    for i in range(base.LAYERS):
        weight = f[f"mapping.fc{i}.weight"]
        x = lrelu(x @ (weight * (lr / math.sqrt(weight.shape[1]))).T + lr * f[f"mapping.fc{i}.bias"])
    return x[:, None].repeat(1, len(base.NOISES) + 1, 1)


def image(flat, ws, clamp=None):
    """conv2d_resample: pad once, filter, convolve; weights of upsampling layers flipped (flip_weight)."""
    f = double(flat)

    def modulated(x, weight, styles, *, demodulate=True, up=False):
        out = []
        for sample, style in zip(x, styles, strict=True):
            w = weight * style[None, :, None, None]
            if demodulate:
                w = w * (w.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).rsqrt()
            if up:
                y = fir(sample[None], up=2, pad=(3, 2), gain=4)
                out.append(F.conv2d(y, w.flip(2, 3)))  # a true convolution
            else:
                out.append(F.conv2d(sample[None], w, padding=w.shape[-1] // 2))
        return torch.cat(out)

    def affine(name, w):
        return w @ (f[f"{name}.affine.weight"] / math.sqrt(base.W)).T + f[f"{name}.affine.bias"]

    def layer(name, x, w, up=False):
        x = modulated(x, f[f"{name}.weight"], affine(name, w), up=up)
        x = x + f[f"{name}.noise_const"] * f[f"{name}.noise_strength"]
        return lrelu(x + f[f"{name}.bias"][:, None, None], clamp=clamp)

    def torgb(name, x, w):
        weight = f[f"{name}.weight"]
        y = modulated(x, weight, affine(name, w) / math.sqrt(weight[0].numel()), demodulate=False)
        y = y + f[f"{name}.bias"][:, None, None]
        return y if clamp is None else y.clamp(-clamp, clamp)

    row, image, x = 0, None, f["synthesis.b4.const"][None].repeat(len(ws), 1, 1, 1)
    for side in base.SIDES:
        block = f"synthesis.b{side}"
        if side > 4:
            x, row = layer(f"{block}.conv0", x, ws[:, row], up=True), row + 1
        x, row = layer(f"{block}.conv1", x, ws[:, row]), row + 1
        if image is not None:
            image = fir(image, up=2, pad=(2, 1), gain=4)
        y = torgb(f"{block}.torgb", x, ws[:, row])  # shares its row with the next block's first layer
        image = y if image is None else image + y
    return image


def logits(flat, image, clamp=None, group=4):
    f = double(flat)

    def conv(name, x, *, down=False, gain=1.0, active=True):
        weight = f[f"{name}.weight"]
        weight = weight / math.sqrt(weight[0].numel())
        if down:
            p = weight.shape[-1] // 2 + 1
            x = F.conv2d(fir(x, pad=(p, p)), weight, stride=2)
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if not active:
            return x * gain
        bound = None if clamp is None else clamp * gain
        return lrelu(x + f[f"{name}.bias"][:, None, None], gain=math.sqrt(2) * gain, clamp=bound)

    x = conv(f"b{base.SIZE}.fromrgb", image)
    for side in reversed(base.SIDES[1:]):
        y = conv(f"b{side}.skip", x, down=True, gain=math.sqrt(0.5), active=False)
        x = y + conv(f"b{side}.conv1", conv(f"b{side}.conv0", x), down=True, gain=math.sqrt(0.5))
    x = conv("b4.conv", stddev_channel(x, group)).flatten(1)
    x = lrelu(x @ (f["b4.fc.weight"] / math.sqrt(x.shape[1])).T + f["b4.fc.bias"])
    return x @ (f["b4.out.weight"] / math.sqrt(x.shape[1])).T + f["b4.out.bias"]


class EasyDict(dict):
    pass


def reconstruct(meta):
    raise AssertionError("nobody should call this")


class Persistent:
    """A module as NVIDIA's persistence pickles it: source code of its class beside the attributes."""

    def __init__(self, kind, source, **attributes):
        self.kind, self.source = kind, source
        self.state = {
            "training": False,
            "_parameters": OrderedDict(),
            "_buffers": OrderedDict(),
            "_non_persistent_buffers_set": set(),
            "_backward_hooks": OrderedDict(),
            "_modules": OrderedDict(),
            **attributes,
            "_init_args": (),
            "_init_kwargs": EasyDict(),
        }

    def __reduce__(self):
        meta = {"type": "class", "version": 6, "module_src": self.source, "class_name": self.kind}
        return reconstruct, ({**meta, "state": self.state},)


BUFFERS = ("w_avg", "noise_const")


def tree(kind, flat, attributes, source, prefix=""):
    """The tree of modules behind flat keys; `attributes`: dotted path or kind of child -> attributes."""
    module = Persistent(kind, source, **attributes(prefix.removesuffix(".")))
    for key, value in flat.items():
        if key.startswith(prefix) and "." not in key[len(prefix) :]:
            name = key[len(prefix) :]
            if name in BUFFERS:
                module.state["_buffers"][name] = value
            else:
                module.state["_parameters"][name] = torch.nn.Parameter(value, requires_grad=False)
    children = dict.fromkeys(key[len(prefix) :].split(".")[0] for key in flat if key.startswith(prefix))
    for child in children:
        if any(key.startswith(f"{prefix}{child}.") for key in flat):
            module.state["_modules"][child] = tree(child, flat, attributes, source, f"{prefix}{child}.")
    if "skip" in prefix or "conv" in prefix:
        module.state["_buffers"]["resample_filter"] = torch.outer(TAPS, TAPS).float()
    return module


def layer_attributes(clamp, lr):
    def attributes(path):
        last = path.rpartition(".")[2]
        if last.startswith("fc") and path.startswith("mapping"):
            return {"activation": "lrelu", "bias_gain": lr, "weight_gain": lr / np.sqrt(base.W)}
        if last == "affine":
            return {"activation": "linear", "bias_gain": 1, "weight_gain": 1 / np.sqrt(base.W)}
        if last in ("conv0", "conv1", "conv"):
            return {"activation": "lrelu", "conv_clamp": clamp, "use_noise": True, "act_gain": np.sqrt(2)}
        if last in ("torgb", "fromrgb"):
            return {"conv_clamp": clamp}
        if last == "skip":
            return {"conv_clamp": None, "activation": "linear"}
        if last == "fc":
            return {"activation": "lrelu"}
        if last.startswith("b"):
            return {"img_channels": 3, "architecture": "skip" if path.startswith("synthesis") else "resnet"}
        return {"c_dim": 0, "img_channels": 3, "img_resolution": base.SIZE} if not path else {}

    return attributes


def draw():
    return {"G": generator(1), "D": discriminator(2), "G_ema": generator(3)}


def build(flats=None, *, clamp=None, lr=0.02, group=4, source="import torch\n"):
    """G, D and G_ema as trees of modules."""
    flats, attributes = flats or draw(), layer_attributes(clamp, lr)
    kinds = {"G": "Generator", "D": "Discriminator", "G_ema": "Generator"}
    data = {name: tree(kinds[name], flats[name], attributes, source) for name in flats}
    data["D"].state["_modules"]["b4"].state["_modules"]["mbstd"] = Persistent(
        "MinibatchStdLayer", source, group_size=group, num_channels=1
    )
    return data


def save(path, *, change=lambda data: None, **options):
    """pickle.dump(dict(G, D, G_ema, ...)), as training_loop.py does; returns the flat tensors of each."""
    flats = draw()
    data = build(flats, **options)
    change(data)
    extra = {"augment_pipe": None, "training_set_kwargs": EasyDict(path="ffhq.zip", resolution=base.SIZE)}
    with stub_modules(
        torch_utils__persistence={"_reconstruct_persistent_obj": reconstruct},
        dnnlib__util={"EasyDict": EasyDict},
    ):
        Path(path).write_bytes(pickle.dumps({**data, **extra}))
    return flats
