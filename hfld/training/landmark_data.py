"""What landmark networks learn from, in either world: pictures and their 106 points."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hfld.config import Profile
from hfld.photos import datasets
from hfld.photos.photo_set import PhotoSet
from hfld.portraits.dataset import portraits
from hfld.training.augment import augment, portrait_augmentation
from hfld.training.landmarks import Augmentation


@dataclass(frozen=True)
class Faces:
    """Pictures with known landmarks."""

    images: np.ndarray  # [N, S, S, 3] uint8
    landmarks: np.ndarray  # [N, 106, 2] (x, y) / side


@dataclass(frozen=True)
class LandmarkFaces:
    """What H learns from and is measured on."""

    training: Faces
    validation: Faces
    augmentation: Augmentation


def landmark_faces(profile: Profile, *, cache: Path | None = None, judge: bool = False) -> LandmarkFaces:
    """Rendered portraits, or photographs cropped as FFHQ's: one half trains H, the other (`judge`) the judge
    of landmarks. All faces of one photo are in the same half, so that the two share none.

    cache: where pictures are kept; None: in the profile's runs.
    """
    config, world = profile.landmarks, profile.world
    if world.kind == "portraits":
        if judge:
            raise ValueError("judge: the portraits' judges come with data/, none is trained here")
        folder = cache or profile.paths.runs / "portraits"
        counts = (config.images, config.seed), (config.validation_images, config.seed + 1)
        training, validation = (portraits(n, s, size=world.size, cache_dir=folder) for n, s in counts)
        return LandmarkFaces(training, validation, portrait_augmentation)
    folder = cache or profile.paths.runs / "photos"
    photos = datasets.load(world.landmark_set, profile.root / world.landmark_folder)
    chosen = (
        half(photos["train"], judge=judge)[: config.images],
        photos["validation"][: config.validation_images],
    )
    faces = (Faces(*part.store(folder, size=world.read_at, frame="ffhq")) for part in chosen)
    return LandmarkFaces(*faces, augment)


def half(photos: PhotoSet, *, judge: bool) -> PhotoSet:
    """The faces of every other photo, in the order of their names: H's, or those of its judge."""
    _, number = np.unique([datasets.source(path) for path in photos.files], return_inverse=True)
    return photos[np.flatnonzero(number % 2 == judge)]
