"""Does T learn the same in bfloat16 as in float32? Trained with several seeds in each.

    python -m tools.precision portraits

Pictures, targets and validation latents of a seed are the same in both precisions, so that they are compared
in pairs, and their difference with what another seed changes. Writes results/<profile>/precision/.
"""

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure

from hfld.config import DirectionsConfig, load_profile
from hfld.images import write_text
from hfld.models import Models
from hfld.report import figures
from hfld.training.directions import train_directions

COLOURS = {"fp32": "#0072B2", "tf32": "#009E73", "bf16": "#D55E00"}
STYLES = ("-", "--", ":", "-.")


def curves(
    config: DirectionsConfig,
    models: Models,
    *,
    precisions: Sequence[str],
    seeds: Sequence[int],
    run_dir: Path,
    progress: bool = True,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows (precision, seed, kind "training" | "validation", step, total), and the cosine between the first
    precision's T and each other one's, mean over the attributes, per seed (seed, precision, cosine).
    """
    rows, matrices = [], {}
    for seed, precision in itertools.product(seeds, precisions):
        changed = replace(config, seed=seed, precision=precision)
        trained = train_directions(models, changed, method="hfld", run_dir=run_dir, progress=progress)
        named = {"precision": precision, "seed": seed}
        for kind, log in (("training", trained.history), ("validation", trained.validation)):
            rows += [{**named, "kind": kind, "step": row["step"], "total": row["total"]} for row in log]
        matrices[seed, precision] = trained.T.flatten(1)
    alike = []
    for seed, other in itertools.product(seeds, precisions[1:]):
        cosine = torch.cosine_similarity(matrices[seed, precisions[0]], matrices[seed, other]).mean().item()
        alike.append({"seed": seed, "precision": other, "cosine": cosine})
    return pd.DataFrame(rows), pd.DataFrame(alike)


def ends(rows: pd.DataFrame) -> pd.DataFrame:
    """Where trainings end, a row per kind and seed and a column per precision: the last validation, and the
    mean of the last tenth of the training log.
    """
    last = rows["step"] > 0.9 * rows["step"].max()
    kept = rows[last & ((rows["kind"] == "training") | (rows["step"] == rows["step"].max()))]
    table = kept.pivot_table(index=["kind", "seed"], columns="precision", values="total")
    return table[list(dict.fromkeys(rows["precision"]))]


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """`ends` -> per kind and precision: the mean, its difference from the first precision's with the standard
    deviation over the seeds, and what the seeds differ by in that precision.
    """
    ended, away = table.groupby("kind"), table.sub(table.iloc[:, 0], axis="index").groupby("kind")
    columns = {"mean": ended.mean(), "difference": away.mean(), "its sd": away.std()}
    columns["sd of the seeds"] = ended.std()
    return pd.DataFrame({name: values.stack() for name, values in columns.items()}).reset_index()


def picture(rows: pd.DataFrame) -> Figure:
    """Both losses over the steps, a colour for each precision and a dash for each seed."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    styles = dict(zip(rows["seed"].unique(), itertools.cycle(STYLES), strict=False))
    for ax, kind in zip(axes, ("training", "validation"), strict=True):
        for (precision, seed), part in rows[rows["kind"] == kind].groupby(["precision", "seed"], sort=False):
            line = {"color": COLOURS[precision], "linestyle": styles[seed], "linewidth": 1.2}
            ax.plot(part["step"], part["total"], label=f"{precision}, seed {seed}", **line)
        ax.set(title=f"total loss, {kind}", xlabel="step")
        ax.grid(True, color="#e6e6e6", linewidth=0.7)
    axes[1].legend(fontsize=8, frameon=False)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.precision", description=__doc__.split("\n")[0])
    parser.add_argument("profile", nargs="?", default="portraits")
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"], choices=list(COLOURS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    options = parser.parse_args(arguments)
    profile = load_profile(options.profile)
    rows, alike = curves(
        profile.directions,
        Models.of(profile),
        precisions=options.precisions,
        seeds=options.seeds,
        run_dir=profile.paths.runs / "directions",
    )
    folder = profile.paths.results / "precision"
    write_text(folder / "curves.csv", rows.to_csv(index=False, float_format="%.5g"))
    write_text(folder / "ends.csv", ends(rows).to_csv(float_format="%.5g"))
    figures.save(picture(rows), folder / "curves.png")
    print(
        ends(rows).round(4).to_string(), differences(ends(rows)).round(4).to_string(index=False), sep="\n\n"
    )
    print("\nCosine of T with the first precision's:", alike.round(3).to_string(index=False), sep="\n")


if __name__ == "__main__":
    main()
