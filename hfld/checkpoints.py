"""Weights on disk: tensors and plain JSON in safetensors files, never a pickle."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hfld.networks import network_class

FETCH = "make data"
_KEY = "hfld"  # one header entry: the order of several is not stable, and files should be equal to the byte


def save(path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header, to a temporary file first: nothing half-written carries the name."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    stored = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
    save_file(stored, str(temporary), metadata={_KEY: json.dumps(metadata, sort_keys=True)})
    temporary.chmod(0o644)  # safetensors makes files that only their owner can read
    temporary.replace(path)


def load(path: Path | str, *, command: str = FETCH) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (as stored) and metadata. `command` is what the error tells the reader to run."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; `{command}` makes or fetches it")
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            metadata = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{path} is damaged or not a safetensors file ({error}); delete it and run `{command}`"
        ) from error


def save_network(
    path: Path | str,
    network: nn.Module,  # of a class in hfld.networks.NETWORKS
    arguments: Mapping[str, Any],  # what its constructor was called with
    metadata: Mapping[str, Any],  # how it was trained, scores: plain values
    *,
    half: bool = True,  # store matrices and kernels in fp16; vectors (biases, norms) stay as they are
) -> None:
    """Save a network so that `load_network` can build it again."""
    name = type(network).__name__
    network_class(name)
    tensors = {key: _half(tensor) if half else tensor for key, tensor in network.state_dict().items()}
    save(path, tensors, {**metadata, "network": name, "arguments": dict(arguments)})


def load_network(path: Path | str, device: torch.device | str = "cpu", *, command: str = FETCH) -> nn.Module:
    """The network in `path`: float32, in eval mode, frozen."""
    tensors, metadata = load(path, command=command)
    if "network" not in metadata:
        raise ValueError(f"{path} holds no network (its header names none)")
    network = network_class(metadata["network"])(**_integer_keys(metadata["arguments"]))
    tensors = {
        key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()
    }
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {metadata['network']}; run `{command}`: {error}") from error
    return network.to(device).eval().requires_grad_(False)


def load_metadata(path: Path | str, *, command: str = FETCH) -> dict[str, Any]:
    """The JSON header alone."""
    return load(path, command=command)[1]


def sha256(path: Path | str) -> str:
    """Hex digest of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _half(tensor: Tensor) -> Tensor:
    fits = (
        tensor.is_floating_point() and tensor.ndim >= 2 and tensor.abs().max() < torch.finfo(torch.half).max
    )
    return tensor.half() if fits else tensor


def _integer_keys(value: Any) -> Any:
    """JSON makes {64: 32} into {"64": 32}; channel tables need their integers back."""
    if not isinstance(value, dict):
        return value
    return {int(key) if key.isdigit() else key: _integer_keys(item) for key, item in value.items()}
