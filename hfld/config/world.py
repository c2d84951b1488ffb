"""The world that a profile lives in: drawn portraits or photographs."""

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class WorldConfig:
    """Drawn portraits. All networks look at them as they are."""

    pictures: ClassVar[str] = "drawn portraits"
    read_at: ClassVar[None] = None
    device: ClassVar[str] = "cpu"
    precision: ClassVar[str] = "auto"

    kind: Literal["portraits"]
    size: int  # image side in pixels
    weights: str  # folder of the pre-trained networks, relative to ROOT


@dataclass(frozen=True)
class FfhqWorldConfig:
    """StyleGAN2's photographs. `weights` is filled from official files (hfld/photos/official.py)."""

    pictures: ClassVar[str] = "StyleGAN2's photographs"

    kind: Literal["ffhq"]
    size: int  # image side of G and D in pixels
    weights: str  # folder of the pre-trained networks, relative to ROOT
    generator: str  # file of G and D in `official`
    official: str = "data/official"  # the official files, relative to ROOT; DeepFace's in .deepface/ below it
    perceptual: str = "vgg19-dcbb9e9d.pth"  # of VGG-19
    regressor: str | None = "celeba_resnet50.pth"  # of the baseline's R; null: more/judges trains one
    identity: str = "ArcFace"  # a network of DeepFace, or a file in `official`
    detector: str | None = None  # DeepFace's, before emotions and identity; null: the whole picture
    landmark_set: Literal["lapa", "jd"] = "lapa"  # 106 points: half of its photos for H, half for the judge
    landmark_folder: str = "data/lapa"  # relative to ROOT
    celeba: str = "data/celeba"  # relative to ROOT
    read_at: int = 256  # image side at which R, F, H and the judges look, as the paper's networks do
    device: Literal["auto", "cpu", "cuda"] = "auto"  # auto: a GPU if there is one
    precision: Literal["auto", "bf16", "fp32"] = "fp32"  # of G and the judges in tables and figures
