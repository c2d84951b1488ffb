"""OpenVINO's IR: small graphs against numpy, and hostile files, of which nothing is made."""

import resource

import numpy as np
import pytest
import torch
from official.openvino import IR, WINDOW

from hfld.checkpoints import ir, load, load_network, save_network
from hfld.networks.graph import Graph


def rng_arrays(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def small(batch=1):
    """4 x 4 -> 1 x 1 convolution of half-precision weights, bias by shape arithmetic, ReLU, mean, softmax."""
    net = IR()
    kernel, bias = rng_arrays((3, 2, 1, 1), (3,))
    x = net.parameter(batch, 2, 4, 4)
    weight = net.add("Convert", [net.const(kernel.astype(np.float16))], [3, 2, 1, 1], destination_type="f32")
    x = net.add("Convolution", [x, weight], [batch, 3, 4, 4], **WINDOW)
    integers = {"version": "opset3", "precision": "I64", "output_type": "i64"}
    rank = net.add("ShapeOf", [net.add("ShapeOf", [x], [4], **integers)], [1], **integers)
    tail = net.binary("Subtract", rank, net.ints(2), [1], precision="I64")
    tail = net.add("Broadcast", [net.ints(1), tail], [2], version="opset3", precision="I64", mode="numpy")
    width = net.add("ShapeOf", [net.const(bias)], [1], **integers)
    target = net.add("Concat", [net.ints(1), width, tail], [4], precision="I64", axis="0")
    shaped = net.add("Reshape", [net.const(bias), target], [1, 3, 1, 1], special_zero="false")
    x = net.add("ReLU", [net.binary("Add", x, shaped, [batch, 3, 4, 4])], [batch, 3, 4, 4])
    axis = [net.const(np.array(v, np.int64)) for v in (2, 4, 1)]
    axes = net.add("Range", axis, [2], version="opset4", precision="I64", output_type="i64")
    x = net.add("ReduceMean", [x, axes], [batch, 3], keep_dims="false")
    net.result(net.add("SoftMax", [x], [batch, 3], version="opset8", axis="1"))

    def run(x):
        x = np.einsum("nchw,oc->nohw", x, kernel.astype(np.float16).astype(float)[:, :, 0, 0])
        x = np.maximum(x + bias[:, None, None], 0).mean(axis=(2, 3))
        return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)

    return net, run


@pytest.mark.parametrize("batch", [1, -1])
def test_a_graph_runs_in_batches(batch, tmp_path):
    net, run = small(batch)
    network = load_network(net.write(tmp_path / "net.xml"))
    (x,) = rng_arrays((5, 2, 4, 4), seed=1)
    (y,) = network(torch.from_numpy(x))
    np.testing.assert_allclose(y, run(x), atol=1e-6)
    shapes = [tuple(value.shape) for value in network.buffers() if value.dtype == torch.float32]
    assert shapes == [(3, 2, 1, 1), (1, 3, 1, 1)]  # no halves, no integers: what is constant was done once
    assert len(list(network.buffers())) == 2


def test_it_becomes_a_file_of_our_own(tmp_path):
    net, _ = small()
    network = load_network(net.write(tmp_path / "net.xml"))
    part = load(tmp_path / "net.xml").parts["network"]
    save_network(tmp_path / "net.safetensors", network, part.arguments, {}, half=False)
    x = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    again = load_network(tmp_path / "net.safetensors")
    assert isinstance(again, Graph)
    assert torch.equal(again(x)[0], network(x)[0])


def test_openvino_makes_the_same(tmp_path):
    openvino = pytest.importorskip("openvino")
    net, _ = small()
    network = load_network(net.write(tmp_path / "net.xml"))
    (x,) = rng_arrays((1, 2, 4, 4), seed=1)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    run = openvino.Core().compile_model(str(tmp_path / "net.xml"), "CPU", exact)
    np.testing.assert_allclose(network(torch.from_numpy(x))[0], run(x)[0], atol=1e-6)


def test_quantised_weights_are_scaled_once(tmp_path):
    net = IR()
    numbers, scale = np.array([[3, -128]], np.int8), np.array([[0.5]], np.float32)
    x = net.parameter(1, 2)
    weight = net.add("Convert", [net.const(numbers)], [1, 2], destination_type="f32")
    weight = net.binary("Multiply", weight, net.const(scale), [1, 2])
    net.result(net.add("MatMul", [x, weight], [1, 1], transpose_a="false", transpose_b="true"))
    network = load_network(net.write(tmp_path / "net.xml"))
    assert network(torch.tensor([[1.0, 1.0]]))[0].item() == 1.5 - 64
    assert len(network.steps) == 1


def test_a_batch_goes_through_reshapes(tmp_path):
    net = IR()
    x = net.reshape(net.parameter(1, 2, 3), 1, -1, dims=[1, 6])
    net.result(net.reshape(x, 1, 3, 2))
    network = load_network(net.write(tmp_path / "net.xml"))
    x = torch.arange(24.0).reshape(4, 2, 3)
    assert torch.equal(network(x)[0], x.reshape(4, 3, 2))


def test_what_mixes_samples_is_refused():
    net = IR()
    net.result(net.add("ReduceMean", [net.parameter(1, 4), net.ints(0)], [1, 4], keep_dims="true"))
    with pytest.raises(ValueError, match="mixes the samples"):
        ir.read(ir.parse(net.xml(), bytes(net.data)))


# Hostile files


def identity(**constant):
    """x + a constant [2, 2] that claims what `constant` says."""
    net = IR()
    x = net.parameter(1, 2, 2)
    value = net.const(np.ones((2, 2), np.float32), name="value", **constant)
    net.result(net.binary("Add", x, value, [1, 2, 2]))
    return net


@pytest.fixture
def nothing_is_made():
    """Memory beyond what the test itself needs."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"offset": 8}, "bytes 8 to 24 of a .bin file of 16"),
        ({"offset": -4}, "bytes -4 to 12"),
        ({"offset": 1 << 62}, "of a .bin file of 16"),
        ({"size": 1 << 40}, "1099511627776 bytes for shape"),
        ({"shape": "1048576, 1048576"}, "16 bytes for shape"),
        ({"shape": "-2, -2"}, "16 bytes for shape"),
        ({"element_type": "string"}, "element type 'string', expected one of"),
        ({"element_type": "u1"}, "element type 'u1'"),
    ],
)
def test_constants_that_lie_are_refused(claims, reason, tmp_path, nothing_is_made):
    assert torch.equal(
        load_network(identity().write(tmp_path / "a.xml"))(torch.ones(1, 2, 2))[0][0], 2 * torch.ones(2, 2)
    )
    with pytest.raises(ValueError, match=reason):
        load(identity(**claims).write(tmp_path / "net.xml"))


def test_many_constants_of_the_same_bytes_are_refused(nothing_is_made):
    net = IR()
    x = net.parameter(1, 1)
    net.data += bytes(8 << 20)
    for _ in range(20):
        net.add("Const", (), [2 << 20], element_type="f32", shape=str(2 << 20), offset="0", size=str(8 << 20))
    net.result(x)
    with pytest.raises(ValueError, match="makes more than"):
        ir.parse(net.xml(), bytes(net.data))


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE net [<!ENTITY a SYSTEM "file://{}">]>',
        '<!DOCTYPE net SYSTEM "file://{}">',
        '<!DOCTYPE net [<!ENTITY % a SYSTEM "file://{}"> %a;]>',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_types_and_entities_are_refused(declaration, encoding, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("<layers>what nobody should see</layers>")
    stat = secret.stat()
    body = identity().xml().decode().removeprefix('<?xml version="1.0"?>\n').replace("value", "&a;")
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n{declaration.format(secret)}\n{body}'
    with pytest.raises(ValueError, match="document type") as raised:
        ir.parse(text.encode(encoding), bytes(16))
    assert "nobody" not in str(raised.value)
    assert secret.stat().st_atime_ns == stat.st_atime_ns  # it was not even read


def broadcast():
    net = IR()
    x = net.parameter(1, 1)
    net.add("Broadcast", [net.ints(1), net.ints(1 << 40)], [1 << 40], version="opset3", precision="I64")
    net.result(x)
    return net


def outer_product():
    """Two small constants whose sum is large, in the graph and folded."""
    net = IR()
    x = net.parameter(1, 1)
    a, b = (net.const(np.zeros(shape, np.float32)) for shape in ((1 << 14, 1), (1, 1 << 14)))
    net.binary("Add", a, b, [-1, -1])
    net.result(x)
    return net


def padded():
    net = IR()
    x = net.parameter(1, 1)
    net.result(net.add("Pad", [x, net.ints(0, 0), net.ints(0, 1 << 40)], [1, -1], pad_mode="constant"))
    return net


def ranged():
    net = IR()
    x = net.parameter(1, 1)
    ends = [net.const(np.array(v, np.int64)) for v in (0, 1 << 40, 1)]
    net.add("Range", ends, [-1], version="opset4", precision="I64", output_type="i64")
    net.result(x)
    return net


def wide_input():
    net = IR()
    net.result(net.parameter(1, 1 << 40))
    return net


def misdeclared():
    net = IR()
    net.result(net.add("ReLU", [net.parameter(1, 2)], [1, 3]))
    return net


def unknown():
    net = IR()
    net.result(net.add("Loop", [net.parameter(1, 2)], [1, 2]))
    return net


def backwards():
    net = IR()
    x = net.parameter(1, 2)
    net.result(net.add("ReLU", [x], [1, 2]))
    net.edges[0] = (2, 0, 1, 0)
    return net


def two_inputs():
    net = IR()
    a, b = net.parameter(1, 2), net.parameter(1, 2)
    net.result(net.binary("Add", a, b, [1, 2]))
    return net


def numbers_of_integers():
    net = IR()
    x = net.parameter(1, 2)
    net.result(net.binary("Add", x, net.ints(1, 2), [1, 2]))
    return net


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (broadcast, "more than 67108864 numbers"),
        (outer_product, "more than 67108864 numbers"),
        (padded, "more than 67108864 numbers"),
        (ranged, "65 integers, expected at most 64"),
        (wide_input, "more than 67108864 numbers"),
        (misdeclared, r"declares \[1, 3\], but makes \[1, 2\]"),
        (unknown, "operation 'Loop' is none of"),
        (backwards, "does not stand before it"),
        (two_inputs, "a second input"),
        (numbers_of_integers, "integers where numbers are expected"),
    ],
)
def test_graphs_that_cannot_be_are_refused(net, reason, tmp_path, nothing_is_made):
    with pytest.raises(ValueError, match=reason):
        load(net().write(tmp_path / "net.xml"))


@pytest.mark.parametrize(
    "xml", [b"<?xml version='1.0'?><net/>", b"<?xml version='1.0'?><html></html>", b"<net"]
)
def test_other_xml_is_refused(xml, tmp_path):
    (tmp_path / "net.xml").write_bytes(xml)
    (tmp_path / "net.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected <net> with <layers>|no XML"):
        load(tmp_path / "net.xml")


def test_a_missing_bin_file_is_named(tmp_path):
    identity().write(tmp_path / "net.xml")
    (tmp_path / "net.bin").unlink()
    with pytest.raises(ValueError, match=r"net\.bin"):
        load(tmp_path / "net.xml")
