"""Fit an editor to one generator: the bank that all of them learn from, and what each is made with."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from hfld import checkpoints
from hfld.attributes import index_of
from hfld.config import EditorsConfig, Profile
from hfld.editors import TRAINED, editor_file
from hfld.editors.adatrans import OFFICIAL_ADATRANS
from hfld.editors.base import Bank, Score
from hfld.editors.flow import OFFICIAL_SDFLOW, OFFICIAL_STYLEFLOW
from hfld.editors.ganspace import GanSpace
from hfld.editors.interfacegan import InterFaceGan
from hfld.editors.sefa import SeFa, style_weights
from hfld.editors.trained import TrainedConfig, TrainedEditor
from hfld.editors.unsupervised import Validation
from hfld.models import Models, autocast
from hfld.training.loop import run_folder

CHUNK = 4096
"""Latents that pass through the mapping network at once."""


class Fitted(NamedTuple):
    """A fitted editor, where it was saved, and how long fitting took."""

    editor: Any
    path: Path
    seconds: float


def training_bank(models: Models, config: EditorsConfig, *, run_dir: Path, progress: bool = True) -> Bank:
    """Latents of the training split with the regressor's scores; made once and kept under `run_dir`."""
    names = ("generator", "regressor")
    made_from = {"latents": config.latents, "seed": config.seed, "precision": config.precision}
    fingerprint = made_from | {name: models.hashes.get(name) for name in names}
    path = run_folder(run_dir, fingerprint) / "bank.safetensors"
    if path.is_file():
        tensors, _ = checkpoints.load(path)
        return Bank(
            models.generator.repeat(tensors["w"].to(models.device)), tensors["scores"].to(models.device)
        )
    ws = models.ws(models.latents(config.latents, seed=config.seed, split="train"))
    score = scorer(models, config.precision)
    batches = tqdm(ws.split(64), desc="bank", disable=not progress)
    scores = torch.cat([score(part) for part in batches])
    if all(fingerprint[name] for name in names):  # without hashes nobody could tell whose scores they are
        checkpoints.save(path, {"w": ws[:, 0], "scores": scores}, fingerprint)
    return Bank(ws, scores)


def scorer(models: Models, precision: str) -> Score:
    """ws -> the regressor's scores [N, 40] at a precision."""
    context = autocast(precision, models.device)

    def score(ws: Tensor) -> Tensor:
        with context():
            return models.score(ws)

    return score


def fit_editor(
    name: str,  # a key of MAKERS
    models: Models,
    profile: Profile,  # its section `name` and `editors`
    *,
    progress: bool = True,
) -> Fitted:
    """Fit one editor and save it in the profile's weights; ValueError names the nearest that can be."""
    index_of(name, MAKERS, "editor to fit")
    config = profile.editors
    bank = training_bank(models, config, run_dir=profile.paths.runs / "bank", progress=progress)
    z = models.latents(config.validation_latents, seed=config.seed, split="validation")
    validation = Validation(models.ws(z), scorer(models, config.precision))
    started = time.monotonic()
    editor = MAKERS[name](models, profile, validation, progress).fit(bank)
    path = editor_file(profile.paths.weights, name)
    editor.save(path)
    seconds = editor.seconds if isinstance(editor, TrainedEditor) else time.monotonic() - started
    return Fitted(editor, path, seconds)


def _ganspace(models: Models, profile: Profile, validation: Validation, progress: bool) -> GanSpace:
    options = asdict(profile.ganspace)
    codes = _codes(models, options.pop("samples"), profile.editors.seed)
    return GanSpace(codes=codes, validation=validation, progress=progress, **options)


def _interfacegan(models: Models, profile: Profile, validation: Validation, progress: bool) -> InterFaceGan:
    options = asdict(profile.interfacegan)
    return InterFaceGan(validation=validation, progress=progress, seed=profile.editors.seed, **options)


def _sefa(models: Models, profile: Profile, validation: Validation, progress: bool) -> SeFa:
    weights = style_weights(models.generator.synthesis)
    return SeFa(weights=weights, validation=validation, progress=progress, **asdict(profile.sefa))


OFFICIAL = {"styleflow": OFFICIAL_STYLEFLOW, "sdflow": OFFICIAL_SDFLOW, "adatrans": OFFICIAL_ADATRANS}
"""Settings of the references, by section of the profile."""


def trained_config(name: str, profile: Profile) -> TrainedConfig:
    """Settings of an editor in TRAINED: the profile's section or the references', the landmark term by name.

    Attributes, seed and precision are the profile's either way.
    """
    section = name.removesuffix("_hfld")
    if profile.editors.schedule == "full":
        config = OFFICIAL[section]
    else:
        config = TRAINED[name].config_type(**asdict(getattr(profile, section)))
    return replace(
        config,
        attributes=profile.directions.attributes,
        landmark_weight=profile.editors.landmark_weight if name.endswith("_hfld") else 0.0,
        precision=profile.editors.precision,
        seed=profile.editors.seed,
    )


def _trained_maker(name: str) -> Callable[[Models, Profile, Validation, bool], TrainedEditor]:
    def make(models: Models, profile: Profile, validation: Validation, progress: bool) -> TrainedEditor:
        run_dir = profile.paths.runs / "editors"
        config = trained_config(name, profile)
        return TRAINED[name](config, models=models, run_dir=run_dir, progress=progress)

    return make


MAKERS: dict[str, Callable[[Models, Profile, Validation, bool], Any]] = {
    "ganspace": _ganspace,
    "interfacegan": _interfacegan,
    "sefa": _sefa,
    **{name: _trained_maker(name) for name in TRAINED},
}
"""name -> how to make the editor that is still to be fitted."""


def _codes(models: Models, count: int, seed: int) -> Iterator[Tensor]:
    """w of `count` training latents, in chunks."""
    for z in models.latents(count, seed=seed, split="train").split(CHUNK):
        yield models.ws(z)[:, 0]
