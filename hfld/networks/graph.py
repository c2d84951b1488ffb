"""A network given as a list of operations: what remains of other people's models when their format is gone.

The operations are OpenVINO's, by its names and with its meaning (docs.openvino.ai, "Available Operation
Sets"); hfld.checkpoints.ir reads its files into this form.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

INPUT = "input"
"""The name of what the graph is given."""


class Graph(nn.Module):
    """One tensor -> the tensors called `outputs`, in batches of any size, differentiable."""

    def __init__(
        self,
        *,
        nodes: Sequence[Mapping[str, Any]],  # {"name", "op", "inputs": names, and the operation's arguments}
        outputs: Sequence[str],  # names of nodes
        shape: Sequence[int],  # of the input, without the batch
        constants: Mapping[str, Sequence[int]],  # name -> shape of each tensor in the state_dict
    ) -> None:
        super().__init__()
        self.outputs, self.shape = list(outputs), list(shape)
        for name, sides in constants.items():
            self.register_buffer(name, torch.zeros(tuple(sides)))
        known = {INPUT, *constants}
        self.steps: list[tuple[str, Callable[..., Tensor], list[str], dict[str, Any]]] = []
        for node in nodes:
            node = dict(node)
            name, op, inputs = node.pop("name"), node.pop("op"), node.pop("inputs")
            if missing := [key for key in inputs if key not in known]:
                raise ValueError(f"{name}: {missing[0]!r} is not known before it")
            self.steps.append((name, operation(op), list(inputs), node))
            known.add(name)
        if missing := [key for key in self.outputs if key not in known]:
            raise ValueError(f"outputs: {missing[0]!r} is not among the nodes")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:  # [N, *shape] -> one tensor [N, ...] for each output
        if list(x.shape[1:]) != self.shape:
            raise ValueError(f"input: got {list(x.shape)}, expected [N, {str(self.shape)[1:]}")
        values = {INPUT: x, **self._buffers}
        for name, function, inputs, arguments in self.steps:
            values[name] = function(*(values[key] for key in inputs), **arguments)
        return tuple(values[key] for key in self.outputs)


def operation(name: str) -> Callable[..., Tensor]:
    """The function behind a name; ValueError for one that is not among OPERATIONS."""
    if name not in OPERATIONS:
        raise ValueError(f"operation {name!r} is none of {', '.join(sorted(OPERATIONS))}")
    return OPERATIONS[name]


def _convolution(x: Tensor, weight: Tensor, **window: Any) -> Tensor:
    return _convolve(x, weight, groups=1, **window)


def _group_convolution(x: Tensor, weight: Tensor, **window: Any) -> Tensor:  # weight [G, O / G, C / G, K, K]
    return _convolve(x, weight.flatten(0, 1), groups=weight.shape[0], **window)


def _convolve(
    x: Tensor,  # [N, C, H, W]
    weight: Tensor,  # [O, C / groups, K, K]
    *,
    groups: int,
    strides: Sequence[int],
    dilations: Sequence[int],
    begin: Sequence[int],  # zeros above and to the left
    end: Sequence[int],  # below and to the right
    auto_pad: str,
) -> Tensor:
    reach = [(side - 1) * step + 1 for side, step in zip(weight.shape[2:], dilations, strict=True)]
    begin, end = _padding(x, reach, strides, begin, end, auto_pad)
    if begin != end:
        x, begin = F.pad(x, _reversed(begin, end)), [0] * len(begin)
    return F.conv2d(x, weight, stride=strides, padding=begin, dilation=dilations, groups=groups)


def _max_pool(
    x: Tensor,
    *,
    kernel: Sequence[int],
    strides: Sequence[int],
    begin: Sequence[int],
    end: Sequence[int],
    auto_pad: str,
) -> Tensor:
    begin, end = _padding(x, kernel, strides, begin, end, auto_pad)
    if any(begin) or any(end):
        x = F.pad(x, _reversed(begin, end), value=-torch.inf)
    return F.max_pool2d(x, kernel, stride=strides)


def _average_pool(x: Tensor, *, kernel: Sequence[int], strides: Sequence[int]) -> Tensor:
    return F.avg_pool2d(x, kernel, stride=strides)


def _padding(
    x: Tensor,
    reach: Sequence[int],  # pixels that a window covers
    strides: Sequence[int],
    begin: Sequence[int],
    end: Sequence[int],
    auto_pad: str,
) -> tuple[list[int], list[int]]:
    """Pixels before and behind; "same_upper": for ceil(side / stride) windows, the odd one behind."""
    if auto_pad == "valid":
        return [0, 0], [0, 0]
    if auto_pad == "same_upper":
        total = [
            max((-(-side // stride) - 1) * stride + size - side, 0)
            for side, size, stride in zip(x.shape[2:], reach, strides, strict=True)
        ]
        return [count // 2 for count in total], [count - count // 2 for count in total]
    return list(begin), list(end)


def _reversed(begin: Sequence[int], end: Sequence[int]) -> list[int]:
    """As F.pad wants it: the last axis first."""
    return [count for pair in zip(reversed(begin), reversed(end), strict=True) for count in pair]


def _pad(x: Tensor, *, begin: Sequence[int], end: Sequence[int], value: float) -> Tensor:
    return F.pad(x, _reversed(begin, end), value=value)


def _reshape(x: Tensor, *, shape: Sequence[int]) -> Tensor:
    """0 keeps the axis at its place."""
    return x.reshape([x.shape[i] if side == 0 else side for i, side in enumerate(shape)])


def _transpose(x: Tensor, *, order: Sequence[int]) -> Tensor:
    return x.permute(*order)


def _unsqueeze(x: Tensor, *, axes: Sequence[int]) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _concatenate(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(parts, dim=axis)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    """`slope`: one for all, one per channel, or broadcast."""
    if slope.ndim < 2 or (slope.ndim == x.ndim and slope.shape[1] == slope.numel()):
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x > 0, x, x * slope)


def _matmul(a: Tensor, b: Tensor, *, transpose_a: bool, transpose_b: bool) -> Tensor:
    return (a.mT if transpose_a else a) @ (b.mT if transpose_b else b)


def _mean(x: Tensor, *, axes: Sequence[int], keep_dims: bool) -> Tensor:
    return x.mean(dim=tuple(axes), keepdim=keep_dims)


def _softmax(x: Tensor, *, axis: int) -> Tensor:
    return x.softmax(dim=axis)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "Add": torch.add,
    "AvgPool": _average_pool,
    "Concat": _concatenate,
    "Convert": torch.Tensor.float,
    "Convolution": _convolution,
    "GroupConvolution": _group_convolution,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Multiply": torch.mul,
    "PReLU": _prelu,
    "Pad": _pad,
    "Power": torch.pow,
    "ReLU": F.relu,
    "ReduceMean": _mean,
    "Reshape": _reshape,
    "SoftMax": _softmax,
    "Subtract": torch.sub,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
