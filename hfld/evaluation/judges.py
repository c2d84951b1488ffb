"""Independent judges, and the one function that reads images with all of them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hfld.attributes import ATTRIBUTES, EMOTIONS
from hfld.checkpoints import load_network
from hfld.config import Profile
from hfld.images import sha256
from hfld.models import pick_device
from hfld.networks.resized import resized

LANDMARKS = 106
Context = Callable[[], AbstractContextManager]
"""What a network runs under; hfld.models.autocast makes them."""


@dataclass(frozen=True)
class Readings:
    """What the judges read in N images; a reading that failed (no face found) is NaN."""

    scores: np.ndarray  # [N, 40] probabilities
    emotions: np.ndarray  # [N, 7] percent
    landmarks: np.ndarray  # [N, 106, 2] (x, y) / side
    identity: np.ndarray  # [N, E] embedding

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index) -> "Readings":
        return Readings(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    @staticmethod
    def concatenate(parts: "list[Readings]") -> "Readings":
        names = [field.name for field in fields(Readings)]
        return Readings(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True)
class Judges:
    """Networks that take images [N, 3, H, W] in [-1, 1].

    Tables are made with `attributes`, `emotion`, `landmarks` and `identity`; `tuning` is the second
    attribute judge, used only in the search for matched strengths. None of them may be a network that
    trained the directions.
    """

    attributes: nn.Module  # -> [N, 40] probabilities
    tuning: nn.Module  # -> [N, 40] probabilities
    emotion: nn.Module  # -> [N, 7] percent
    landmarks: nn.Module  # -> [N, 212] or [N, 106, 2]
    identity: nn.Module  # -> [N, E]

    @classmethod
    def of(cls, profile: Profile) -> "Judges":
        """A profile's judges. Photographs: attributes and landmarks are read at the size of their networks,
        emotions and identity as DeepFace reads them, in the face that its detector finds if there is one.
        """
        world = profile.world
        judges = cls.load(profile.paths.world, pick_device(world.device))
        if world.kind == "portraits":
            for judge in judges.named().values():
                judge.to(memory_format=torch.channels_last)  # the layout in which a CPU convolves fastest
            return judges
        from hfld.photos.judges import as_deepface

        return cls(
            attributes=resized(judges.attributes, world.read_at),
            tuning=resized(judges.tuning, world.read_at),
            emotion=as_deepface(judges.emotion, detector=world.detector),
            landmarks=resized(judges.landmarks, world.read_at),
            identity=as_deepface(judges.identity, detector=world.detector),
        )

    @classmethod
    def load(
        cls,
        folder: Path,
        device: torch.device | str = "cpu",
    ) -> "Judges":
        """The five judges from `folder` (profile.paths.world)."""
        files = {field.name: f"judge_{field.name}.safetensors" for field in fields(cls)}
        files["tuning"] = "judge_attributes_tuning.safetensors"
        networks = {name: load_network(Path(folder) / file, device=device) for name, file in files.items()}
        return cls(**networks)

    def named(self) -> dict[str, nn.Module]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def measure(self, images: Tensor, context: Context = nullcontext) -> Readings:
        """Read a batch of images with the judges of the tables."""
        landmarks = read(self.landmarks, images)  # always float32: drifts are smaller than bfloat16's steps
        readings = {
            "scores": read(self.attributes, images, context),
            "emotions": read(self.emotion, images, context),
            "landmarks": landmarks.reshape(len(images), LANDMARKS, 2),
            "identity": read(self.identity, images, context).flatten(1),
        }
        if readings["scores"].shape[1] != len(ATTRIBUTES) or readings["emotions"].shape[1] != len(EMOTIONS):
            found = {name: tuple(value.shape) for name, value in readings.items()}
            raise ValueError(f"judges must read [N, 40] scores and [N, 7] emotions; got {found}")
        return Readings(**{name: value.float().cpu().numpy() for name, value in readings.items()})


@torch.inference_mode()
def read(network: nn.Module, images: Tensor, context: Context = nullcontext) -> Tensor:
    """network(images) in float32, under `context`, with its last linear layer outside of it."""
    with exact_head(network), context():
        return network(images).float()


@contextmanager
def exact_head(network: nn.Module) -> Iterator[None]:
    """Keep the last linear layer in float32: bfloat16 outputs have steps of 1/256, more than many side
    effects.
    """
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    handle = linear[-1].register_forward_hook(_in_float32) if linear else None
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


def _in_float32(linear: nn.Linear, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
    with torch.autocast(inputs[0].device.type, enabled=False):
        return functional.linear(inputs[0].float(), linear.weight, linear.bias)


def state_hash(network: nn.Module) -> str:
    """sha256 over names, shapes and float32 values of a network's state."""
    parts: list[bytes | np.ndarray] = []
    for name, value in sorted(network.state_dict().items()):
        parts += [f"{name} {tuple(value.shape)}".encode(), value.detach().cpu().float().numpy()]
    return sha256(*parts)


def check_independent(judges: Judges, training: Mapping[str, nn.Module]) -> None:
    """ValueError if a judge is a network of `training` (R, H, ...), or tunes and judges both."""
    hashes = {name: state_hash(network) for name, network in judges.named().items()}
    for name, network in training.items():
        trained = state_hash(network)
        for judge, value in hashes.items():
            if value == trained:
                raise ValueError(
                    f"judge {judge!r} is the training network {name!r}: it would score its own work"
                )
    if hashes["attributes"] == hashes["tuning"]:
        raise ValueError(
            "judges 'tuning' and 'attributes' are the same: the tables' judge never tunes strengths"
        )
