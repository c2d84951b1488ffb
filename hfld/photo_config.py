"""Sections that only profiles on photographs have: where their networks, data sets and judges come from."""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class FfhqWorldConfig:
    """StyleGAN2's photographs. `weights` is filled from the official files (hfld/photos/official.py, more/judges)."""

    pictures: ClassVar[str] = "StyleGAN2's photographs"

    kind: Literal["ffhq"]
    size: int  # image side of G and D in pixels
    weights: str  # folder of the pre-trained networks, relative to ROOT
    read_at: int  # image side at which R, F, H and the judges look; the paper's networks are made for 256
    device: Literal["auto", "cpu", "cuda"]  # auto: a GPU if there is one
    official: str  # folder of the official files, relative to ROOT; DeepFace's in .deepface/ below it
    generator: str  # file of G and D in `official`
    perceptual: str  # of VGG-19
    regressor: str | None  # of the baseline's R; null: more/judges trains one
    identity: str  # a network of DeepFace ("ArcFace") or a file in `official`
    detector: str | None  # DeepFace's face detector before emotions and identity; null: the whole picture
    landmark_set: Literal["lapa", "jd"]  # 106-point data set: half of its photos for H, half for the judge
    landmark_folder: str  # relative to ROOT
    celeba: str  # CelebA, relative to ROOT
    precision: Literal["auto", "bf16", "fp32"] = "fp32"  # of G and the judges in tables and figures


@dataclass(frozen=True)
class AttributeTraining:
    """Network and schedule of more/judges; the defaults are a full ResNet-50 at 256 px."""

    depth: int = 50
    width: int = 64  # channels of the first stage
    stem: str = "imagenet"
    steps: int = 60_000
    batch: int = 64
    lr: float = 3.0e-4
    precision: str = "auto"
    seed: int = 1


PHOTO_SECTIONS: dict[str, type] = {"attributes": AttributeTraining}
"""Sections beyond those that every profile has."""
