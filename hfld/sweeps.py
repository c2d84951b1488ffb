"""T trained again and again: with weights of the landmark term, to choose one; with seeds and with twice the
steps, to trust it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from hfld.config import DirectionsConfig
from hfld.directions import train_directions
from hfld.editors import Editor, LinearEditor
from hfld.evaluation import Bench, Latents, evaluate
from hfld.losses import weight_for_pixel

PER_PIXEL = (0.0, 0.03, 0.1, 0.3, 1.0)
"""Weights of the landmark term per pixel at 256 (hfld.losses.weight_per_pixel); 0 is the baseline."""

CURVE = ("target_change", "landmark_drift_px", "emotion_tvd")


def sweep_landmark_weight(
    config: DirectionsConfig,
    bench: Bench,  # of the models that T is trained on
    validation: Latents,  # judged, and never the latents of a table
    attributes: Sequence[str],
    *,
    run_dir: Path,
    per_pixel: Sequence[float] = PER_PIXEL,
    resamples: int = 500,
    progress: bool = True,
) -> pd.DataFrame:
    """Judge T of each weight at native strength.

    Rows (per_pixel, weight, attribute, quantity, value, lo, hi, n) with the quantities of CURVE.
    """
    weights = {
        value: weight_for_pixel(value, norm=config.landmark_norm, unit=config.landmark_unit)
        for value in per_pixel
    }
    editors: dict[str, Editor] = {}
    for value, weight in weights.items():
        changed = replace(config.resolved(), lambda_landmark=weight)
        trained = train_directions(bench.models, changed, method="hfld", run_dir=run_dir, progress=progress)
        editors[str(value)] = LinearEditor(trained.T, trained.attributes)
    rows, _ = evaluate(bench, validation, editors, attributes, resamples=resamples)
    rows = rows[rows["quantity"].isin(CURVE) & rows["method"].isin(editors)]
    rows = rows.assign(per_pixel=rows["method"].astype(float))
    rows["weight"] = rows["per_pixel"].map(weights)
    columns = ["per_pixel", "weight", "attribute", "quantity", "value", "lo", "hi", "n"]
    return rows[columns].sort_values(["attribute", "quantity", "per_pixel"], ignore_index=True)


def kept_change(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `sweep_landmark_weight` -> per weight (index per_pixel) and attribute: the target change as a
    share of the baseline's.
    """
    change = rows[rows["quantity"] == "target_change"]
    table = change.pivot(index="per_pixel", columns="attribute", values="value").sort_index()
    if 0.0 not in table.index:
        raise ValueError(f"weights {list(table.index)}: none is 0, the baseline that shares are counted from")
    return table / table.loc[0.0]


def heaviest(rows: pd.DataFrame, *, keep: float = 0.5) -> float:
    """The rule by which the weight is chosen: the heaviest (per pixel) at which, as at all lighter ones,
    every attribute keeps this share of the target change that it has without the term.
    """
    kept = kept_change(rows).min(axis=1)
    return float(kept.index[(kept >= keep).cummin()].max())


def variants(config: DirectionsConfig, *, seeds: Sequence[int] = (1, 2)) -> dict[str, DirectionsConfig]:
    """The trainings whose differences should agree: one per seed, and the first seed with twice the steps."""
    config = config.resolved()
    named = {f"seed {seed}": replace(config, seed=seed) for seed in seeds}
    return named | {"twice the steps": replace(config, seed=seeds[0], steps=2 * config.steps)}


def repeat(
    configs: Mapping[str, DirectionsConfig],
    bench: Bench,
    test: Latents,
    validation: Latents,
    attributes: Sequence[str],
    *,
    run_dir: Path,
    methods: tuple[str, str] = ("baseline", "hfld"),
    resamples: int = 2000,
    progress: bool = True,
) -> pd.DataFrame:
    """Train both methods with each configuration -> the tidy rows of `evaluate`, with a column `variant`."""
    frames = []
    for variant, config in configs.items():
        editors: dict[str, Editor] = {}
        for method in methods:
            trained = train_directions(
                bench.models, config, method=method, run_dir=run_dir, progress=progress
            )
            editors[method] = LinearEditor(trained.T, trained.attributes)
        rows, _ = evaluate(
            bench, test, editors, attributes, validation=validation, reference=methods, resamples=resamples
        )
        frames.append(rows.assign(variant=variant))
    return pd.concat(frames, ignore_index=True)


def spread(rows: pd.DataFrame, quantities: Sequence[str] = CURVE) -> pd.DataFrame:
    """hfld - baseline per strength, attribute, quantity: mean, standard deviation, least, most."""
    chosen = rows[(rows["method"] == "difference") & rows["quantity"].isin(quantities)]
    groups = chosen.groupby(["strength", "attribute", "quantity"], sort=False)["value"]
    return groups.agg(mean="mean", sd="std", least="min", most="max", variants="count").reset_index()
