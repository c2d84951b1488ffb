"""Settings of the editors besides T."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EditorsConfig:
    """What the editors that are not direction matrices learn from (hfld/editors/fitting.py, more/editors).

    Those with networks of their own learn the attributes of the section `directions`, as T does.
    `schedule: full` takes the references' widths and as many updates as theirs, over `latents` (they have
    10,000 to 70,000); AdaTrans goes without its identity term there, as a profile's identity network is the
    judge of its tables.
    """

    latents: int = 10_000  # training latents with the regressor's scores
    validation_latents: int = 64  # held-out latents on which directions are named and strengths calibrated
    schedule: Literal["profile", "full"] = "profile"  # of trained networks: the sections below, or "full"
    landmark_weight: float = 100.0  # times the landmark loss, for the methods named ..._hfld
    moves: float = 0.3  # an editor that moves the tuning judge's score by less is listed as failing
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    seed: int = 1


@dataclass(frozen=True)
class GanSpaceConfig:
    """Principal components of W."""

    samples: int = 1_000_000  # latents of the analysis; only the mapping network sees them
    directions: int = 80
    estimator: Literal["exact", "incremental"] = "exact"  # incremental: the reference's
    probe: float = 3.0  # strength at which directions are compared, in standard deviations of W
    least: float = 0.5  # share of the best change that a chosen direction must reach


@dataclass(frozen=True)
class InterFaceGanConfig:
    """Linear boundaries in W."""

    chosen: float = 0.02  # share of the latents taken at either end of the scores
    split: float = 0.7  # share of them for training
    probe: float = 3.0


@dataclass(frozen=True)
class SeFaConfig:
    """Eigenvectors of the style weights."""

    directions: int = 80
    probe: float = 3.0
    least: float = 0.5


@dataclass(frozen=True)
class StyleFlowFit:
    """Schedule and size of StyleFlow; its other settings are hfld.editors.flow's, as for the next two."""

    steps: int = 800
    batch: int = 64
    image_batch: int = 4  # latents of a batch that are drawn for the landmark term
    lr: float = 1e-3
    hidden: tuple[int, ...] = (256, 256, 256)
    solver_steps: int = 4


@dataclass(frozen=True)
class SDFlowFit:
    """Schedule, size and weights of SDFlow."""

    steps: int = 400
    batch: int = 8  # all of them are drawn
    lr: float = 1e-3
    hidden: tuple[int, ...] = (256, 256, 256)
    solver_steps: int = 4
    encoder_width: int = 16
    encoder_steps: int = 0  # the encoder alone, before all terms together
    flow_steps: int = 0  # the flow alone, after the encoder
    weight_distillation: float = 1.0  # of the encoder to R; with little, encoder and flow may flip a sign
    weight_information: float = 1.0  # times a mean over the attributes, of which an edit changes one


@dataclass(frozen=True)
class AdaTransFit:
    """Schedule, size and weights of AdaTrans."""

    steps: int = 400
    batch: int = 64
    image_batch: int = 8  # latents of a batch that are drawn
    lr: float = 1e-3
    hidden: int = 128
    blocks: int = 4
    density_steps: int = 800
    weight_classification: float = 1.0  # times a mean over the attributes, of which an edit changes one
