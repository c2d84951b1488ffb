"""MobileStyleGAN as the package random-face has it: two graphs of IR, in our terms.

Layers stand in the order of the numbers in their names, that of the ONNX file which the graphs were made of.
"""

import re

import numpy as np
import torch
from torch import Tensor

from hfld.checkpoints.ir import Model
from hfld.checkpoints.parts import Part
from hfld.networks.mobile_stylegan import Mapping

MEAN_SAMPLES = 100_000
"""Latents whose mean w is the centre of truncation."""
CHUNK = 10_000


def read(mapping: Model, synthesis: Model) -> Part:
    """The whole generator; ValueError where the graphs are of another one."""
    try:
        state = {f"mapping.{key}": value for key, value in _mapping(mapping).items()}
        state |= {f"synthesis.{key}": value for key, value in _synthesis(synthesis).items()}
    except (IndexError, KeyError, RuntimeError, StopIteration, ValueError) as error:
        raise ValueError(f"another graph than MobileStyleGAN's ({type(error).__name__}: {error})") from error
    noises = [value for key, value in state.items() if key.endswith("noise")]
    biases = [value for key, value in state.items() if re.fullmatch(r"synthesis\.convs\.\d+\.bias", key)]
    channels = {noise.shape[-1]: len(bias) for noise, bias in zip(noises, biases, strict=True)}
    w_dim, z_dim = state["mapping.layers.0.weight"].shape
    arguments = {
        "size": 2 * max(channels),
        "z_dim": z_dim,
        "w_dim": w_dim,
        "mapping_layers": sum(key.startswith("mapping.") for key in state) // 2,
        "channels": channels,
    }
    state["w_avg"] = _mean_w(state, z_dim=z_dim, w_dim=w_dim, layers=arguments["mapping_layers"])
    return Part("MobileStyleGAN", arguments, state, {"w_avg": f"mean w of {MEAN_SAMPLES} latents, seed 0"})


def _mapping(model: Model) -> dict[str, Tensor]:
    state = {}
    for i, product in enumerate(_of_kind(model, "MatMul")):
        (reshaped,) = (source for source in model.layers[_user(model, product)].inputs if source != product)
        state[f"layers.{i}.weight"] = _constant(model, model.layers[product].inputs[1])
        state[f"layers.{i}.bias"] = _constant(model, model.layers[reshaped].inputs[0])
    return state


def _synthesis(model: Model) -> dict[str, Tensor]:
    styles = iter([_style(model, number) for number in _of_kind(model, "MatMul")])
    kernels = iter(_weights(model, "Convolution"))
    filters = iter(_weights(model, "GroupConvolution"))
    maps = [value for value in _weights(model, "Add") if value.ndim == 4]
    noises = iter([value for value in maps if value.shape[1] == 1])
    biases = iter([value.flatten() for value in maps if value.shape[1] > 1])
    count = len(_of_kind(model, "Convolution")) - 1
    starts = [model.layers[number].inputs[0] for number in _of_kind(model, "Broadcast")]
    (start,) = (number for number in starts if len(model.layers[number].dims) == 4)
    state = {"constant": _constant(model, start)}
    for i in range(count):
        name = f"convs.{i}"
        if i % 2:  # behind a wavelet
            weight, bias = next(styles)
            order = _by_bands(len(bias))
            state[f"{name}.up.weight"], state[f"{name}.up.bias"] = weight[order], bias[order]
        state[f"{name}.style.weight"], state[f"{name}.style.bias"] = next(styles)
        kernel, bias = next(kernels), next(biases)
        order = _by_bands(len(bias)) if i % 2 == 0 and i < count - 1 else slice(None)  # before one
        state[f"{name}.weight"] = (kernel if i == 0 else kernel.flatten(1))[order]
        state[f"{name}.bias"], state[f"{name}.noise"] = bias[order], next(noises)
        if i > 0:
            state[f"{name}.depthwise"] = next(filters)[:, 0]
    order = _by_bands(12)
    state["to_image.style.weight"], state["to_image.style.bias"] = next(styles)
    state["to_image.weight"], state["to_image.bias"] = next(kernels).flatten(1)[order], next(biases)[order]
    if left := sum(1 for rest in (styles, kernels, filters, noises, biases) for _ in rest):
        raise ValueError(f"{left} tensors more than layers")
    return state


def _style(model: Model, product: int) -> tuple[Tensor, Tensor]:
    """Weight and bias of an affine layer, times the constant that may follow it."""
    added = _user(model, product)
    scaled = model.layers[_user(model, _user(model, added))]
    factor = model.layers[scaled.inputs[1]]
    scale = float(model.constant(factor).item()) if factor.kind == "Const" else 1.0
    weight, bias = (_constant(model, model.layers[number].inputs[1]) for number in (product, added))
    return weight * scale, bias.flatten() * scale


def _of_kind(model: Model, kind: str) -> list[int]:
    """Layers by the number in their names, `Conv_21`, `Gemm_10/WithoutBiases`; the picture's has none."""
    named = {number: re.search(r"_(\d+)", layer.name) for number, layer in model.layers.items()}
    found = [number for number, layer in model.layers.items() if layer.kind == kind and named[number]]
    return sorted(found, key=lambda number: int(named[number][1]))


def _weights(model: Model, kind: str) -> list[Tensor]:
    """The constants that layers of one kind take second."""
    taken = [model.layers[number].inputs[1] for number in _of_kind(model, kind)]
    return [_constant(model, number) for number in taken if model.layers[number].kind == "Const"]


def _user(model: Model, number: int) -> int:
    """The one layer that takes the numbers of this one."""
    layers = model.layers.items()
    (user,) = (other for other, layer in layers if number in layer.inputs and layer.kind != "ShapeOf")
    return user


def _constant(model: Model, number: int) -> Tensor:
    return torch.from_numpy(model.constant(model.layers[number]).astype(np.float32))


def _by_bands(channels: int) -> Tensor:
    """The file has the low band first and then, channel by channel, the three high ones; we have them band by
    band."""
    width = channels // 4
    high = width + torch.arange(3 * width).reshape(width, 3).T.flatten()
    return torch.cat((torch.arange(width), high))


def _mean_w(state: dict[str, Tensor], *, z_dim: int, w_dim: int, layers: int) -> Tensor:
    """In float64, rounded: the same on every machine."""
    mapping = Mapping(z_dim=z_dim, w_dim=w_dim, layers=layers)
    weights = {k.removeprefix("mapping."): v for k, v in state.items() if k.startswith("mapping.")}
    mapping.load_state_dict(weights)
    mapping, generator = mapping.double(), torch.Generator().manual_seed(0)
    total = torch.zeros(w_dim, dtype=torch.float64)
    for _ in range(MEAN_SAMPLES // CHUNK):
        z = torch.randn(CHUNK, z_dim, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            total += mapping(z).sum(dim=0)
    return (total / MEAN_SAMPLES).round(decimals=6).float()
