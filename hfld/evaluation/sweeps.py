"""T trained again and again: with weights of the landmark term, to choose one; with seeds and with twice the
steps, to trust it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import t as student
from torch import Tensor

from hfld.config import DirectionsConfig
from hfld.editors import Editor, LinearEditor
from hfld.evaluation.evaluator import Evaluator, Latents, evaluate
from hfld.evaluation.rows import COMPARISON
from hfld.losses import weight_for_pixel, weight_per_pixel
from hfld.models import Models
from hfld.training.directions import train_directions

WEIGHT_SHARES = (0.0, 1 / 10, 1 / 3, 1.0, 10 / 3)
"""Weights that a sweep tries, as shares of the profile's own; 0 is the baseline."""

Z_95 = 1.96  # half of a 95 % interval in standard errors

CURVE_QUANTITIES = ("target_change", "landmark_drift_px", "emotion_tvd")


def sweep_landmark_weight(
    config: DirectionsConfig,
    evaluator: Evaluator,  # of the models that T is trained on
    validation: Latents,  # judged, and never the latents of a table
    attributes: Sequence[str],
    *,
    run_dir: Path,
    resamples: int = 500,
    progress: bool = True,
) -> pd.DataFrame:
    """Judge T of each weight around the config's own, at native strength.

    Rows (per_pixel, weight, attribute, quantity, value, lo, hi, n) with the quantities of CURVE_QUANTITIES.
    """
    weights = {
        per_pixel: weight_for_pixel(per_pixel, norm=config.landmark_norm, unit=config.landmark_unit)
        for per_pixel in weights_around(config)
    }
    editors: dict[str, Editor] = {}
    for per_pixel, weight in weights.items():
        changed = replace(config, lambda_landmark=weight)
        trained = train_directions(
            evaluator.models, changed, method="hfld", run_dir=run_dir, progress=progress
        )
        editors[str(per_pixel)] = LinearEditor(trained.T, trained.attributes)
    rows, _ = evaluate(evaluator, validation, editors, attributes, resamples=resamples)
    rows = rows[rows["quantity"].isin(CURVE_QUANTITIES) & rows["method"].isin(editors)]
    rows = rows.assign(per_pixel=rows["method"].astype(float))
    rows["weight"] = rows["per_pixel"].map(weights)
    columns = ["per_pixel", "weight", "attribute", "quantity", "value", "lo", "hi", "n"]
    return rows[columns].sort_values(["attribute", "quantity", "per_pixel"], ignore_index=True)


def weights_around(config: DirectionsConfig) -> list[float]:
    """WEIGHT_SHARES of the config's own weight, per pixel at 256 (hfld.losses.weight_per_pixel)."""
    own = weight_per_pixel(config.lambda_landmark, norm=config.landmark_norm, unit=config.landmark_unit)
    return [float(f"{factor * own:.3g}") for factor in WEIGHT_SHARES]


def kept_change(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `sweep_landmark_weight` -> per weight (index per_pixel) and attribute: the target change as a
    share of the baseline's.
    """
    change = rows[rows["quantity"] == "target_change"]
    table = change.pivot(index="per_pixel", columns="attribute", values="value").sort_index()
    if 0.0 not in table.index:
        raise ValueError(f"weights {list(table.index)}: none is 0, the baseline that shares are counted from")
    return table / table.loc[0.0]


def choose_weight(rows: pd.DataFrame, *, keep: float = 0.5) -> float:
    """The rule by which the weight is chosen: the heaviest (per pixel) at which, as at all lighter ones,
    every attribute keeps this share of the target change that it has without the term.
    """
    kept = kept_change(rows).min(axis=1)
    return float(kept.index[(kept >= keep).cummin()].max())


DOUBLED = "twice the steps"


def variants(config: DirectionsConfig, *, seeds: Sequence[int] = (1, 2, 3)) -> dict[str, DirectionsConfig]:
    """The trainings whose differences should agree: one per seed, and the first seed with twice the steps."""
    named = {f"seed {seed}": replace(config, seed=seed) for seed in seeds}
    return named | {DOUBLED: replace(config, seed=seeds[0], steps=2 * config.steps)}


Trainings = Mapping[str, Mapping[str, LinearEditor]]
"""Variant -> method -> the trained T."""


def train_variants(
    configs: Mapping[str, DirectionsConfig],
    models: Models,
    *,
    run_dir: Path,
    progress: bool = True,
) -> Trainings:
    """Train both methods with each configuration."""
    found: dict[str, dict[str, LinearEditor]] = {}
    for variant, config in configs.items():
        found[variant] = {}
        for method in COMPARISON:
            trained = train_directions(models, config, method=method, run_dir=run_dir, progress=progress)
            found[variant][method] = LinearEditor(trained.T, trained.attributes)
    return found


def evaluate_trainings(
    trainings: Trainings,
    evaluator: Evaluator,
    test: Latents,
    validation: Latents,
    attributes: Sequence[str],
    *,
    resamples: int = 2000,
) -> pd.DataFrame:
    """Judge each variant -> the tidy rows of `evaluate`, with a column `variant`."""
    frames = []
    for variant, editors in trainings.items():
        rows, _ = evaluate(
            evaluator,
            test,
            editors,
            attributes,
            validation=validation,
            reference=tuple(editors),
            resamples=resamples,
        )
        frames.append(rows.assign(variant=variant))
    return pd.concat(frames, ignore_index=True)


def agreement(trainings: Trainings, attributes: Sequence[str]) -> pd.DataFrame:
    """How alike the directions of different trainings are, per method and attribute.

    cosine: of T_k [L, w_dim], mean over the pairs of seeds; doubled: of the training with twice the steps,
    mean over the other seeds (its own is left out: it began at the same place).
    """
    own, *others = (name for name in trainings if name != DOUBLED)
    pairs = {"cosine": list(combinations((own, *others), 2))}
    if DOUBLED in trainings:
        pairs["doubled"] = [(DOUBLED, other) for other in others]
    found = []
    for method, attribute in product(trainings[own], attributes):
        rows = {name: editors[method].direction(attribute) for name, editors in trainings.items()}
        row = {name: np.mean([_cosine(rows[a], rows[b]) for a, b in pair]) for name, pair in pairs.items()}
        found.append({"method": method, "attribute": attribute} | row)
    return pd.DataFrame(found)


def _cosine(a: Tensor, b: Tensor) -> float:
    return torch.nn.functional.cosine_similarity(a.flatten(), b.flatten(), dim=0).item()


def spread(rows: pd.DataFrame, quantities: Sequence[str] = CURVE_QUANTITIES) -> pd.DataFrame:
    """hfld - baseline per strength, attribute and quantity, over the trainings of `evaluate_trainings`.

    mean, sd: of the seeds; lo, hi: 95 % interval of the mean over trainings and latents; least, most: within
    which 95 % of further trainings lie, on the same latents; doubled: the training with twice the steps, and
    whether it lies there.
    """
    chosen = rows[(rows["method"] == "difference") & rows["quantity"].isin(quantities)]
    found = []
    for key, part in chosen.groupby(["strength", "attribute", "quantity"], sort=False):
        part = part.set_index("variant")
        seeds = part.drop(index=DOUBLED, errors="ignore")
        lo, hi = over_trainings(seeds["value"], (seeds["hi"] - seeds["lo"]).mean() / (2 * Z_95))
        least, most = further_training(seeds["value"])
        row = {"mean": seeds["value"].mean(), "lo": lo, "hi": hi, "sd": seeds["value"].std()}
        row |= {"least": least, "most": most, "trainings": len(seeds)}
        if DOUBLED in part.index:
            doubled = part.loc[DOUBLED, "value"]
            row |= {"doubled": doubled, "doubled_inside": bool(least <= doubled <= most)}
        found.append(dict(zip(("strength", "attribute", "quantity"), key, strict=True)) | row)
    return pd.DataFrame(found)


def over_trainings(values: np.ndarray, error: float) -> tuple[float, float]:
    """95 % interval of the mean of one value per training, with a standard error `error` from the latents.

    Half its width is the root of the squared half widths that either source of chance has alone, Student's t
    for the few trainings. All are measured on the same latents: `error` does not shrink with their number.
    """
    trainings = student.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    half = float(np.hypot(trainings, Z_95 * error))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def further_training(values: np.ndarray) -> tuple[float, float]:
    """Where a further training's value lies with a probability of 95 %, given one value per training."""
    count = len(values)
    half = float(student.ppf(0.975, count - 1) * np.std(values, ddof=1) * (1 + 1 / count) ** 0.5)
    return float(np.mean(values) - half), float(np.mean(values) + half)
