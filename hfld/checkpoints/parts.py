"""What a file holds, in our terms: tensors under our keys, and plain metadata that says how to build them."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hfld.networks import network_class
from hfld.networks.ops import setup_filter


class Part(NamedTuple):
    """One network of a file."""

    network: str  # a name in hfld.networks.NETWORKS
    arguments: dict[str, Any]  # what its constructor is called with
    state: dict[str, Tensor]  # its state_dict
    notes: dict[str, Any] = {}  # noqa: RUF012  what a reader should know, plain values


class Checkpoint(NamedTuple):
    """Tensors and metadata of a file, `tensors, metadata = load(path)`.

    The metadata of a foreign file has "format", "sha256", and "networks": name -> {"network", "arguments",
    ...}; the tensors of a network stand under "<its name>.<key>". A file of `save_network` has one network,
    its tensors under their bare keys.
    """

    tensors: dict[str, Tensor]
    metadata: dict[str, Any]

    @property
    def parts(self) -> dict[str, Part]:
        """The networks by name, for example generator, generator_raw, discriminator; else "network"."""
        if "network" in self.metadata:
            arguments = integer_keys(self.metadata["arguments"])
            return {"network": Part(self.metadata["network"], arguments, self.tensors)}
        return {
            name: Part(
                described["network"],
                integer_keys(described["arguments"]),
                {k.removeprefix(f"{name}."): v for k, v in self.tensors.items() if k.startswith(f"{name}.")},
            )
            for name, described in self.metadata.get("networks", {}).items()
        }


def assemble(parts: Mapping[str, Part], metadata: Mapping[str, Any]) -> Checkpoint:
    """A checkpoint of several networks, each checked to be complete (ValueError names what is not)."""
    fitted = {name: fit(name, part) for name, part in parts.items()}
    tensors = {f"{name}.{key}": value for name, part in fitted.items() for key, value in part.state.items()}
    described = {
        name: {"network": part.network, "arguments": part.arguments, **part.notes}
        for name, part in fitted.items()
    }
    return Checkpoint(tensors, {**metadata, "networks": described})


def fit(name: str, part: Part) -> Part:
    """The part with the shapes of our network, axes of size one added or dropped; nothing missing, nothing
    left."""
    with torch.device("meta"):
        expected = network_class(part.network)(**part.arguments).state_dict()
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
