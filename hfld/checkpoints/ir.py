"""OpenVINO's IR: a graph in an .xml file, its constants in the .bin file beside it.

Format: docs.openvino.ai, "OpenVINO IR format". Refused with the reason, before anything of that size is made:
document types and entities, constants outside the .bin file, element types and operations other than those
below, shapes that do not follow from the operations, sizes beyond MOST.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor

from hfld.checkpoints.budget import Budget
from hfld.checkpoints.parts import Part
from hfld.networks.graph import INPUT, Graph, operation

TYPES = {"f32": np.float32, "f16": np.float16, "i64": np.int64, "i32": np.int32, "i8": np.int8}
LONGEST = 16 << 20
"""Bytes of an .xml file, at most."""
MOST = 1 << 26
"""Numbers in the output of one layer, for one sample, at most."""
FEW = 64
"""Integers in one shape or list of axes, at most."""
BATCH = 3
"""Samples of the trial that shows whether a graph can be run in batches."""


class Layer(NamedTuple):
    """One operation."""

    kind: str
    name: str
    attributes: dict[str, str]
    inputs: list[int]  # ids of layers, in the order of their ports
    dims: list[int]  # of its first output, -1 where it is open


class Model(NamedTuple):
    """The layers of a file by their ids, each after those that it needs, and the bytes of its constants."""

    layers: dict[int, Layer]
    data: bytes

    def constant(self, layer: Layer) -> np.ndarray:
        """The numbers of a layer of kind Const, which `parse` has checked."""
        kind, shape, start, stop = _extent(layer)
        return np.frombuffer(self.data[start:stop], dtype=kind).reshape(shape)


class _Elements(ET.TreeBuilder):
    def doctype(self, *_: Any) -> NoReturn:
        raise ValueError("it declares a document type, which no IR has")


def matches(data: bytes) -> bool:
    """Whether a file that begins so is XML; files of IR are in UTF-8."""
    return data.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"<?xml", b"<net"))


def parse(
    xml: bytes,  # the .xml file
    data: bytes,  # the .bin file
) -> Model:
    """The layers; ValueError names what is wrong."""
    if len(xml) > LONGEST:
        raise ValueError(f"an .xml of {len(xml)} bytes, expected at most {LONGEST}")
    try:
        root = ET.fromstring(xml, parser=ET.XMLParser(target=_Elements()))
    except ET.ParseError as error:
        raise ValueError(f"no XML: {error}") from error
    layers, edges = root.find("layers"), root.find("edges")
    if root.tag != "net" or layers is None or edges is None:
        raise ValueError(f"<{root.tag}>, expected <net> with <layers> and <edges>")
    sources: dict[int, list[tuple[int, int]]] = {}
    for edge in edges:
        source, port, target = (int(edge.attrib[key]) for key in ("from-layer", "to-port", "to-layer"))
        sources.setdefault(target, []).append((port, source))
    model, budget = Model({}, data), Budget(len(data))
    for element in layers:
        number, inputs = int(element.attrib["id"]), sources.get(int(element.attrib["id"]), [])
        layer = _layer(element, [source for _, source in sorted(inputs)])
        if unknown := [source for source in layer.inputs if source not in model.layers]:
            raise ValueError(f"{layer.name}: takes layer {unknown[0]}, which does not stand before it")
        if layer.kind == "Const":
            _check_constant(layer, len(data), budget)
        model.layers[number] = layer
    return model


def _layer(element: ET.Element, inputs: list[int]) -> Layer:
    data, port = element.find("data"), element.find("output/port")
    dims = [] if port is None else [int(dim.text or "") for dim in port.iter("dim")]
    if math.prod(max(dim, 1) for dim in dims) > MOST:
        raise ValueError(f"{element.get('name')}: {dims} are more than {MOST} numbers")
    return Layer(
        kind=element.attrib["type"],
        name=element.get("name", ""),
        attributes={} if data is None else dict(data.attrib),
        inputs=inputs,
        dims=dims,
    )


def _extent(layer: Layer) -> tuple[type[np.generic], list[int], int, int]:
    """Element type, shape, first byte and the one behind the last."""
    kind = layer.attributes["element_type"]
    if kind not in TYPES:
        raise ValueError(f"{layer.name}: element type {kind!r}, expected one of {', '.join(TYPES)}")
    start, size = int(layer.attributes["offset"]), int(layer.attributes["size"])
    return TYPES[kind], _integers(layer.attributes.get("shape", "")), start, start + size


def _check_constant(layer: Layer, available: int, budget: Budget) -> None:
    kind, shape, start, stop = _extent(layer)
    if min(shape, default=1) < 0 or math.prod(shape) * np.dtype(kind).itemsize != stop - start:
        raise ValueError(f"{layer.name}: {stop - start} bytes for shape {shape} of {kind.__name__}")
    if start < 0 or stop > available:
        raise ValueError(f"{layer.name}: bytes {start} to {stop} of a .bin file of {available}")
    budget.spend(stop - start)


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part.strip()]


def read(model: Model) -> Part:
    """A Graph: shape arithmetic done, constants folded, run once without numbers.

    A graph for one sample becomes one for batches; ValueError where it mixes samples, and for what cannot be
    read.
    """
    return _Reading(model).part()


class _Reading:
    """Layer by layer, with the shapes that follow. Tensors are constants or, on the meta device, what the
    graph computes; arrays are shapes and axes, known once and for all.
    """

    def __init__(self, model: Model) -> None:
        self.model, self.budget = model, Budget(len(model.data))
        self.values: dict[int, Tensor | np.ndarray] = {}
        self.names: dict[int, str] = {}  # of what the graph computes
        self.nodes: list[dict[str, Any]] = []
        self.constants: dict[str, Tensor] = {}
        self.outputs: list[str] = []
        self.shape: list[int] | None = None

    def part(self) -> Part:
        for number, layer in self.model.layers.items():
            try:
                self._add(number, layer)
            except Exception as error:
                raise ValueError(f"{layer.name} ({layer.kind}): {error}") from error
        if self.shape is None or not self.outputs:
            raise ValueError("no Parameter or no Result, expected one input and outputs")
        arguments = {
            "nodes": self.nodes,
            "outputs": self.outputs,
            "shape": self.shape,
            "constants": {name: list(value.shape) for name, value in self.constants.items()},
        }
        with torch.device("meta"):
            made = Graph(**arguments)(torch.empty(BATCH, *self.shape))
        if not all(value.shape[:1] == (BATCH,) for value in made):
            raise ValueError("it mixes the samples of a batch")
        return Part("Graph", arguments, self.constants)

    def _add(self, number: int, layer: Layer) -> None:
        if layer.kind == "Parameter":
            self._take_input(number, layer)
        elif layer.kind == "Result":
            self.outputs.append(self._name(layer.inputs[0]))
        else:
            value = self._value(number, layer)
            found, declared = list(value.shape), layer.dims
            if len(found) != len(declared) or any(
                d not in (-1, f) for d, f in zip(declared, found, strict=True)
            ):
                raise ValueError(f"declares {declared}, but makes {found}")
            self.values[number] = value

    def _take_input(self, number: int, layer: Layer) -> None:
        if self.shape is not None:
            raise ValueError("a second input, expected one")
        if layer.dims[:1] not in ([1], [-1]) or min(layer.dims[1:], default=0) < 1:
            raise ValueError(f"an input of shape {layer.dims}, expected [batch, ...]")
        self.shape, self.names[number] = layer.dims[1:], INPUT
        self.values[number] = torch.empty(1, *self.shape, device="meta")

    def _value(self, number: int, layer: Layer) -> Tensor | np.ndarray:
        inputs = [self.values[source] for source in layer.inputs]
        if layer.kind == "Const":
            array = self.model.constant(layer)
            if array.dtype in (np.int64, np.int32):
                return _few(array.astype(np.int64))
            self.budget.spend(4 * array.size)
            return torch.from_numpy(array.astype(np.float32))
        if layer.kind == "ShapeOf":
            return np.array(inputs[0].shape, dtype=np.int64)
        if all(isinstance(value, np.ndarray) for value in inputs):
            return _few(_arithmetic(layer, inputs))
        return self._compute(number, layer, inputs)

    def _compute(self, number: int, layer: Layer, inputs: list[Tensor | np.ndarray]) -> Tensor:
        function = operation(layer.kind)
        arguments = _arguments(layer, inputs)
        tensors = inputs if layer.kind in _ALL_INPUTS else inputs[: 1 if layer.kind in _ONE_INPUT else 2]
        if not all(isinstance(value, Tensor) for value in tensors):
            raise ValueError("it takes integers where numbers are expected")
        made = function(*(value.to("meta") for value in tensors), **arguments)
        if made.numel() > MOST:
            raise ValueError(f"makes {list(made.shape)}, more than {MOST} numbers")
        if layer.kind in _FOLDED and not any(value.is_meta for value in tensors):
            self.budget.spend(4 * made.numel())
            return function(*tensors, **arguments)
        sources = [self._name(source) for source in layer.inputs[: len(tensors)]]
        self.names[number] = f"n{number}"
        self.nodes.append({"name": f"n{number}", "op": layer.kind, "inputs": sources, **arguments})
        return made

    def _name(self, number: int) -> str:
        """Of a value in the graph; a constant gets one when it is first used."""
        if number not in self.names:
            self.names[number] = f"c{number}"
            self.constants[f"c{number}"] = self.values[number].contiguous()
        return self.names[number]


_ALL_INPUTS = {"Concat"}
_ONE_INPUT = {
    *(
        "AvgPool",
        "Convert",
        "MaxPool",
        "Pad",
        "ReLU",
        "ReduceMean",
        "Reshape",
        "SoftMax",
        "Transpose",
        "Unsqueeze",
    )
}
"""Their other inputs are arguments."""
_FOLDED = {"Add", "Convert", "Multiply", "Reshape", "Subtract", "Transpose", "Unsqueeze"}
"""Done once where all inputs are constants."""


def _few(array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)  # numpy makes scalars of arrays without axes
    if array.size > FEW:
        raise ValueError(f"{array.size} integers, expected at most {FEW}")
    return array


def _arithmetic(layer: Layer, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Of shapes."""
    match layer.kind, *inputs:
        case "Subtract", a, b:
            return a - b
        case "Concat", *parts:
            return np.concatenate(parts)
        case "Unsqueeze", x, axes:
            return np.expand_dims(x, tuple(axes))
        case "Squeeze", x, *axes:
            return np.squeeze(x, tuple(axes[0]) if axes else None)
        case "Gather", x, places, axis:
            return np.take(x, places, axis=int(axis))
        case "Broadcast", x, shape:
            return np.broadcast_to(x, shape)
        case "Range", start, stop, step:
            numbers = range(int(start), int(stop), int(step))
            return np.array(numbers[: FEW + 1], dtype=np.int64)
    raise ValueError("no arithmetic of shapes that is known")


def _arguments(layer: Layer, inputs: Sequence[Tensor | np.ndarray]) -> dict[str, Any]:
    """What the function in hfld.networks.graph is called with beside its tensors."""
    given = layer.attributes
    match layer.kind:
        case "Convolution" | "GroupConvolution":
            return {**_window(given), "dilations": _integers(given["dilations"])}
        case "MaxPool":
            _expect(given, rounding_type="floor")
            if set(_integers(given.get("dilations", ""))) - {1}:
                raise ValueError(f"dilations {given['dilations']}, expected 1")
            return {**_window(given), "kernel": _integers(given["kernel"])}
        case "AvgPool":
            window = _window(given)
            _expect(given, rounding_type="floor")
            if any(window["begin"]) or any(window["end"]) or window["auto_pad"] == "same_upper":
                raise ValueError("averages over padding, which is not known here")
            return {"kernel": _integers(given["kernel"]), "strides": window["strides"]}
        case "Pad":
            _expect(given, pad_mode="constant")
            value = inputs[3].item() if len(inputs) > 3 else 0.0
            return {"begin": inputs[1].tolist(), "end": inputs[2].tolist(), "value": value}
        case "Reshape":
            return {"shape": _target(inputs[0], inputs[1].tolist(), given.get("special_zero") == "true")}
        case "Transpose":
            return {"order": inputs[1].tolist()}
        case "Unsqueeze":
            return {"axes": inputs[1].tolist()}
        case "ReduceMean":
            return {"axes": np.atleast_1d(inputs[1]).tolist(), "keep_dims": given["keep_dims"] == "true"}
        case "Concat" | "SoftMax":
            return {"axis": int(given["axis"])}
        case "MatMul":
            return {key: given[key] == "true" for key in ("transpose_a", "transpose_b")}
        case "Convert":
            _expect(given, destination_type="f32")
        case "Add" | "Multiply" | "Power" | "Subtract":
            _expect(given, auto_broadcast="numpy")
    return {}


def _window(given: dict[str, str]) -> dict[str, Any]:
    window = {
        "strides": _integers(given["strides"]),
        "begin": _integers(given["pads_begin"]),
        "end": _integers(given["pads_end"]),
    }
    if given["auto_pad"] not in ("explicit", "valid", "same_upper") or any(
        len(v) != 2 for v in window.values()
    ):
        raise ValueError(f"a window of {given}, expected one in two dimensions")
    return {**window, "auto_pad": given["auto_pad"]}


def _target(x: Tensor, shape: list[int], keeps: bool) -> list[int]:
    """The shape of a Reshape; a first axis that is the batch stays so in batches of any size."""
    if 0 in shape and not keeps:
        raise ValueError(f"an empty shape {shape}")
    computed = x.is_meta and x.shape[:1] == (1,)
    return [0, *shape[1:]] if computed and shape[:1] in ([1], [-1]) else shape


def _expect(given: dict[str, str], **values: str) -> None:
    for key, value in values.items():
        if given.get(key, value) != value:
            raise ValueError(f"{key} {given[key]!r}, expected {value!r}")
