"""Where things are, and the strict reading of profiles/*.yaml: one section == one stage == one dataclass."""

import difflib
import re
import types
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Union, get_args, get_origin

import yaml

from hfld.attributes import attribute_index
from hfld.editor_config import (
    AdaTransFit,
    BenchmarkConfig,
    EditorsConfig,
    GanSpaceConfig,
    InterFaceGanConfig,
    SDFlowFit,
    SeFaConfig,
    StyleFlowFit,
)
from hfld.photo_config import PHOTO_SECTIONS, AttributeTraining, FfhqWorldConfig


def find_root(*starts: Path) -> Path:
    """The nearest folder, going up from each of `starts` in turn, that holds profiles/ and params.yaml."""
    for start in starts:
        for folder in (start, *start.parents):
            if (folder / "params.yaml").is_file() and (folder / "profiles").is_dir():
                return folder
    raise FileNotFoundError("no folder with params.yaml and profiles/ above " + " or ".join(map(str, starts)))


ROOT = find_root(Path(__file__).resolve().parent, Path.cwd())
"""The repository: all paths start here, so that a notebook runs from any working folder."""

METHODS = ("baseline", "hfld", "baseline_w", "hfld_w")
"""Direction matrices: without and with the landmark term, in W+ and (suffix _w) in W."""


@dataclass(frozen=True)
class WorldConfig:
    """Which pictures the experiment lives in, and where its pre-trained networks are."""

    pictures: ClassVar[str] = "drawn portraits"
    read_at: ClassVar[None] = None  # all networks look at pictures as they are
    device: ClassVar[str] = "cpu"
    precision: ClassVar[str] = "auto"

    kind: Literal["portraits"]  # "ffhq": see FfhqWorldConfig
    size: int  # image side in pixels
    weights: str  # folder of the pre-trained networks, relative to ROOT


@dataclass(frozen=True)
class LandmarksConfig:
    """Training of the 106-landmark network H (01_landmarks)."""

    images: int  # training portraits
    validation_images: int  # portraits that only the evaluation sees
    width: int  # channels of the first stage; 64 is the full ResNet-18
    stem: Literal["imagenet", "half", "small"]  # the paper's at 256; "half" or "small" keep detail at 64
    steps: int
    batch: int
    lr: float
    precision: Literal["auto", "bf16", "fp32"]
    seed: int


@dataclass(frozen=True)
class DirectionsConfig:
    """Training of a direction matrix T (02_directions)."""

    preset: Literal["custom", "paper", "official", "printed"]  # for keys that a profile leaves out (PRESETS)
    steps: int
    batch: int
    lr: float  # Adam, betas (.5, .99)
    start: Literal["random", "regressed"]  # coordinates of T ~ N(0, 0.02^2), or hfld.directions.regressed
    whiten: bool  # T is learned in standard deviations of w; see hfld.directions.DirectionMatrix
    schedule: Literal["constant", "cosine"]
    lambda_regression: float
    lambda_content: float
    lambda_adversarial: float
    lambda_landmark: float  # used by the hfld methods; 0 for the baselines
    lambda_latent: float  # squared length of an edit, as StyleCLIP's L2; `whiten`: in standard deviations
    landmark_norm: Literal["l1", "l2", "l1_twice"]
    landmark_unit: Literal["normalized", "signed", "pixel"]
    sampling: Literal["delta", "uniform"]  # target = score + U(-1, 1), clamped; or U(0, 1), one per batch
    edited: int | None  # attributes of a sample that change at once, the others keep their score; null: all
    focus: tuple[str, ...]  # attributes that are chosen for `edited` more often than the others
    focus_weight: float  # factor on their chance, which also grows with |target - score|
    regression: Literal["corrected", "literal"]
    adversarial: Literal["nonsaturating", "saturating"]
    adversarial_every: int  # n: D's term at every n-th step, with n times its weight
    content_every: int  # F's likewise
    discriminator: Literal["trained", "random"]  # the reference forgot to load its weights
    space: Literal["w+", "w"]
    attributes: Literal["all"] | tuple[str, ...]
    joint: bool  # all attributes in one run; false: each trained alone
    pool: int  # latents whose images and scores are made once; 0: fresh ones at every step
    refresh: int  # steps after which the pool is drawn anew; 0: never
    precision: Literal["auto", "bf16", "tf32", "fp32"]
    validation_latents: int  # held-out latents of the validation loss
    validate_every: int  # steps
    seed: int

    def resolved(self) -> "DirectionsConfig":
        """The section as its preset has it; a profile's is spelled out as it is read."""
        return replace(self, **PRESETS[self.preset], preset="custom") if self.preset != "custom" else self

    def for_method(self, method: str) -> "DirectionsConfig":
        """The section as `method` reads it: baselines drop the landmark term, the _w methods edit in W."""
        if method not in METHODS:
            nearest = difflib.get_close_matches(method, METHODS, n=1, cutoff=0.0)[0]
            raise ValueError(f"unknown method {method!r}; the nearest of {', '.join(METHODS)} is {nearest!r}")
        config = self.resolved()
        weight = config.lambda_landmark if method.startswith("hfld") else 0.0
        return replace(config, lambda_landmark=weight, space="w" if method.endswith("_w") else config.space)


_PAPER = {
    "steps": 50_000,
    "batch": 4,
    "lr": 1e-4,
    "start": "random",
    "whiten": False,
    "schedule": "constant",
    "lambda_regression": 10.0,
    "lambda_content": 0.05,
    "lambda_adversarial": 0.05,
    "lambda_landmark": 768.0,  # 3 per pixel at 256
    "lambda_latent": 0.0,
    "landmark_norm": "l1",
    "landmark_unit": "normalized",
    "sampling": "delta",
    "edited": None,
    "focus": (),
    "focus_weight": 1.0,
    "regression": "corrected",
    "adversarial": "nonsaturating",
    "adversarial_every": 1,
    "content_every": 1,
    "discriminator": "trained",
    "pool": 0,
    "refresh": 0,
}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": _PAPER,
    "official": {**_PAPER, "sampling": "uniform", "discriminator": "random"},
    "printed": {**_PAPER, "lambda_landmark": 0.5e6},
}
"""The paper's hyperparameters, and what its baseline's code does, with a weight of the landmark term that
nobody calibrated; "printed" has the paper's lambda_4 with its printed formula (1953 per pixel at 256).
"""


@dataclass(frozen=True)
class TablesConfig:
    """Evaluation of the edits (03_tables)."""

    latents: int  # test latents per attribute
    validation_latents: int  # disjoint latents: matching of strengths and ranking of attributes
    attributes: tuple[str, ...]
    survey_latents: int  # validation latents of the survey over all 40 attributes
    report_above: float  # an attribute is reported if the oracle edit moves the judge by more than this
    curve_latents: int  # test latents of the curves over strength
    bootstrap: int  # resamples of every interval
    seed: int


@dataclass(frozen=True)
class FiguresConfig:
    """Pictures (04_figures)."""

    faces: int  # portraits in Figure 3, and behind the maps of change
    choice: int  # test latents, of which Figures 1 and 4 show those that G draws best, blurry ones last
    attributes: tuple[str, ...]  # the edits of Figure 4, each on a face of its own
    steps: int  # pictures along one edit
    seed: int


@dataclass(frozen=True)
class InversionConfig:
    """From a picture to its latent (hfld/inversion.py). Distances are shares of that to a random face."""

    start: Literal["sampled", "mean"]  # the nearest of the random faces, or the mean latent
    samples: int  # random faces, which also give the unit of every distance
    steps: int
    lr: float  # Adam, in standard deviations of W
    lambda_perceptual: float
    lambda_pixel: float
    lambda_landmark: float
    lambda_mean: float  # squared distance from the mean latent, in standard deviations
    stranger: float | None  # perceptual share above which a picture is not of this world; null: all are
    tuning_steps: int  # of pivotal tuning, where it is asked for
    tuning_lr: float
    lambda_locality: float  # keeps the other faces of a tuned generator
    seed: int


@dataclass(frozen=True)
class Paths:
    """Where one profile reads and writes."""

    world: Path  # pre-trained networks (read only)
    weights: Path  # trained by the pipeline, cached by DVC
    results: Path  # tables, figures and numbers, small and in git
    runs: Path  # executed notebooks, logs, checkpoints: ignored by git and DVC


@dataclass(frozen=True)
class Profile:
    """All settings of one run."""

    name: str
    world: WorldConfig | FfhqWorldConfig
    landmarks: LandmarksConfig
    directions: DirectionsConfig
    editors: EditorsConfig
    ganspace: GanSpaceConfig
    interfacegan: InterFaceGanConfig
    sefa: SeFaConfig
    styleflow: StyleFlowFit
    sdflow: SDFlowFit
    adatrans: AdaTransFit
    tables: TablesConfig
    figures: FiguresConfig
    benchmark: BenchmarkConfig
    inversion: InversionConfig
    attributes: AttributeTraining | None = None  # on photographs
    root: Path = ROOT

    @property
    def paths(self) -> Paths:
        return Paths(
            world=self.root / self.world.weights,
            weights=self.root / "weights" / self.name,
            results=self.root / "results" / self.name,
            runs=self.root / "runs" / self.name,
        )

    @property
    def command(self) -> str:
        """What makes or fetches the networks in `paths.world`."""
        if self.world.kind == "ffhq":
            return f"make photographs PROFILES={self.name}"
        return "python -m pretrain.smoke" if self.world.weights == "data/smoke" else "make data"


SECTIONS: dict[str, type] = {
    "world": WorldConfig,
    "landmarks": LandmarksConfig,
    "directions": DirectionsConfig,
    "editors": EditorsConfig,
    "ganspace": GanSpaceConfig,
    "interfacegan": InterFaceGanConfig,
    "sefa": SeFaConfig,
    "styleflow": StyleFlowFit,
    "sdflow": SDFlowFit,
    "adatrans": AdaTransFit,
    "tables": TablesConfig,
    "figures": FiguresConfig,
    "benchmark": BenchmarkConfig,
    "inversion": InversionConfig,
}


def sections_of(values: Any) -> dict[str, type]:
    """The sections that a profile must have: photographs need more than portraits."""
    world = values.get("world") if isinstance(values, dict) else None
    kind = world.get("kind") if isinstance(world, dict) else None
    if kind == "ffhq":
        return {**SECTIONS, "world": FfhqWorldConfig, **PHOTO_SECTIONS}
    return SECTIONS


def load_profile(name: str, *, root: Path = ROOT) -> Profile:
    """profiles/<name>.yaml as typed sections; ValueError names the first wrong key and its section."""
    path = root / "profiles" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in (root / "profiles").glob("*.yaml"))
        nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)
        hint = f"; the nearest is {nearest[0]!r}" if nearest else ""
        raise ValueError(f"unknown profile {name!r}: there is no profiles/{name}.yaml{hint}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"profiles/{name}.yaml is not YAML: {' '.join(str(error).split())}") from error
    where = f"profiles/{name}.yaml"
    expected = sections_of(values)
    if isinstance(values, dict) and "directions" in values:
        values["directions"] = _spelled_out(values["directions"])
    _check_keys(values, ("profile", *expected), required=("profile", *expected), where=where)
    if values["profile"] != name:
        raise ValueError(f"{where}: profile is {values['profile']!r}, expected the file's own name {name!r}")
    sections = {
        key: read_section(cls, values[key], where=f"{where}, section {key}") for key, cls in expected.items()
    }
    named = {
        (key, "attributes"): sections[key].attributes
        for key in ("directions", "tables", "figures", "benchmark")
    }
    for (section, key), names in {**named, ("directions", "focus"): sections["directions"].focus}.items():
        for attribute in () if names == "all" else names:
            try:
                attribute_index(attribute)
            except ValueError as error:
                raise ValueError(f"{where}, section {section}, {key}: {error}") from None
    _check_values(sections, where)
    return Profile(name=name, root=root, **sections)


def _spelled_out(section: Any) -> Any:
    """`directions` with the keys of its preset; those that the profile writes itself stay."""
    preset = section.get("preset") if isinstance(section, dict) else None
    known = isinstance(preset, str) and preset in PRESETS
    return {**PRESETS[preset], **section, "preset": "custom"} if known else section


def _check_values(sections: dict[str, Any], where: str) -> None:
    """ValueError for values that would only fail hours later."""
    steps, directions, tables = sections["landmarks"].steps, sections["directions"], sections["tables"]
    every, edited = directions.validate_every, directions.edited
    known, most = directions.attributes, tables.validation_latents
    choice, faces = sections["figures"].choice, len(sections["figures"].attributes)
    odd = [] if known == "all" else [name for name in tables.attributes if name not in known]
    for wrong, key, value, expected in (
        (steps < 1, "landmarks, steps", steps, "at least 1"),
        (every < 1, "directions, validate_every", every, "at least 1"),
        (edited is not None and edited < 1, "directions, edited", edited, "at least 1, or null"),
        (odd, "tables, attributes", ", ".join(odd), "names that are in directions.attributes"),
        (tables.survey_latents > most, "tables, survey_latents", tables.survey_latents, f"at most {most}"),
        (choice < faces, "figures, choice", choice, f"at least {faces}, a face for each of its attributes"),
    ):
        if wrong:
            raise ValueError(f"{where}, section {key}: got {value}, expected {expected}")


def read_section(cls: type, values: Any, *, where: str) -> Any:
    """A dataclass from a mapping with exactly its fields (those with a default may be left out)."""
    names = [f.name for f in fields(cls)]
    required = [f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING]
    _check_keys(values, names, required=required, where=where)
    annotations = {f.name: f.type for f in fields(cls)}
    return cls(**{key: _convert(value, annotations[key], f"{where}, {key}") for key, value in values.items()})


def _check_keys(values: Any, known: Any, *, required: Any, where: str) -> None:
    if not isinstance(values, dict):
        raise ValueError(f"{where}: expected keys and values, got {values!r}")
    for key in values:
        if key not in known:
            nearest = difflib.get_close_matches(str(key), list(known), n=1, cutoff=0.0)[0]
            raise ValueError(f"{where}: unknown key {key!r}; the nearest is {nearest!r}")
    for key in required:
        if key not in values:
            nearest = difflib.get_close_matches(key, list(map(str, values)), n=1, cutoff=0.0)
            hint = f" (the nearest present key is {nearest[0]!r})" if nearest else ""
            raise ValueError(f"{where}: missing key {key!r}{hint}")


def _convert(value: Any, annotation: Any, where: str) -> Any:
    """`value` as `annotation` (int, float, bool, str, Literal, tuple[X, ...] or a union of these)."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        errors = []
        for option in get_args(annotation):
            try:
                return _convert(value, option, where)
            except ValueError as error:
                errors.append(str(error))
        raise ValueError(errors[-1])
    if origin is Literal:
        options = get_args(annotation)
        if value in options and type(value) in {type(option) for option in options}:
            return value
        raise ValueError(f"{where}: got {value!r}, expected one of {', '.join(map(repr, options))}")
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where}: got {value!r}, expected a list")
        return tuple(_convert(item, get_args(annotation)[0], where) for item in value)
    if annotation is type(None) and value is None:
        return None
    if annotation is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if annotation in (int, bool, str) and type(value) is annotation:
        return value
    hint, power = "", r"[+-]?\d+(\.\d*)?[eE][+-]?\d+"
    if annotation is float and isinstance(value, str) and re.fullmatch(power, value.strip()):
        mantissa, exponent = re.split("[eE]", value.strip())
        dotted = mantissa if "." in mantissa else f"{mantissa}.0"
        sign = exponent if exponent[0] in "+-" else f"+{exponent}"
        hint = f"; YAML reads {value} as text, write {dotted}e{sign}"
    expected = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(
        annotation, "nothing"
    )
    raise ValueError(f"{where}: got {value!r}, expected {expected}{hint}")
