"""What a file holds, in our terms: tensors under our keys, and plain metadata that says how to build them."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from hfld.networks import network_class
from hfld.networks.ops import setup_filter

LARGEST = 1 << 16
"""A size or width, at most."""


class Part(NamedTuple):
    """One network of a file."""

    network: str  # a name in hfld.networks.NETWORKS
    arguments: dict[str, Any]  # what its constructor is called with
    state: dict[str, Tensor]  # its state_dict
    notes: dict[str, Any] = {}  # noqa: RUF012  what a reader should know, plain values


class Unread(NamedTuple):
    """A network of a file that is of another design: the others are read all the same."""

    reason: str


class Checkpoint(NamedTuple):
    """Tensors and metadata of a file, `tensors, metadata = load(path)`.

    The metadata of a foreign file has "format", "sha256", and "networks": name -> {"network", "arguments",
    ...}; the tensors of a network stand under "<its name>.<key>". A file of `save_network` has one network,
    its tensors under their bare keys. "unread" has a reason for each network that cannot be read.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]

    @property
    def parts(self) -> dict[str, Part]:
        """The networks by name, for example generator, generator_raw, discriminator; else "network".

        ValueError where the metadata, of a damaged file, describe none.
        """
        if "network" in self.metadata:
            return {"network": _part("network", self.metadata, self.tensors)}
        networks = _expect("networks", self.metadata.get("networks", {}), dict)
        states: dict[str, dict[str, Tensor]] = {name: {} for name in networks}
        for key, value in self.tensors.items():
            name, _, rest = key.partition(".")
            if name in states:
                states[name][rest] = value
        return {name: _part(name, networks[name], state) for name, state in states.items()}

    @property
    def unread(self) -> dict[str, str]:
        """Networks of the file that are of another design, with the reason."""
        return _expect("unread", self.metadata.get("unread", {}), dict)


def _part(name: str, described: Any, state: dict[str, Tensor]) -> Part:
    described = _expect(name, described, dict)
    network = _expect(f"{name}: network", described.get("network"), str)
    arguments = _expect(f"{name}: arguments", described.get("arguments"), dict)
    return Part(network, integer_keys(arguments), state)


def _expect(what: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{what}: got a {type(value).__name__}, expected a {kind.__name__}")
    return value


def assemble(parts: Mapping[str, Part | Unread], metadata: Mapping[str, Any]) -> Checkpoint:
    """A checkpoint of several networks, each checked to be complete (ValueError names what is not)."""
    unread = {name: part.reason for name, part in parts.items() if isinstance(part, Unread)}
    if unread and len(unread) == len(parts):
        raise ValueError(next(iter(unread.values())))
    fitted = {name: fit(name, part) for name, part in parts.items() if isinstance(part, Part)}
    tensors = {f"{name}.{key}": value for name, part in fitted.items() for key, value in part.state.items()}
    described = {
        name: {"network": part.network, "arguments": part.arguments, **part.notes}
        for name, part in fitted.items()
    }
    left_out = {"unread": unread} if unread else {}
    return Checkpoint(tensors, {**metadata, "networks": described, **left_out})


def blank(part: Part) -> nn.Module:
    """The network of a part without its numbers, on the meta device, which takes no memory.

    ValueError where the arguments, of a damaged file, build none.
    """
    kind = network_class(part.network)
    for key, value in part.arguments.items():
        # layers without numbers take time all the same
        most = len(part.state) if key == "mapping_layers" else LARGEST
        if isinstance(value, int) and value > most:
            raise ValueError(f"{key}: got more than {most}, which its tensors cannot fill")
    try:
        with torch.device("meta"):
            return kind(**part.arguments)
    except ImportError:  # an extra that is not installed
        raise
    except Exception as error:  # values of any kind may trip over anything
        raise ValueError(f"no {part.network} can be built of {sorted(part.arguments)}: {error}") from error


def fit(name: str, part: Part) -> Part:
    """The part with the shapes of our network, axes of size one added or dropped; nothing missing, nothing
    left."""
    expected = blank(part).state_dict()
    if missing := sorted(expected.keys() - part.state.keys()):
        raise ValueError(f"{name}: {missing[0]} is missing ({len(missing)} tensors in all)")
    if unknown := sorted(part.state.keys() - expected.keys()):
        raise ValueError(f"{name}: {unknown[0]} has no place ({len(unknown)} tensors in all)")
    state = {}
    for key, like in expected.items():
        value = part.state[key]
        if [side for side in value.shape if side != 1] != [side for side in like.shape if side != 1]:
            raise ValueError(f"{name}: {key} has shape {tuple(value.shape)}, expected {tuple(like.shape)}")
        state[key] = value.reshape(like.shape)
    return part._replace(state=state)


Rule = tuple[str, Callable[..., str]]
"""A pattern for a whole key, and a function of its groups to our key."""


def rename(tensors: Mapping[str, Tensor], rules: Iterable[Rule]) -> dict[str, Tensor]:
    """Tensors under our keys; ValueError names the first key that no rule knows."""
    renamed = {}
    for key, value in tensors.items():
        for pattern, ours in rules:
            if match := re.fullmatch(pattern, key):
                renamed[ours(*match.groups())] = value
                break
        else:
            raise ValueError(f"{key} is not known in this format")
    return renamed


def check_filter(key: str, kernel: Tensor) -> None:
    """ValueError unless a stored low-pass is, up to its gain, the one that our networks use."""
    if kernel.shape != (4, 4) or not torch.allclose(kernel / kernel.sum(), setup_filter(), atol=1.0e-6):
        raise ValueError(f"{key}: a filter other than 1 3 3 1, the only one that can be read")


def integer_keys(value: Any) -> Any:
    """JSON makes {64: 32} into {"64": 32}; channel tables need their integers back."""
    if not isinstance(value, dict):
        return value
    return {int(key) if str(key).isdigit() else key: integer_keys(item) for key, item in value.items()}
