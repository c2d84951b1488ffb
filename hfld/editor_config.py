"""Sections of the profiles for the editors besides T, and for the benchmark that compares all of them."""

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

    latents: int  # training latents with the regressor's scores
    validation_latents: int  # held-out latents on which directions are named and strengths calibrated
    schedule: Literal["profile", "full"]  # of trained networks: the sections below, or the references'
    landmark_weight: float  # times the landmark loss, for the methods named ..._hfld
    moves: float  # an editor that moves the tuning judge's score by less is listed as failing
    precision: Literal["auto", "bf16", "fp32"]
    seed: int


@dataclass(frozen=True)
class GanSpaceConfig:
    """Principal components of W."""

    samples: int  # latents of the analysis; only the mapping network sees them
    directions: int
    estimator: Literal["exact", "incremental"]  # incremental: the reference's
    probe: float  # strength at which directions are compared, in standard deviations of W
    least: float  # share of the best change that a chosen direction must reach


@dataclass(frozen=True)
class InterFaceGanConfig:
    """Linear boundaries in W."""

    chosen: float  # share of the latents taken at either end of the scores
    split: float  # share of them for training
    keep_intercept: bool  # false: as the reference
    probe: float


@dataclass(frozen=True)
class SeFaConfig:
    """Eigenvectors of the style weights."""

    directions: int
    official_order: bool  # true: unsorted, as the reference
    probe: float
    least: float


@dataclass(frozen=True)
class StyleFlowFit:
    """Schedule and size of StyleFlow; its other settings are hfld.editors.flow's, as for the next two."""

    steps: int
    batch: int
    image_batch: int  # latents of a batch that are drawn for the landmark term
    lr: float
    hidden: tuple[int, ...]
    solver_steps: int


@dataclass(frozen=True)
class SDFlowFit:
    """Schedule, size and weights of SDFlow."""

    steps: int
    batch: int  # all of them are drawn
    lr: float
    hidden: tuple[int, ...]
    solver_steps: int
    encoder_width: int
    encoder_steps: int  # the encoder alone, before all terms together
    flow_steps: int  # the flow alone, after the encoder
    weight_distillation: float  # holds the encoder to R; with little, encoder and flow agree on another sign
    weight_information: float  # times a mean over the attributes, of which an edit changes one


@dataclass(frozen=True)
class AdaTransFit:
    """Schedule, size and weights of AdaTrans."""

    steps: int
    batch: int
    image_batch: int  # latents of a batch that are drawn
    lr: float
    hidden: int
    blocks: int
    density_steps: int
    weight_classification: float  # times a mean over the attributes, of which an edit changes one


@dataclass(frozen=True)
class BenchmarkConfig:
    """All editors in one table (more/benchmark)."""

    methods: tuple[str, ...]  # of hfld.editors.EDITORS; ..._lock: inside an ExpressionLock
    attributes: tuple[str, ...]  # each must be one of the directions'
    latents: int  # test latents per attribute
    validation_latents: int  # disjoint latents: matching of strengths
    curve_latents: int  # test latents of the curves over strength
    curve_factors: tuple[float, ...]  # of the strength, for these curves
    lock: Literal["projection", "gradient"]  # how the locks work (hfld/editors/lock.py)
    lock_steps: int
    faces: int  # columns of Figures 5 and 6
    bootstrap: int
    seed: int
