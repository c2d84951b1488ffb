"""The training of T, with and without the landmark loss.

    L = lambda_1 L_reg + lambda_2 L_c + lambda_3 L_D + lambda_4 L_h

The baseline (Enjoy Your Editing) is the same with lambda_4 = 0.
"""

import argparse
import copy
import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hfld.attributes import ATTRIBUTES, attribute_index
from hfld.config import METHODS, DirectionsConfig, load_profile
from hfld.directions import DirectionMatrix, Directions, principal_axes, regressed
from hfld.losses import regression_loss
from hfld.models import Models, pick_device
from hfld.training.distributed import ALONE, Team, join, leave
from hfld.training.graphs import Function, compiled, lazily, tuned
from hfld.training.loop import batch_indices, cosine_schedule, run_folder, train
from hfld.training.objective import (
    Originals,
    edit_chances,
    edit_terms,
    originals,
    sample_targets,
    term_weights,
)

BETAS = (0.5, 0.99)


AXES_FROM = 20_000  # latents


POOLS_APART = 1_000_003  # seeds


LONG = 5000  # steps that are worth a compilation


def train_directions(
    models: Models,
    config: DirectionsConfig,
    *,
    method: str,  # "baseline", "hfld", "baseline_w", "hfld_w": see DirectionsConfig.for_method
    run_dir: Path,  # checkpoints and logs, in a folder per set of parameters and inputs
    progress: bool = True,
    team: Team = ALONE,  # processes that share every batch
    graphs: bool | None = None,  # CUDA graphs (hfld.training.graphs); None: on a GPU
    compile: bool | None = None,  # torch.compile; None: on a GPU, if the training is long
) -> Directions:
    """Train T. Methods differ in the weight of the landmark term and the space (W+ or W), in nothing else."""
    config = config.for_method(method)
    attributes = ATTRIBUTES if config.attributes == "all" else tuple(config.attributes)
    on_gpu = torch.device(models.device).type == "cuda"
    graphs = on_gpu if graphs is None else graphs
    compile = on_gpu and config.steps >= LONG if compile is None else compile
    _require_networks(models, term_weights(config))
    if config.seed < 1:
        raise ValueError(
            f"seed: {config.seed}, expected 1 or more: with 0, steps would draw the test's latents"
        )
    for key in ("adversarial_every", "content_every"):
        if getattr(config, key) < 1:
            raise ValueError(f"{key}: {getattr(config, key)}, expected 1 (every step) or more")
    if config.start == "regressed" and not config.pool:
        raise ValueError("start: regressed needs latents to regress on, and pool is 0; give it some hundreds")
    group = getattr(models.discriminator, "group", 4) if config.lambda_adversarial else 1
    if config.batch % (group * team.size) and team.size > 1:
        raise ValueError(
            f"batch: {config.batch} over {team.size} processes, expected a multiple of {group * team.size}: "
            f"the discriminator compares samples in groups of {group}"
        )
    if config.discriminator == "random" and models.discriminator is not None:
        models = replace(models, discriminator=_with_random_weights(models.discriminator, seed=config.seed))
    groups = [attributes] if config.joint else [(name,) for name in attributes]
    given = {
        "method": method,
        "run_dir": run_dir,
        "progress": progress,
        "team": team,
        "graphs": graphs,
        "compile": compile,
    }
    runs = []
    for names in groups:
        with tuned(config.precision):
            runs.append(_train_group(models, config, names, **given))
    return Directions(
        T=torch.cat([T for T, _, _ in runs]),
        attributes=attributes,
        method=method,
        metadata={"config": asdict(config), "hashes": dict(models.hashes)},
        history=[row for _, rows, _ in runs for row in rows],
        validation=[row for _, _, rows in runs for row in rows],
    )


def _train_group(
    models: Models,
    config: DirectionsConfig,
    names: tuple[str, ...],
    *,
    method: str,
    run_dir: Path,
    progress: bool,
    team: Team,
    graphs: bool,
    compile: bool,
) -> tuple[Tensor, list[dict[str, Any]], list[dict[str, Any]]]:
    columns = [attribute_index(name) for name in names]
    weights = term_weights(config)
    fingerprint = {"config": asdict(config), "attributes": list(names), "hashes": dict(models.hashes)}

    def prepare(z: Tensor) -> Originals:
        return originals(models, z, columns=columns, precision=config.precision)

    probe = models.ws(models.latents(1, seed=config.seed, split="train"))
    axes = None
    if config.whiten:
        w = models.ws(models.latents(AXES_FROM, seed=config.seed, split="train"))[:, 0]
        axes = team.share(principal_axes(w))
    matrix = DirectionMatrix(
        attributes=len(names),
        rows=1 if config.space == "w" else probe.shape[1],
        w_dim=probe.shape[2],
        seed=config.seed,
        axes=axes,
    ).to(models.device)
    log = ValidationLog(
        models,
        matrix,
        prepare(models.latents(config.validation_latents, seed=config.seed, split="validation")),
        names=names,
        config=config,
    )

    @functools.lru_cache(maxsize=1)
    def pool(number: int) -> Originals:
        return prepare(models.latents(config.pool, seed=config.seed + number * POOLS_APART, split="train"))

    if config.start == "regressed":
        first = pool(0)
        matrix.start_at(team.share(regressed(first.ws[:, 0], first.scores, axes)))
    rows = team.rows(config.batch)
    chance = edit_chances(config, names)
    every = {"adversarial": config.adversarial_every, "content": config.content_every}

    fast = compiled(models) if compile else models

    def fresh(z: Tensor) -> tuple[Tensor, ...]:
        return originals(fast, z, columns=columns, precision=config.precision).tensors()

    def losses(*values: Tensor, due: tuple[str, ...]) -> tuple[Tensor, ...]:
        *parts, delta, target = values
        given = {"columns": columns, "config": config, "terms": due}
        terms = edit_terms(fast, matrix, Originals(*parts), delta, target, **given)
        return tuple(terms[name] for name in due)

    @functools.cache
    def losses_of(due: tuple[str, ...]) -> Function:
        function = functools.partial(losses, due=due)
        return lazily(function, trained=matrix) if graphs else function

    if graphs:
        fresh = lazily(fresh)

    def step(i: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + i)
        if not config.pool:
            z = torch.randn(config.batch, models.z_dim, generator=generator)[rows]
            original = Originals(*fresh(z.to(models.device)))
        else:
            index = batch_indices(i, count=config.pool, batch=config.batch, seed=config.seed)
            original = pool(i // config.refresh if config.refresh else 0)[index[rows]]
        delta, target = sample_targets(
            original.scores,
            sampling=config.sampling,
            edited=config.edited,
            chance=chance,
            generator=generator,
            batch=config.batch,
            rows=rows,
        )
        due = tuple(name for name in weights if i % every.get(name, 1) == 0)
        terms = dict(zip(due, losses_of(due)(*original.tensors(), delta, target), strict=True))
        absent = torch.zeros((), device=models.device)
        return {
            name: weight * every.get(name, 1) * terms.get(name, absent) for name, weight in weights.items()
        }

    def after(i: int) -> None:
        if (i + 1) % config.validate_every == 0 or i + 1 == config.steps:
            log.measure(i + 1)

    history = train(
        step=step,
        optimizer=torch.optim.Adam(matrix.parameters(), lr=config.lr, betas=BETAS),
        state={"matrix": matrix, "validation": log},
        steps=config.steps,
        run_dir=run_folder(
            run_dir, fingerprint, code=(train_directions, edit_terms, DirectionMatrix, regression_loss)
        ),
        fingerprint=fingerprint,
        schedule=cosine_schedule(config.steps) if config.schedule == "cosine" else None,
        after=after,
        log_every=max(1, config.steps // 100),
        save_every=max(1, config.steps // 10),
        progress=progress,
        name=method if config.joint else f"{method} {names[0]}",
        team=team,
    )
    T = matrix.T.detach().cpu().expand(-1, probe.shape[1], -1).contiguous()
    label = {} if config.joint else {"attribute": names[0]}
    return T, [{**label, **row} for row in history], [{**label, **row} for row in log.rows]


class ValidationLog:
    """Losses on held-out latents and fixed targets: weighted terms, their total, the drift in px of 256."""

    def __init__(
        self,
        models: Models,
        matrix: DirectionMatrix,
        original: Originals,
        *,
        names: tuple[str, ...],  # the attributes of the scores
        config: DirectionsConfig,
        batch: int = 32,
    ) -> None:
        self.rows: list[dict[str, float]] = []
        self._models, self._matrix, self._config = models, matrix, config
        self._columns = [attribute_index(name) for name in names]
        delta, target = sample_targets(
            original.scores,
            sampling=config.sampling,
            edited=config.edited,
            chance=edit_chances(config, names),
            generator=torch.Generator().manual_seed(config.seed),
        )
        chunks = torch.arange(len(delta)).split(models.chunk(batch))
        self._batches = [(original[chunk], delta[chunk], target[chunk]) for chunk in chunks]

    @torch.no_grad()
    def measure(self, step: int) -> None:
        weights = term_weights(self._config)
        drift = () if self._models.landmarks is None else ("landmark",)
        pixels = replace(self._config, landmark_norm="l1", landmark_unit="pixel")
        sums: dict[str, Tensor] = {}
        for original, delta, target in self._batches:
            args = (self._models, self._matrix, original, delta, target)
            terms = edit_terms(*args, columns=self._columns, config=self._config, terms=tuple(weights))
            terms = {name: weights[name] * value for name, value in terms.items()}
            terms["drift_px"] = edit_terms(*args, columns=self._columns, config=pixels, terms=drift).get(
                "landmark"
            )
            for name, value in terms.items():
                if value is not None:
                    sums[name] = sums.get(name, 0) + value.sum()
        count = sum(len(delta) for _, delta, _ in self._batches)
        means = {name: float(value) / count for name, value in sums.items()}
        total = sum(value for name, value in means.items() if name in weights)
        self.rows.append({"step": step, "total": total, **means})

    def state_dict(self) -> dict[str, str]:
        return {"rows": json.dumps(self.rows)}

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        self.rows = json.loads(state["rows"])


def _require_networks(models: Models, weights: Mapping[str, float]) -> None:
    needs = {"content": "perceptual", "adversarial": "discriminator", "landmark": "landmarks"}
    for term, network in needs.items():
        if term in weights and getattr(models, network) is None:
            raise ValueError(f"lambda_{term} is {weights[term]} but there is no {network} network")


def _with_random_weights(discriminator: nn.Module, *, seed: int) -> nn.Module:
    """A StyleGAN2 discriminator as initialised: N(0, 1) weights (scaled at run time), zero biases."""
    generator = torch.Generator().manual_seed(seed)
    fresh = copy.deepcopy(discriminator)
    with torch.no_grad():
        for parameter in fresh.parameters():
            weight = parameter.ndim > 1
            parameter.copy_(torch.randn(parameter.shape, generator=generator) if weight else torch.zeros(()))
    return fresh


def main() -> None:
    """Train on all processes of torchrun; 02_directions then finds its training finished."""
    parser = argparse.ArgumentParser(prog="torchrun --nproc-per-node N -m hfld.directions")
    parser.add_argument("profile")
    parser.add_argument("method", choices=METHODS)
    options = parser.parse_args()
    profile = load_profile(options.profile)
    team = join(pick_device(profile.world.device))
    models = Models.of(profile)
    run_dir = profile.paths.runs / "directions"
    train_directions(models, profile.directions, method=options.method, run_dir=run_dir, team=team)
    leave(team)
