"""Settings of what is trained or searched: H, a direction matrix T, more/judges' networks, a photo's latent.

The defaults are the paper's, or the references' where it does not say.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

from pydantic import PositiveInt

from hfld.attributes import index_of
from hfld.config.reading import AttributeNames

METHODS = ("baseline", "hfld", "baseline_w", "hfld_w")
"""Direction matrices: without and with the landmark term, in W+ and (suffix _w) in W."""


@dataclass(frozen=True)
class LandmarksConfig:
    """Training of the 106-landmark network H (01_landmarks)."""

    images: int  # for training
    validation_images: int  # that only the evaluation sees
    width: int = 64  # channels of the first stage; 64 is the full ResNet-18
    stem: Literal["imagenet", "half", "small"] = "imagenet"  # "half" and "small" keep detail at 64 px
    steps: PositiveInt = 30_000
    batch: int = 64
    lr: float = 1e-3
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    seed: int = 1


@dataclass(frozen=True)
class DirectionsConfig:
    """Training of a direction matrix T (02_directions)."""

    preset: Literal["custom", "paper", "official", "printed"] = "custom"  # a profile's own defaults: PRESETS
    steps: int = 50_000
    batch: int = 4
    lr: float = 1e-4  # Adam, betas (.5, .99)
    start: Literal["random", "regressed"] = "random"  # T ~ N(0, 0.02^2), or hfld.matrix.regressed
    whiten: bool = False  # T is learned in standard deviations of w; see hfld.matrix.DirectionMatrix
    schedule: Literal["constant", "cosine"] = "constant"
    lambda_regression: float = 10.0
    lambda_content: float = 0.05
    lambda_adversarial: float = 0.05
    lambda_landmark: float = 768.0  # 3 per pixel at 256; used by the hfld methods, 0 for the baselines
    lambda_latent: float = 0.0  # squared length of an edit, as StyleCLIP's L2; whitened if T is
    landmark_norm: Literal["l1", "l2", "l1_twice"] = "l1"
    landmark_unit: Literal["normalized", "signed", "pixel"] = "normalized"
    sampling: Literal["delta", "uniform"] = "delta"  # score + U(-1, 1), clamped; or U(0, 1), one per batch
    edited: PositiveInt | None = None  # attributes of a sample that change at once; null: all
    focus: AttributeNames = ()  # attributes that are chosen for `edited` more often than the others
    focus_weight: float = 1.0  # factor on their chance, which also grows with |target - score|
    regression: Literal["corrected", "literal"] = "corrected"
    adversarial: Literal["nonsaturating", "saturating"] = "nonsaturating"
    adversarial_every: int = 1  # n: D's term at every n-th step, with n times its weight
    content_every: int = 1  # F's likewise
    discriminator: Literal["trained", "random"] = "trained"  # the reference forgot to load its weights
    space: Literal["w+", "w"] = "w+"
    attributes: Literal["all"] | AttributeNames = "all"
    joint: bool = True  # all attributes in one run; false: each alone, as the baseline's author advises
    pool: int = 0  # latents whose images and scores are made once; 0: fresh ones at every step
    refresh: int = 0  # steps after which the pool is drawn anew; 0: never
    precision: Literal["auto", "bf16", "tf32", "fp32"] = "auto"
    validation_latents: int = 64  # held-out latents of the validation loss
    validate_every: PositiveInt = 2500  # steps
    seed: int = 1

    def for_method(self, method: str) -> "DirectionsConfig":
        """The section as `method` reads it: baselines drop the landmark term, the _w methods edit in W."""
        index_of(method, METHODS, "method")
        weight = self.lambda_landmark if method.startswith("hfld") else 0.0
        return replace(self, lambda_landmark=weight, space="w" if method.endswith("_w") else self.space)


PRESETS: dict[str, dict[str, Any]] = {
    "custom": {},
    "paper": {},
    "official": {"sampling": "uniform", "discriminator": "random"},
    "printed": {"lambda_landmark": 0.5e6},
}
"""What differs from the defaults. "paper": nothing (its landmark weight is not calibrated); "official": what
the baseline's code does; "printed": the paper's lambda_4 with its printed formula, 1953 per pixel at 256.
"""


@dataclass(frozen=True)
class AttributeTraining:
    """Network and schedule of more/judges; the defaults are a full ResNet-50 at 256 px."""

    depth: int = 50
    width: int = 64  # channels of the first stage
    stem: Literal["imagenet", "half", "small"] = "imagenet"
    steps: int = 60_000
    batch: int = 64
    lr: float = 3.0e-4
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    seed: int = 1


@dataclass(frozen=True)
class InversionConfig:
    """From a picture to its latent (hfld/inversion.py). Distances are shares of that to a random face."""

    samples: int = 256  # random faces, which also give the unit of every distance
    steps: int = 150
    lr: float = 0.1  # Adam, in standard deviations of W
    lambda_perceptual: float = 1.0
    lambda_pixel: float = 1.0
    lambda_landmark: float = 1.0
    lambda_mean: float = 0.02  # squared distance from the mean latent, in standard deviations
    stranger: float | None = None  # perceptual share above which a picture is not of this world
    tuning_steps: int = 60  # of pivotal tuning, where it is asked for
    tuning_lr: float = 1e-3
    lambda_locality: float = 1.0  # keeps the other faces of a tuned generator
    seed: int = 1
