"""Weights on disk. Ours: tensors and plain JSON in safetensors files. Others': official formats, read without
ever running code from a file.

    tensors, metadata = load("stylegan2-ffhq-config-f.pkl")
    generator = load_network("stylegan2-ffhq-config-f.pkl", part="generator")

`load` tells formats by content:

    our own safetensors files
    nvidia       StyleGAN2-ADA's and StyleGAN3's pickles of StyleGAN2 networks (PyTorch)
    tensorflow   StyleGAN2's original pickles, config-e and -f
    rosinality   checkpoints of the PyTorch StyleGAN2 that the baseline edits
    torchvision  state dicts of ResNet-18, -34, -50 and VGG-19
    latent2im, interfacegan  the baseline's T (.ckpt), boundaries (.npy)

Foreign networks come under the keys of hfld.networks, so that `save(path, *load(foreign))` makes a file of
our own, quicker to read.

By design it cannot read, and says so: generators of StyleGAN3-T and -R (the discriminator in their files can
be read), conditional networks (c_dim or label_size other than 0), StyleGAN2's configs a to d, architectures
other than "skip" for G and "resnet" for D, filters other than 1 3 3 1, sides beyond 1024 px.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hfld.checkpoints import nvidia, plain, rosinality, tensorflow, torchfiles
from hfld.checkpoints.checksums import compare, remember
from hfld.checkpoints.parts import Checkpoint, Part, assemble, blank
from hfld.checkpoints.pickles import Refused
from hfld.images import replacing, sha256
from hfld.networks import network_class

__all__ = [
    "Checkpoint",
    "Part",
    "Refused",
    "load",
    "load_metadata",
    "load_network",
    "save",
    "save_network",
    "sha256",
]

_KEY = "hfld"  # one header entry: the order of several is not stable, and files should be equal to the byte


def save(path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write tensors and a JSON header."""
    stored = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
    with replacing(Path(path)) as temporary:
        save_file(stored, str(temporary), metadata={_KEY: json.dumps(metadata, sort_keys=True)})
        temporary.chmod(0o644)  # safetensors makes files that only their owner can read


def load(path: Path | str, *, digest: str | None = None) -> Checkpoint:
    """Tensors (as stored) and metadata of a file of any known format; `.parts` are its networks.

    digest: the file's sha256, or its first digits, where it is known. Foreign files are also compared with
        what the checksums.json beside them says, and recorded there when they are new.
    Raises FileNotFoundError; Refused (a ValueError) where a pickle wants anything beyond the known formats,
    of which nothing was run; ValueError, naming it, for a damaged or unknown file, or one that makes far more
    than its own size (`budget`).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; `{maker(path)}` makes or fetches it")
    own = _is_safetensors(path)
    data = b"" if own else path.read_bytes()  # once: what is compared is what is read
    found = sha256(path if own and digest else data)
    if digest or not own:
        compare(path, found, digest)
    try:
        if own:
            return _load_own(path)
        value = _decode(data)
    except Refused as error:
        raise Refused(f"{path} wants {error}, which no known format needs; nothing of it was run") from error
    except Exception as error:  # a damaged file may trip over anything
        raise ValueError(
            f"{path} is damaged or of no known format ({error}); delete it and run `{maker(path)}`"
        ) from error
    try:
        checkpoint = _understand(value)
    except Exception as error:
        reason = error if isinstance(error, ValueError) else f"damaged, {type(error).__name__} {error}"
        raise ValueError(f"{path}: {reason}") from error
    remember(path, found)
    return checkpoint._replace(metadata={**checkpoint.metadata, "sha256": found})


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


def load_network(
    path: Path | str,
    device: torch.device | str = "cpu",
    *,
    part: str | None = None,  # which network, where the file has several: generator, discriminator, ...
    arguments: Mapping[str, Any] | None = None,  # constructor arguments that the file does not know
    digest: str | None = None,  # as in `load`
) -> nn.Module:
    """The network in `path`: float32, in eval mode, frozen.

    `arguments` declares what only its maker knows, for example {"sigmoid": True} for a ResNet whose outputs
    become probabilities by a sigmoid. Raises as `load` does, and ValueError where the tensors do not fit.
    """
    chosen = _choose(path, load(path, digest=digest), part)
    chosen = chosen._replace(arguments={**chosen.arguments, **(arguments or {})})
    tensors = {
        key: tensor.float() if tensor.is_floating_point() else tensor for key, tensor in chosen.state.items()
    }
    try:
        # on the meta device first: the sizes in a damaged header may be beyond all memory
        blank(chosen).load_state_dict(tensors, assign=True)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} does not fit {chosen.network}; run `{maker(path)}`: {error}") from error
    network = network_class(chosen.network)(**chosen.arguments)
    network.load_state_dict(tensors)
    return network.to(device).eval().requires_grad_(False)


def load_metadata(path: Path | str) -> dict[str, Any]:
    """The metadata alone."""
    return load(path).metadata


def maker(path: Path | str) -> str:
    """The command that makes or fetches a file of weights, told by its name and place."""
    path = Path(path)
    *_, above, folder, name = ("", "", *path.parts)
    if name.startswith("editor_"):
        return "make benchmark"
    if name.startswith("directions_") or name == "landmarks.safetensors":
        return "make repro"
    if "pretrain" in (above, folder):
        return "make pretrain"
    if folder == "official":
        return "make fetch"
    if "ffhq" in folder:
        return f"make photographs PROFILES={folder}"
    return "python -m pretrain.smoke" if folder == "smoke" else "make data"


def _choose(path: Path | str, checkpoint: Checkpoint, part: str | None) -> Part:
    parts, unread = checkpoint.parts, checkpoint.unread
    if not parts:
        raise ValueError(f"{path} holds no network (its header names none)")
    if part is None and len(parts) == 1 and not unread:
        (part,) = parts
    if part in unread:
        raise ValueError(f"{path}: {part}: {unread[part]}")
    if part not in parts:
        raise ValueError(f"part: {part!r}, expected one of {sorted(parts)} of {path}")
    return parts[part]


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of length, then JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    return head[4:] == b"\0\0\0\0{"


def _load_own(path: Path) -> Checkpoint:
    with safe_open(str(path), framework="pt", device="cpu") as file:
        metadata = json.loads((file.metadata() or {}).get(_KEY, "{}"))
        if not isinstance(metadata, dict):
            raise ValueError(f"its header is a {type(metadata).__name__}, expected a dict")
        checkpoint = Checkpoint({key: file.get_tensor(key) for key in file.keys()}, metadata)  # noqa: SIM118
    _ = checkpoint.parts, checkpoint.unread  # ValueError where the header is damaged
    return checkpoint


def _decode(data: bytes) -> Any:
    """A numpy array, or the object in a torch file or pickle."""
    return plain.array(data) if data.startswith(b"\x93NUMPY") else torchfiles.read(data)


def _understand(value: Any) -> Checkpoint:
    """Which format it is, told by what is in it."""
    for name, layout in (("rosinality", rosinality), ("nvidia", nvidia), ("tensorflow", tensorflow)):
        if layout.matches(value):
            return assemble(layout.read(value), {"format": name})
    if isinstance(value, np.ndarray):
        return Checkpoint({"boundary": plain.boundary(value)}, {"format": "interfacegan"})
    if plain.is_walk(value):
        return Checkpoint({"T": plain.walk(value)}, {"format": "latent2im"})
    state = plain.state_dict(value)
    if plain.is_resnet(state):
        return assemble({"network": plain.resnet(state)}, {"format": "torchvision"})
    if plain.is_vgg19(state):
        return assemble({"network": plain.vgg19(state)}, {"format": "torchvision"})
    raise ValueError(f"holds a {type(value).__name__} without the keys of a network that is known")


def _half(tensor: Tensor) -> Tensor:
    fits = (
        tensor.is_floating_point() and tensor.ndim >= 2 and tensor.abs().max() < torch.finfo(torch.half).max
    )
    return tensor.half() if fits else tensor
