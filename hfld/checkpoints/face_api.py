"""face-api's files: a manifest in JSON, and beside it shards of numbers, quantised to integers.

A number is q * scale + min (TensorFlow.js, "weights manifest").
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hfld.checkpoints.parts import Part, rename

TYPES = {"float32": np.float32, "uint8": np.uint8, "uint16": np.uint16}


class Weights(dict[str, Tensor]):
    """Name in the file -> tensor, in float32."""


def matches(data: bytes) -> bool:
    """Whether a file that begins so is a list in JSON."""
    return re.match(rb"\s*\[\s*\{", data[:200]) is not None


def parse(manifest: bytes, folder: Path) -> Weights:
    """The tensors of a manifest whose shards are in `folder`; ValueError names what is wrong."""
    weights = Weights()
    for group in json.loads(manifest):
        data, start = b"".join(_shard(folder, name) for name in group["paths"]), 0
        for entry in group["weights"]:
            quantized = entry.get("quantization")
            kind = TYPES.get((quantized or entry)["dtype"])
            if kind is None:
                raise ValueError(
                    f"{entry['name']}: {(quantized or entry)['dtype']}, expected one of {list(TYPES)}"
                )
            shape = [int(side) for side in entry["shape"]]
            stop = start + math.prod(shape) * np.dtype(kind).itemsize
            if min(shape, default=1) < 1 or stop > len(data):
                raise ValueError(f"{entry['name']}: {shape} is beyond the {len(data)} bytes of its shards")
            numbers = np.frombuffer(data[start:stop], dtype=kind).astype(np.float32)
            if quantized:
                numbers = numbers * np.float32(quantized["scale"]) + np.float32(quantized["min"])
            weights[entry["name"]] = torch.from_numpy(numbers.reshape(shape))
            start = stop
        if start != len(data):
            raise ValueError(f"{len(data) - start} bytes of its shards belong to no tensor")
    return weights


def _shard(folder: Path, name: Any) -> bytes:
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"a shard {name!r}, expected the name of a file beside the manifest")
    return (folder / name).read_bytes()


def read(weights: Weights) -> Part:
    """The network, told by its names; ValueError for one that is not known."""
    if "dense0/conv0/filters" in weights:
        state = rename(_oriented(weights), _DENSE)
        width = len(state["blocks.0.convs.0.bias"])
        return Part("FaceApiDense", {"outputs": len(state["fc.bias"]), "width": width}, state)
    if "entry_flow/conv_in/filters" in weights:
        state = rename(_oriented(weights), _XCEPTION)
        blocks = len({key.split(".")[1] for key in state if key.startswith("middle.")})
        return Part("FaceApiXception", {"width": len(state["first.bias"]), "blocks": blocks}, state)
    if "conv32_down/conv/filters" in weights:
        state = rename(_without_scales(_oriented(weights)), _IDENTITY)
        return Part("FaceApiIdentity", {"width": len(state["first.bias"])}, state)
    raise ValueError(f"a network that begins with {next(iter(weights), 'nothing')}, none that is known")


def _oriented(weights: Weights) -> dict[str, Tensor]:
    """From TensorFlow's order of axes to torch's."""
    orders = {"filters": (3, 2, 0, 1), "pointwise_filter": (3, 2, 0, 1), "depthwise_filter": (2, 3, 0, 1)}
    return {
        key: value.permute(orders[last]) if (last := key.rpartition("/")[2]) in orders else
        value.T if value.ndim == 2 else value
        for key, value in weights.items()
    }  # fmt: skip


def _without_scales(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A factor and an offset per channel become part of the convolution before them."""
    state = dict(weights)
    for key in weights:
        if key.endswith("/scale/weights"):
            name = key.removesuffix("/scale/weights")
            factor, offset = state.pop(key), state.pop(f"{name}/scale/biases")
            state[f"{name}/conv/filters"] = state[f"{name}/conv/filters"] * factor[:, None, None, None]
            state[f"{name}/conv/bias"] = state[f"{name}/conv/bias"] * factor + offset
    return state


_SEPARABLE = {
    "depthwise_filter": "depthwise.weight",
    "pointwise_filter": "pointwise.weight",
    "bias": "pointwise.bias",
}
_PLAIN = {"filters": "weight", "bias": "bias", "weights": "weight"}
_PART = "(depthwise_filter|pointwise_filter|bias)"
_STAGES = {"32": 0, "64": 3, "128": 7, "256": 10}
"""Channels -> the first block of that stage."""


def _block(channels: str, which: str) -> int:
    if which == "down_out":
        return 13
    return _STAGES[channels] + (0 if which == "down" else int(which) - (channels == "32"))


_DENSE = [
    (r"dense0/conv0/(filters|bias)", lambda x: f"blocks.0.convs.0.{_PLAIN[x]}"),
    (rf"dense(\d)/conv(\d)/{_PART}", lambda i, j, x: f"blocks.{i}.convs.{j}.{_SEPARABLE[x]}"),
    (r"fc/(weights|bias)", lambda x: f"fc.{_PLAIN[x]}"),
]
_XCEPTION = [
    (r"entry_flow/conv_in/(filters|bias)", lambda x: f"first.{_PLAIN[x]}"),
    (
        rf"entry_flow/reduction_block_(\d)/separable_conv(\d)/{_PART}",
        lambda i, j, x: f"entry.{i}.convs.{j}.{_SEPARABLE[x]}",
    ),
    (
        r"entry_flow/reduction_block_(\d)/expansion_conv/(filters|bias)",
        lambda i, x: f"entry.{i}.expansion.{_PLAIN[x]}",
    ),
    (
        rf"middle_flow/main_block_(\d)/separable_conv(\d)/{_PART}",
        lambda i, j, x: f"middle.{i}.convs.{j}.{_SEPARABLE[x]}",
    ),
    (
        rf"exit_flow/reduction_block/separable_conv(\d)/{_PART}",
        lambda j, x: f"exit.convs.{j}.{_SEPARABLE[x]}",
    ),
    (r"exit_flow/reduction_block/expansion_conv/(filters|bias)", lambda x: f"exit.expansion.{_PLAIN[x]}"),
    (rf"exit_flow/separable_conv/{_PART}", lambda x: f"last.{_SEPARABLE[x]}"),
    (r"fc/(age|gender)/(weights|bias)", lambda name, x: f"{name}.{_PLAIN[x]}"),
]
_IDENTITY = [
    (r"conv32_down/conv/(filters|bias)", lambda x: f"first.{_PLAIN[x]}"),
    (
        r"conv(\d+)_(\d|down|down_out)/(conv[12])/conv/(filters|bias)",
        lambda channels, which, conv, x: f"blocks.{_block(channels, which)}.{conv}.{_PLAIN[x]}",
    ),
    (r"fc", lambda: "fc.weight"),
]
