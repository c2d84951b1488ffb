"""NVIDIA's PyTorch pickles: StyleGAN2-ADA, and the StyleGAN2 networks of the StyleGAN3 repository.

A pickled dict of G, D and G_ema, each a module whose class comes as source code beside its attributes. The
attributes are read, the source is not. A generator of StyleGAN3-T or -R has other layers: it is left out with
the reason, while its discriminator, which is StyleGAN2's, is read.

Layer for layer the arithmetic is ours: weights of upsampling convolutions are stored as a transposed
convolution uses them, and `conv_clamp` (networks trained in half precision) bounds activations.
"""

from typing import Any

from torch import Tensor

from hfld.checkpoints import stylegan2
from hfld.checkpoints.parts import Part, Unread, check_filter, rename
from hfld.checkpoints.pickles import Record, brief, short, typed
from hfld.checkpoints.torchfiles import MOST, tensors

NAMES = {"G_ema": "generator", "G": "generator_raw", "D": "discriminator"}
WHOLE = 1 << 12  # a group of the minibatch's deviation that is larger than any batch: all of it


def _conv(side: str, index: str) -> str:
    """b4 has conv1 only; every further block conv0 (upsampling) and conv1."""
    return f"synthesis.convs.{2 * stylegan2.level(side) - 1 + int(index)}"


_GENERATOR = (
    (r"mapping\.w_avg", lambda: "w_avg"),
    (r"mapping\.fc(\d+)\.(weight|bias)", lambda i, x: f"mapping.layers.{i}.{x}"),
    (r"synthesis\.b4\.const", lambda: "synthesis.constant"),
    (r"synthesis\.b(\d+)\.conv([01])\.affine\.(weight|bias)", lambda s, i, x: f"{_conv(s, i)}.style.{x}"),
    (r"synthesis\.b(\d+)\.conv([01])\.noise_const", lambda s, i: f"{_conv(s, i)}.noise"),
    (r"synthesis\.b(\d+)\.conv([01])\.(weight|bias|noise_strength)", lambda s, i, x: f"{_conv(s, i)}.{x}"),
    (
        r"synthesis\.b(\d+)\.torgb\.affine\.(weight|bias)",
        lambda s, x: f"synthesis.to_rgbs.{stylegan2.level(s)}.style.{x}",
    ),
    (r"synthesis\.b(\d+)\.torgb\.(weight|bias)", lambda s, x: f"synthesis.to_rgbs.{stylegan2.level(s)}.{x}"),
)


_DISCRIMINATOR = {
    "from_rgb": r"b\d+\.fromrgb\.",
    "conv1": r"b(\d+)\.conv0\.",
    "conv2": r"b(\d+)\.conv1\.",
    "skip": r"b(\d+)\.skip\.",
    "conv": r"b4\.conv\.",
    "dense": r"b4\.fc\.",
    "out": r"b4\.out\.",
}


def matches(value: Any) -> bool:
    """Whether `value` is such a pickle's object."""
    return isinstance(value, dict) and any(isinstance(value.get(name), Record) for name in NAMES)


def read(value: dict[str, Any]) -> dict[str, Part | Unread]:
    """The networks of a pickle: generator (G_ema), generator_raw (G), discriminator (D)."""
    readers = {"generator": _generator, "generator_raw": _generator, "discriminator": _discriminator}
    return {
        ours: readers[ours](value[theirs])
        for theirs, ours in NAMES.items()
        if isinstance(value.get(theirs), Record)
    }


def _modules(record: Record) -> dict[str, Record]:
    """All modules below `record` by their dotted names, itself under ""."""
    found: dict[str, Record] = {}
    todo = [("", record)]
    while todo:
        path, module = todo.pop()
        found[path] = module
        children = _entries(module, "_modules")
        if len(found) + len(todo) + len(children) > MOST:
            raise ValueError(f"more than {MOST} modules")
        todo += [(_join(path, name), child) for name, child in children.items() if isinstance(child, Record)]
    return found


def _entries(module: Record, kind: str) -> dict[str, Any]:
    """Parameters, buffers or modules of a module; the same ones may stand in a thousand."""
    entries = typed(dict, module.state.get(kind, {}))
    if len(entries) > MOST:
        raise ValueError(f"{len(entries)} {kind.removeprefix('_')} of one module, expected at most {MOST}")
    return entries


def _join(path: str, name: Any) -> str:
    return short(f"{path}.{short(name)}".removeprefix("."))


def _tensors(modules: dict[str, Record]) -> dict[str, Tensor]:
    """Parameters and buffers by their dotted names, without the filters, which are checked."""
    stored = {}
    for path, module in modules.items():
        for name, value in {**_entries(module, "_parameters"), **_entries(module, "_buffers")}.items():
            if value is not None:
                stored[_join(path, name)] = value
    found = tensors(stored)
    for key, value in found.items():
        if key.endswith("resample_filter"):
            check_filter(key, value)
    return {key: value for key, value in found.items() if not key.endswith("resample_filter")}


def _values(modules: dict[str, Record], attribute: str, *, under: str = "") -> set[Any]:
    """The different values of an attribute: numbers, text or None."""
    values = [
        module.state[attribute]
        for path, module in modules.items()
        if attribute in module.state and path.startswith(under)
    ]
    if not all(isinstance(value, str | int | float | None) for value in values):
        raise ValueError(f"{attribute} is no plain value")
    return set(values)


def _expect(modules: dict[str, Record], attribute: str, expected: Any, *, under: str = "") -> None:
    """ValueError unless every module that has the attribute has this value."""
    if other := _values(modules, attribute, under=under) - {expected}:
        raise ValueError(f"{attribute} is {brief(other.pop())}; only {expected!r} can be read")


def _clamp(modules: dict[str, Record]) -> float | None:
    """The one `conv_clamp` of all layers; the residual shortcut has none whatever the others have."""
    layers = {path: module for path, module in modules.items() if not path.endswith("skip")}
    values = _values(layers, "conv_clamp")
    if len(values) > 1:
        raise ValueError("conv_clamp differs between layers, expected one for all")
    return values.pop() if values else None


def _generator(record: Record) -> Part | Unread:
    modules = _modules(record)
    if "synthesis.b4" not in modules:
        kind = short(modules.get("synthesis.input", record).kind)
        return Unread(f"a generator with {kind}, not StyleGAN2's; only StyleGAN2 can be read")
    for attribute, expected in (("c_dim", 0), ("img_channels", 3), ("use_noise", True)):
        _expect(modules, attribute, expected)
    _expect(modules, "architecture", "skip")
    for under in ("mapping.fc", "synthesis.b4.conv1"):
        _expect({k: v for k, v in modules.items() if "affine" not in k}, "activation", "lrelu", under=under)
    state = rename(_tensors(modules), _GENERATOR)
    rates = _values(modules, "bias_gain", under="mapping.fc")
    if len(rates) != 1:
        raise ValueError(f"mapping: {len(rates)} learning rate multipliers, expected one for all layers")
    arguments = {"mapping_lr": float(rates.pop()), "clamp": _clamp(modules)}
    return Part("Generator", stylegan2.generator_arguments(state) | arguments, state)


def _discriminator(record: Record) -> Part:
    modules = _modules(record)
    for attribute, expected in (("c_dim", 0), ("img_channels", 3), ("architecture", "resnet")):
        _expect(modules, attribute, expected)
    for under in ("b4.conv", "b4.fc"):
        _expect(modules, "activation", "lrelu", under=under)
    _expect(modules, "num_channels", 1, under="b4.mbstd")
    rules = stylegan2.discriminator_rules(typed(int, record.state["img_resolution"]), _DISCRIMINATOR)
    state = rename(_tensors(modules), rules)
    group = modules["b4.mbstd"].state["group_size"]
    arguments = {"group": WHOLE if group is None else typed(int, group), "clamp": _clamp(modules)}
    return Part("Discriminator", stylegan2.discriminator_arguments(state) | arguments, state)
