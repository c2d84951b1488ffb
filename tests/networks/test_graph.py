"""Each operation of a graph against loops written out in float64."""

import itertools

import numpy as np
import pytest
import torch

from hfld.networks.graph import OPERATIONS, Graph

SAME = {"begin": [0, 0], "end": [0, 0], "auto_pad": "same_upper"}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(op, x, *constants, places=("input", "c0", "c1"), **arguments):
    """One operation as a graph."""
    names = [f"c{i}" for i in range(len(constants))]
    node = {"name": "y", "op": op, "inputs": list(places[: 1 + len(constants)]), **arguments}
    graph = Graph(
        nodes=[node],
        outputs=["y"],
        shape=x.shape[1:],
        constants={name: list(value.shape) for name, value in zip(names, constants, strict=True)},
    ).double()
    graph.load_state_dict(dict(zip(names, constants, strict=True)))
    return graph(x)[0]


def windows(x, size, strides, begin, end, fill, dilations=(1, 1)):
    """Each output place and the pixels [N, C, K, K] that its window covers."""
    n, c, height, width = x.shape
    framed = np.full((n, c, height + begin[0] + end[0], width + begin[1] + end[1]), fill)
    framed[:, :, begin[0] : begin[0] + height, begin[1] : begin[1] + width] = x
    reach = [(k - 1) * d + 1 for k, d in zip(size, dilations, strict=True)]
    rows = range(0, framed.shape[2] - reach[0] + 1, strides[0])
    columns = range(0, framed.shape[3] - reach[1] + 1, strides[1])
    for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
        yield (
            i,
            j,
            framed[:, :, row : row + reach[0] : dilations[0], column : column + reach[1] : dilations[1]],
        )


def same_upper(sides, size, strides):
    total = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sides, size, strides, strict=True)]
    return [t // 2 for t in total], [t - t // 2 for t in total]


@pytest.mark.parametrize("sides", [(6, 7), (5, 4)])
@pytest.mark.parametrize("strides", [[1, 1], [2, 2]])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("padding", ["same_upper", "valid", [(1, 1), (1, 1)], [(0, 1), (2, 1)]])
def test_convolution_is_a_loop(sides, strides, groups, padding):
    x, weight = random(2, 4, *sides), random(6, 4 // groups, 3, 3, seed=1)
    begin, end = ([0, 0], [0, 0]) if isinstance(padding, str) else padding
    auto = padding if isinstance(padding, str) else "explicit"
    if auto == "same_upper":
        begin, end = same_upper(sides, (3, 3), strides)
    seen = list(windows(x.numpy(), (3, 3), strides, begin, end, 0.0))
    expected = np.zeros((2, 6, seen[-1][0] + 1, seen[-1][1] + 1))
    for i, j, window in seen:
        for g in range(groups):
            part, filters = np.split(window, groups, axis=1)[g], np.split(weight.numpy(), groups)[g]
            expected[:, 6 // groups * g : 6 // groups * (g + 1), i, j] = np.einsum(
                "ncij,ocij->no", part, filters
            )
    given = {
        "strides": strides,
        "dilations": [1, 1],
        "begin": list(begin),
        "end": list(end),
        "auto_pad": auto,
    }
    if groups == 1:
        found = run("Convolution", x, weight, **given)
    else:
        found = run("GroupConvolution", x, weight.reshape(2, 3, 2, 3, 3), **given)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_dilated_convolution_is_a_loop():
    x, weight = random(1, 1, 7, 7), random(1, 1, 3, 3, seed=1)
    expected = np.zeros((1, 1, 7, 7))
    for i, j, window in windows(x.numpy(), (3, 3), (1, 1), (2, 2), (2, 2), 0.0, dilations=(2, 2)):
        expected[:, :, i, j] = (window * weight.numpy()).sum()
    found = run("Convolution", x, weight, strides=[1, 1], dilations=[2, 2], **SAME)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("side", [5, 6])
@pytest.mark.parametrize("auto_pad", ["same_upper", "valid"])
def test_max_pool_is_a_loop_that_sees_no_padding(side, auto_pad):
    x = random(2, 3, side, side) - 10  # zeros beyond the borders would win
    begin, end = same_upper((side, side), (3, 3), (2, 2)) if auto_pad == "same_upper" else ([0, 0], [0, 0])
    seen = list(windows(x.numpy(), (3, 3), (2, 2), begin, end, -np.inf))
    expected = np.zeros((2, 3, seen[-1][0] + 1, seen[-1][1] + 1))
    for i, j, window in seen:
        expected[:, :, i, j] = window.max(axis=(2, 3))
    given = {**SAME, "auto_pad": auto_pad}
    np.testing.assert_array_equal(run("MaxPool", x, kernel=[3, 3], strides=[2, 2], **given), expected)


def test_average_pool_is_a_loop():
    x = random(2, 3, 5, 5)
    expected = np.zeros((2, 3, 2, 2))
    for i, j, window in windows(x.numpy(), (2, 2), (2, 2), (0, 0), (0, 0), 0.0):
        expected[:, :, i, j] = window.mean(axis=(2, 3))
    np.testing.assert_allclose(run("AvgPool", x, kernel=[2, 2], strides=[2, 2]), expected)


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 3, 1, 1), (1, 1, 1, 5)])
def test_prelu_has_a_slope_for_all_for_channels_or_broadcast(shape):
    x, slope = random(2, 3, 3, 5), random(*shape, seed=1)
    wide = slope.reshape(1, 3, 1, 1) if shape == (3,) else slope
    expected = np.where(x > 0, x, x * wide)
    np.testing.assert_allclose(run("PReLU", x, slope), expected)


@pytest.mark.parametrize(
    ("op", "arguments", "expected"),
    [
        ("Pad", {"begin": [0, 1, 0], "end": [0, 2, 1], "value": 7.0},
         lambda x: np.pad(x, [(0, 0), (1, 2), (0, 1)], constant_values=7.0)),
        ("Reshape", {"shape": [0, 2, -1]}, lambda x: x.reshape(2, 2, 6)),
        ("Reshape", {"shape": [0, 0, 2, 2]}, lambda x: x.reshape(2, 3, 2, 2)),
        ("Transpose", {"order": [0, 2, 1]}, lambda x: x.transpose(0, 2, 1)),
        ("Unsqueeze", {"axes": [1, -1]}, lambda x: x[:, None, :, :, None]),
        ("ReduceMean", {"axes": [1, 2], "keep_dims": True}, lambda x: x.mean((1, 2), keepdims=True)),
        ("ReduceMean", {"axes": [2], "keep_dims": False}, lambda x: x.mean(2)),
        ("SoftMax", {"axis": 1}, lambda x: np.exp(x) / np.exp(x).sum(1, keepdims=True)),
        ("ReLU", {}, lambda x: np.maximum(x, 0)),
    ],
)  # fmt: skip
def test_operations_of_one_input(op, arguments, expected):
    x = random(2, 3, 4)
    np.testing.assert_allclose(run(op, x, **arguments), expected(x.numpy()))


@pytest.mark.parametrize(
    ("op", "arguments", "expected"),
    [
        ("Add", {}, np.add),
        ("Subtract", {}, np.subtract),
        ("Multiply", {}, np.multiply),
        ("Power", {}, np.power),
        ("Concat", {"axis": 1}, lambda x, y: np.concatenate((x, y), axis=1)),
        ("MatMul", {"transpose_a": False, "transpose_b": True}, lambda x, y: x @ y.swapaxes(1, 2)),
        ("MatMul", {"transpose_a": True, "transpose_b": False}, lambda x, y: x.swapaxes(1, 2) @ y),
    ],
)
def test_operations_of_two_inputs_in_their_order(op, arguments, expected):
    x, y = random(2, 3, 4).abs(), random(2, 3, 4, seed=1)
    np.testing.assert_allclose(run(op, x, y, **arguments), expected(x.numpy(), y.numpy()))
    if op == "Subtract":
        np.testing.assert_allclose(run(op, x, y, places=("c0", "input")), y - x)


def test_all_operations_are_tested():
    tested = {"AvgPool", "Convolution", "GroupConvolution", "MaxPool", "PReLU", "Pad", "Reshape", "Transpose"}
    tested |= {"Unsqueeze", "ReduceMean", "SoftMax", "ReLU", "Add", "Subtract", "Multiply", "Power", "Concat"}
    assert set(OPERATIONS) == tested | {"MatMul", "Convert"}  # Convert only makes constants


def test_gradients_go_through():
    x = random(1, 2, 4, 4).requires_grad_(True)
    weight = random(2, 2, 3, 3, seed=1)
    given = {"strides": [2, 2], "dilations": [1, 1], **SAME}
    assert torch.autograd.gradcheck(lambda x: run("Convolution", x, weight, **given), (x,))


def test_what_does_not_fit_is_refused():
    node = {"name": "y", "op": "ReLU", "inputs": ["input"]}
    given = {"outputs": ["y"], "shape": [3], "constants": {}}
    with pytest.raises(ValueError, match=r"operation 'Loop' is none of Add"):
        Graph(nodes=[{**node, "op": "Loop"}], **given)
    with pytest.raises(ValueError, match="'w' is not known before it"):
        Graph(nodes=[{**node, "inputs": ["w"]}], **given)
    with pytest.raises(ValueError, match="'z' is not among the nodes"):
        Graph(nodes=[node], **{**given, "outputs": ["z"]})
    with pytest.raises(ValueError, match=r"got \[1, 4\], expected \[N, 3\]"):
        Graph(nodes=[node], **given)(torch.zeros(1, 4))
