"""Settings: profiles/<name>.yaml as typed sections. One section == one stage == one dataclass.

The defaults are in the classes; a profile says what differs.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from hfld.attributes import index_of
from hfld.config.editors import (
    AdaTransFit,
    EditorsConfig,
    GanSpaceConfig,
    InterFaceGanConfig,
    SDFlowFit,
    SeFaConfig,
    StyleFlowFit,
)
from hfld.config.evaluation import BenchmarkConfig, FiguresConfig, TablesConfig
from hfld.config.reading import read_section
from hfld.config.training import (
    METHODS,
    PRESETS,
    AttributeTraining,
    DirectionsConfig,
    InversionConfig,
    LandmarksConfig,
)
from hfld.config.world import FfhqWorldConfig, WorldConfig

__all__ = [
    "METHODS",
    "PHOTO_SECTIONS",
    "ROOT",
    "SECTIONS",
    "AttributeTraining",
    "BenchmarkConfig",
    "DirectionsConfig",
    "EditorsConfig",
    "FfhqWorldConfig",
    "InversionConfig",
    "LandmarksConfig",
    "Profile",
    "load_profile",
    "read_section",
]


def find_root(*starts: Path) -> Path:
    """The nearest folder, going up from each of `starts` in turn, that holds profiles/ and params.yaml.

    The current folder if there is none, as after `pip install`: then a profile is given by its path.
    """
    for start in starts:
        for folder in (start, *start.parents):
            if (folder / "params.yaml").is_file() and (folder / "profiles").is_dir():
                return folder
    return Path.cwd()


ROOT = find_root(Path(__file__).resolve().parent, Path.cwd())
"""The repository: all paths start here, so that a notebook runs from any working folder."""


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
"""The sections of every profile; a stage's `params` in dvc.yaml name them."""

PHOTO_SECTIONS: dict[str, type] = {**SECTIONS, "world": FfhqWorldConfig, "attributes": AttributeTraining}
"""Those of a profile on photographs."""


def load_profile(name: str | Path, *, root: Path = ROOT) -> Profile:
    """profiles/<name>.yaml, or the file `name` if it ends with .yaml; ValueError names the first wrong key.

    The folders that a profile names are below `root`, wherever its file is.
    """
    path = Path(name) if str(name).endswith(".yaml") else root / "profiles" / f"{name}.yaml"
    try:
        profile = _read(path, root)
        _check(profile)
    except (ValueError, yaml.YAMLError) as error:
        where = path.relative_to(root) if path.is_relative_to(root) else path
        raise ValueError(f"{where.as_posix()}: {' '.join(str(error).split())}") from None
    return profile


def _read(path: Path, root: Path) -> Profile:
    values = _written(path)
    world = values.get("world")
    expected = PHOTO_SECTIONS if isinstance(world, dict) and world.get("kind") == "ffhq" else SECTIONS
    for key in values:
        index_of(key, expected, "section")
    for key in expected:
        if key not in values:
            raise ValueError(f"section {key} is missing; {key}: {{}} takes its defaults")
    sections = {key: read_section(cls, values[key], where=f"section {key}") for key, cls in expected.items()}
    directions = sections["directions"]
    implied = {k: v for k, v in PRESETS[directions.preset].items() if k not in values["directions"]}
    sections["directions"] = replace(directions, **implied, preset="custom")
    return Profile(name=path.stem, root=root, **sections)


def _written(path: Path, *, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The sections of a file, key by key on top of those of the profile that it names as its `base`."""
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.yaml"))
        if not known:
            raise ValueError(
                f"no profile in {path.parent.resolve()}: start in a clone of the repository, "
                "or give the path of a profile"
            )
        index_of(path.stem, known, "profile")
    if path in above:
        raise ValueError(f"profile {path.stem!r} is its own base")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"expected sections, got {values!r}")
    if (name := values.pop("profile", None)) != path.stem:
        raise ValueError(f"profile is {name!r}, expected the file's own name {path.stem!r}")
    if (base := values.pop("base", None)) is None:
        return values
    merged = _written(path.with_name(f"{base}.yaml"), above=(*above, path))
    for key, section in values.items():
        both = isinstance(section, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **section} if both else section
    return merged


def _check(profile: Profile) -> None:
    """ValueError for values that do not fit each other, and would only fail hours later."""
    trained, tables, figures = profile.directions.attributes, profile.tables, profile.figures
    untrained = [name for name in tables.attributes if trained != "all" and name not in trained]
    if untrained:
        raise ValueError(
            f"section tables, attributes: got {', '.join(untrained)}, expected names that are in "
            "directions.attributes"
        )
    if (latents := tables.survey_latents) > (most := tables.validation_latents):
        raise ValueError(f"section tables, survey_latents: got {latents}, expected at most {most}")
    if figures.choice < (faces := len(figures.attributes)):
        raise ValueError(
            f"section figures, choice: got {figures.choice}, expected at least {faces}, a face for each of "
            "its attributes"
        )
