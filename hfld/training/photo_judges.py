"""What a profile on photographs trains before its stages: judges of attributes and landmarks, and maybe R."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from hfld.checkpoints import load, save_network
from hfld.config import Profile
from hfld.landmarks import landmark_report, predict
from hfld.models import pick_device
from hfld.photos import datasets
from hfld.photos.photo_set import Frame, PhotoSet
from hfld.training.attribute_nets import (
    TrainedAttributes,
    attribute_report,
    read_attributes,
    train_attributes,
)
from hfld.training.landmark_data import landmark_faces
from hfld.training.landmarks import TrainedLandmarks, train_landmarks

ATTRIBUTE_ROLES = ("regressor", "judge_attributes", "judge_attributes_tuning")
"""Each learns from its own third of CelebA's training photos, with its own seed."""

SEED_OF_JUDGE = 1000
"""Added to H's seed for the judge of landmarks."""

Trained = tuple[TrainedAttributes | TrainedLandmarks, dict[str, Any]]
"""A network with its log, and its report on validation photos."""


def roles(profile: Profile) -> dict[str, Callable[[Profile, str], Trained]]:
    """Name of a file in data/<profile>/ -> what trains it."""
    world = profile.world
    if world.kind != "ffhq":
        raise ValueError(f"profile: {profile.name!r} is not on photographs, whose judges are trained here")
    attributes = [name for name in ATTRIBUTE_ROLES if name != "regressor" or world.regressor is None]
    return {**dict.fromkeys(attributes, train_on_celeba), "judge_landmarks": train_landmark_judge}


def train_role(profile: Profile, role: str) -> Trained:
    """Train the network `role`, a key of `roles`, and write it where the stages look for it."""
    trained, report = roles(profile)[role](profile, role)
    path = profile.paths.world / f"{role}.safetensors"
    save_network(path, trained.network, trained.arguments, trained.metadata)
    return trained, report


def train_on_celeba(profile: Profile, role: str) -> Trained:
    """40 attributes, from a third of CelebA's training photos, measured on its validation photos."""
    world, device = profile.world, pick_device(profile.world.device)
    splits = datasets.load("celeba", profile.root / world.celeba)
    share = ATTRIBUTE_ROLES.index(role)
    photos, held = splits["train"][share :: len(ATTRIBUTE_ROLES)], splits["validation"]
    settings = replace(profile.attributes, seed=profile.attributes.seed + share)
    trained = train_attributes(
        _squares(profile, photos),
        photos.attributes,
        settings,
        run_dir=profile.paths.runs / role,
        start=imagenet_start(profile),
        device=device,
    )
    scores = read_attributes(trained.network, _squares(profile, held))
    return trained, attribute_report(scores, held.attributes)


def train_landmark_judge(profile: Profile, role: str = "judge_landmarks") -> Trained:
    """106 landmarks, from the half of the photos that H does not see."""
    device = pick_device(profile.world.device)
    faces = landmark_faces(profile, judge=True)
    trained = train_landmarks(
        faces.training.images,
        faces.training.landmarks,
        replace(profile.landmarks, seed=profile.landmarks.seed + SEED_OF_JUDGE),
        run_dir=profile.paths.runs / role,
        augmentation=faces.augmentation,
        device=device,
    )
    points = predict(trained.network, faces.validation.images)
    return trained, landmark_report(points, faces.validation.landmarks)


def imagenet_start(profile: Profile) -> dict[str, Tensor] | None:
    """torchvision's weights of the profile's ResNet if they were fetched (they are optional)."""
    settings = profile.attributes
    folder = profile.root / profile.world.official
    files = sorted(folder.glob(f"resnet{settings.depth}-*.pth")) if settings.width == 64 else []
    return load(files[0]).parts["network"].state if files else None


def _squares(profile: Profile, photos: PhotoSet) -> Any:
    """Photos as FFHQ is cropped if their five landmarks came with them, else their middle."""
    frame: Frame = "center" if photos.landmarks is None else "ffhq"
    cache: Path = profile.paths.runs / "photos"
    return photos.store(cache, size=profile.world.read_at, frame=frame)[0]
