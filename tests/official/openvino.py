"""Files of OpenVINO's IR; MobileStyleGAN as the package random-face has it: graphs and, slowly, pictures."""

import itertools
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np

PRECISIONS = {
    "float32": ("f32", "FP32"),
    "float16": ("f16", "FP16"),
    "int64": ("i64", "I64"),
    "int8": ("i8", "I8"),
}
WINDOW = {
    "strides": "1, 1",
    "dilations": "1, 1",
    "pads_begin": "0, 0",
    "pads_end": "0, 0",
    "auto_pad": "explicit",
}


class IR:
    """A graph that is written layer by layer; `add` and `const` return a layer's id."""

    def __init__(self) -> None:
        self.layers: list[ET.Element] = []
        self.edges: list[tuple[int, int, int, int]] = []
        self.data = bytearray()
        self.shapes: dict[int, list[int]] = {}

    def add(
        self,
        kind,
        inputs=(),
        dims=None,
        *,
        name=None,
        version="opset1",
        precision="FP32",
        more=(),
        **attributes,
    ):
        number = len(self.layers)
        layer = ET.Element(
            "layer", id=str(number), name=name or f"{kind}_{number}", type=kind, version=version
        )
        ET.SubElement(layer, "data", {key: str(value) for key, value in attributes.items()})
        if inputs:
            ports = ET.SubElement(layer, "input")
            for i, source in enumerate(inputs):
                source, nth = source if isinstance(source, tuple) else (source, 0)  # one of several outputs
                port = self.layers[source].findall("output/port")[nth]
                _port(ports, i, port.get("precision"), [int(dim.text) for dim in port])
                self.edges.append((source, int(port.get("id")), number, i))
        if dims is not None:
            ports = ET.SubElement(layer, "output")
            _port(ports, len(inputs), precision, dims)
            for i, extra in enumerate(more, 1):
                _port(ports, len(inputs) + i, precision, extra)
        self.layers.append(layer)
        self.shapes[number] = list(dims or [])
        return number

    def const(self, array, *, name=None, **attributes):
        array = np.array(array, order="C")
        kind, precision = PRECISIONS[array.dtype.name]
        given = {
            "element_type": kind,
            "shape": ", ".join(map(str, array.shape)),
            "offset": len(self.data),
            "size": array.nbytes,
        }
        self.data += array.tobytes()
        return self.add("Const", (), array.shape, name=name, precision=precision, **{**given, **attributes})

    def ints(self, *values):
        return self.const(np.array(values, dtype=np.int64))

    def parameter(self, *shape, name="x"):
        shape_text = ",".join("?" if side < 0 else str(side) for side in shape)
        return self.add("Parameter", (), shape, name=name, shape=shape_text, element_type="f32")

    def result(self, source):
        return self.add("Result", [source], name=f"result_{len(self.layers)}")

    def reshape(self, source, *shape, dims=None):
        return self.add("Reshape", [source, self.ints(*shape)], dims or shape, special_zero="true")

    def binary(self, kind, a, b, dims, **options):
        return self.add(kind, [a, b], dims, auto_broadcast="numpy", **options)

    def xml(self) -> bytes:
        net = ET.Element("net", name="graph", version="11")
        ET.SubElement(net, "layers").extend(self.layers)
        edges = ET.SubElement(net, "edges")
        for a, p, b, q in self.edges:
            given = {"from-layer": a, "from-port": p, "to-layer": b, "to-port": q}
            ET.SubElement(edges, "edge", {key: str(value) for key, value in given.items()})
        return b'<?xml version="1.0"?>\n' + ET.tostring(net)

    def write(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.xml())
        path.with_suffix(".bin").write_bytes(bytes(self.data))
        return path


def _port(parent, number, precision, dims):
    port = ET.SubElement(parent, "port", id=str(number), precision=precision)
    for side in dims:
        ET.SubElement(port, "dim").text = str(side)


class RandomFace:
    """A small MobileStyleGAN with random weights, laid out as the real files."""

    def __init__(self, *, channels=(8, 8, 4), dim=6, layers=3, seed=0):
        rng = np.random.default_rng(seed)
        self.channels, self.dim = channels, dim
        self.mapping = [(_normal(rng, dim, dim), _normal(rng, dim)) for _ in range(layers)]
        self.constant = _normal(rng, 1, channels[0], 4, 4)
        self.blocks = []  # styles [(A, b, constant)], depthwise, kernel, noise, bias, wavelet first
        widths = [(channels[0], channels[0], False)]
        for before, after in itertools.pairwise(channels):
            widths += [(before // 4, after, True), (after, after, False)]
        for i, (inputs, outputs, up) in enumerate(widths):
            side = 4 * 2 ** ((i + 1) // 2)
            styles = [(_normal(rng, 4 * inputs, dim), _normal(rng, 4 * inputs), 1.0)] if up else []
            styles.append((_normal(rng, inputs, dim), _normal(rng, inputs), 0.25 + 0.5 * i))
            depthwise = None if i == 0 else _normal(rng, inputs, 1, 1, 3, 3)
            kernel = (
                _normal(rng, outputs, inputs, *((3, 3) if i == 0 else (1, 1))) / np.float32(9 * inputs) ** 0.5
            )
            noise, bias = _normal(rng, 1, 1, side, side), _normal(rng, 1, outputs, 1, 1)
            self.blocks.append((styles, depthwise, kernel, noise, bias))
        last = channels[-1]
        self.image = (
            [(_normal(rng, last, dim), _normal(rng, last), 0.7)],
            _normal(rng, 12, last, 1, 1),
            _normal(rng, 1, 12, 1, 1),
        )

    def w(self, z):
        """[N, dim] -> [N, dim] in float64."""
        x = z / np.sqrt((z**2).mean(axis=1, keepdims=True) + 1e-8)
        for weight, bias in self.mapping:
            x = _leaky(x @ weight.T.astype(float) + bias) * np.sqrt(2)
        return x

    def picture(self, ws):
        """[N, L, dim] -> [N, 3, S, S] in float64, one pixel at a time where it is not trivial."""
        rows = iter(range(ws.shape[1]))

        def style(given):
            weight, bias, constant = given
            return ((ws[:, next(rows)] @ weight.T + bias) * constant)[:, :, None, None]

        x = np.broadcast_to(self.constant, (len(ws), *self.constant.shape[1:])).astype(float)
        for styles, depthwise, kernel, noise, bias in self.blocks:
            if len(styles) == 2:
                x = _inverse_haar(x * style(styles[0]))
            x = x * style(styles[-1])
            if depthwise is not None:
                x = np.concatenate(
                    [_convolve(x[:, [c]], depthwise[[c], 0]) for c in range(x.shape[1])], axis=1
                )
            x = _leaky(_convolve(x, kernel) + noise + bias)
        styles, kernel, bias = self.image
        return _inverse_haar(_convolve(x * style(styles[0]), kernel) + bias)

    def write(self, folder: Path) -> None:
        """MappingNetwork and SynthesisNetwork, .xml and .bin, for one sample as the real ones."""
        self._mapping().write(folder / "MappingNetwork.xml")
        self._synthesis().write(folder / "SynthesisNetwork.xml")

    def _mapping(self):
        net, one = IR(), [1, self.dim]
        x = net.parameter(*one, name="var")
        scalar = [net.const(np.full((1, 1), value, np.float32)) for value in (2, 1e-8, 0.5, -1, 2**0.5)]
        square = net.binary("Power", x, scalar[0], one)
        mean = net.add("ReduceMean", [square, net.ints(1)], [1, 1], keep_dims="true")
        root = net.binary("Power", net.binary("Add", mean, scalar[1], [1, 1]), scalar[2], [1, 1])
        x = net.binary("Multiply", x, net.binary("Power", root, scalar[3], [1, 1]), one)
        for i, (weight, bias) in enumerate(self.mapping):
            x = net.add(
                "MatMul",
                [x, net.const(weight)],
                one,
                name=f"MatMul_{8 + 11 * i}",
                transpose_a="false",
                transpose_b="true",
            )
            shape = net.add("ShapeOf", [x], [2], version="opset3", precision="I64", output_type="i64")
            axis = net.const(np.array(0, np.int64))
            count = net.add(
                "Gather",
                [shape, net.const(np.array(1, np.int64)), axis],
                [],
                version="opset7",
                precision="I64",
                batch_dims="0",
            )
            count = net.add("Unsqueeze", [count, net.ints(0)], [1], precision="I64")
            target = net.add("Concat", [net.ints(1), count], [2], precision="I64", axis="0")
            added = net.add("Reshape", [net.const(bias), target], one, special_zero="true")
            x = net.binary("Add", x, added, one)
            x = net.add("PReLU", [x, net.const(np.array([0.2], np.float32))], one)
            x = net.binary("Multiply", x, scalar[4], one)
        net.result(x)
        return net

    def _synthesis(self):
        net, number = IR(), iter(range(1, 10_000))
        w = net.parameter(1, self.dim, name="style")
        order = {}  # the real file has the affine layers of the last convolutions first
        rows = [style for block in self.blocks for style in block[0]] + self.image[0]
        numbers = [100 * (i + 1) for i in range(len(rows))]
        for i in reversed(range(len(rows))):
            weight, bias, constant = rows[i]
            name, one = f"Gemm_{numbers[i]}", [1, len(bias)]
            s = net.add(
                "MatMul",
                [w, net.const(weight)],
                one,
                name=f"{name}/WithoutBiases",
                transpose_a="false",
                transpose_b="true",
            )
            s = net.reshape(net.binary("Add", s, net.const(bias[None]), one, name=name), *one, 1, 1)
            if constant != 1:
                s = net.binary(
                    "Multiply", s, net.const(np.full((1, 1, 1, 1), constant, np.float32)), [*one, 1, 1]
                )
            order[i] = s
        styles = iter([order[i] for i in range(len(rows))])
        shape = list(self.constant.shape)
        x = net.add(
            "Broadcast",
            [net.const(self.constant), net.ints(1, 1, 1, 1)],
            shape,
            version="opset3",
            mode="bidirectional",
        )
        for given, depthwise, kernel, noise, bias in self.blocks:
            if len(given) == 2:
                x = _haar_layers(net, net.binary("Multiply", next(styles), x, net.shapes[x]), number)
            x = net.binary("Multiply", next(styles), x, net.shapes[x])
            pads = {"pads_begin": "1, 1", "pads_end": "1, 1"}
            if depthwise is not None:
                x = net.add(
                    "GroupConvolution",
                    [x, net.const(depthwise)],
                    net.shapes[x],
                    name=f"Conv_{next(number)}",
                    **{**WINDOW, **pads},
                )
            outputs = [1, kernel.shape[0], *net.shapes[x][2:]]
            window = {**WINDOW, **(pads if kernel.shape[-1] == 3 else {})}
            x = net.add("Convolution", [x, net.const(kernel)], outputs, name=f"Conv_{next(number)}", **window)
            x = net.binary("Add", x, net.const(noise), outputs, name=f"Add_{next(number)}")
            x = net.binary("Add", x, net.const(bias), outputs, name=f"Add_{next(number)}")
            x = net.add(
                "PReLU",
                [x, net.const(np.array([0.2], np.float32))],
                outputs,
                name=f"LeakyRelu_{next(number)}",
            )
        _, kernel, bias = self.image
        x = net.binary("Multiply", next(styles), x, net.shapes[x])
        outputs = [1, 12, *net.shapes[x][2:]]
        x = net.add("Convolution", [x, net.const(kernel)], outputs, name=f"Conv_{next(number)}", **WINDOW)
        x = net.binary("Add", x, net.const(bias), outputs, name=f"Add_{next(number)}")
        net.result(_haar_layers(net, x, number, name="img"))
        return net


def _haar_layers(net, x, number, name=None):
    """Split, four transposed convolutions along the columns, two along the rows."""
    _, total, height, width = net.shapes[x]
    c = total // 4
    low, high = [1, c, height, width], [1, 3 * c, height, width]
    axis = net.const(np.array(1, np.int64))
    split = net.add("VariadicSplit", [x, axis, net.ints(c, 3 * c)], low, more=[high])
    bands = net.reshape((split, 1), 1, c, 3, height, width)
    two = net.const(np.array(2, np.int64))
    one = [1, c, 1, height, width]
    parts = net.add("VariadicSplit", [bands, two, net.ints(1, 1, 1)], one, more=[one, one])
    a, b, d = (net.add("Squeeze", [(parts, i), net.ints(2)], low) for i in range(3))
    half = 2**-0.5
    filters = [np.tile(np.array([half, sign * half], np.float32), (c, 1)) for sign in (1, -1)]

    def spread(x, sign, along):
        shape = [c, 1, 1, 2, 1] if along == 2 else [c, 1, 1, 1, 2]
        dims = list(net.shapes[x])
        dims[along] *= 2
        strides = "2, 1" if along == 2 else "1, 2"
        kernel = net.const(filters[sign < 0].reshape(shape))
        return net.add(
            "GroupConvolutionBackpropData",
            [x, kernel],
            dims,
            name=f"ConvTranspose_{next(number)}",
            **{**WINDOW, "strides": strides, "output_padding": "0, 0"},
        )

    def add(a, b, name=None):
        return net.binary("Add", a, b, net.shapes[a], name=name or f"Add_{next(number)}")

    left = add(spread(split, 1, 2), spread(a, -1, 2))
    right = add(spread(b, 1, 2), spread(d, -1, 2))
    return add(spread(left, 1, 3), spread(right, -1, 3), name=name)


def _normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def _leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def _convolve(x, kernel):
    """[N, C, H, W], [O, C, K, K]: zeros beyond the borders."""
    n, _, height, width = x.shape
    pad = kernel.shape[-1] // 2
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    out = np.zeros((n, len(kernel), height, width))
    for i in range(height):
        for j in range(width):
            window = x[:, :, i : i + kernel.shape[-1], j : j + kernel.shape[-1]]
            out[:, :, i, j] = np.einsum("ncij,ocij->no", window, kernel.astype(float))
    return out


def _inverse_haar(x):
    """Channels: the low band, then three high ones for each channel in turn."""
    n, total, height, width = x.shape
    c = total // 4
    out = np.zeros((n, c, 2 * height, 2 * width))
    for k in range(c):
        low, a, b, d = x[:, k], x[:, c + 3 * k], x[:, c + 3 * k + 1], x[:, c + 3 * k + 2]
        out[:, k, ::2, ::2] = (low + a + b + d) / 2
        out[:, k, ::2, 1::2] = (low + a - b - d) / 2
        out[:, k, 1::2, ::2] = (low - a + b - d) / 2
        out[:, k, 1::2, 1::2] = (low - a - b + d) / 2
    return out
