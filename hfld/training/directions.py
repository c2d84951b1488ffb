"""The training of T: the one loop that minimises the paper's final loss, `hfld.losses.total_loss`.

The baseline (Enjoy Your Editing) and HFLD differ in the weight of the landmark term, in nothing else.
"""

import argparse
import copy
import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from hfld.attributes import ATTRIBUTES, attribute_index
from hfld.config import METHODS, DirectionsConfig, load_profile
from hfld.directions import DirectionMatrix, Directions, principal_axes, ridge_start
from hfld.losses import regression_loss, total_loss
from hfld.models import Models, pick_device
from hfld.training.distributed import ALONE, Team, join, leave
from hfld.training.graphs import Function, capture_on_first_call, compile_models, cuda_flags
from hfld.training.loop import Run, batch_indices, cosine_schedule, run_folder, set_learning_rates
from hfld.training.objective import (
    Unedited,
    edit_chances,
    loss_terms,
    sample_targets,
    term_weights,
    unedited_batch,
)

BETAS = (0.5, 0.99)
LATENTS_OF_AXES = 20_000
SEEDS_BETWEEN_POOLS = 1_000_003
STEPS_WORTH_COMPILING = 5000


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
    """Train T for the attributes of `config`: together, or (`joint: false`) one after the other."""
    config = config.for_method(method)
    _check(models, config, team)
    on_gpu = torch.device(models.device).type == "cuda"
    if config.discriminator == "random" and models.discriminator is not None:
        models = replace(models, discriminator=_with_random_weights(models.discriminator, seed=config.seed))
    attributes = ATTRIBUTES if config.attributes == "all" else tuple(config.attributes)
    groups = [attributes] if config.joint else [(name,) for name in attributes]
    runs = []
    for names in groups:
        with cuda_flags(config.precision):
            training = Training(
                models,
                config,
                names,
                team=team,
                graphs=on_gpu if graphs is None else graphs,
                compile=on_gpu and config.steps >= STEPS_WORTH_COMPILING if compile is None else compile,
            )
            label = method if config.joint else f"{method} {names[0]}"
            history = training.run(run_dir, progress=progress, name=label)
            runs.append((training.T, history, training.validation.rows))
    labels = [{} if config.joint else {"attribute": names[0]} for names in groups]
    return Directions(
        T=torch.cat([T for T, _, _ in runs]),
        attributes=attributes,
        method=method,
        metadata={"config": asdict(config), "hashes": dict(models.hashes)},
        history=[{**label, **row} for label, (_, rows, _) in zip(labels, runs, strict=True) for row in rows],
        validation=[
            {**label, **row} for label, (_, _, rows) in zip(labels, runs, strict=True) for row in rows
        ],
    )


class Training:
    """The training of the rows of T for some attributes: what a step edits, what it costs, the loop."""

    def __init__(
        self,
        models: Models,
        config: DirectionsConfig,
        names: tuple[str, ...],  # of the attributes
        *,
        team: Team,
        graphs: bool,
        compile: bool,
    ) -> None:
        self.models, self.config, self.names, self.team, self.graphs = models, config, names, team, graphs
        self.columns = [attribute_index(name) for name in names]
        self.chances = edit_chances(config, names)
        self.weights = term_weights(config)
        self.every = {"adversarial": config.adversarial_every, "content": config.content_every}
        self.fast = compile_models(models) if compile else models
        self.pool = functools.lru_cache(maxsize=1)(self._pool)
        self.fresh = capture_on_first_call(self._fresh) if graphs else self._fresh
        self.captured = functools.cache(self._captured)
        self.matrix = self._initial_matrix()
        held_out = models.latents(config.validation_latents, seed=config.seed, split="validation")
        self.validation = ValidationLog(
            models, self.matrix, self._unedited(held_out), names=names, config=config
        )

    @property
    def T(self) -> Tensor:  # [A, L, w_dim]
        return self.matrix.T.detach().cpu().expand(-1, self.models.generator.num_ws, -1).contiguous()

    def run(self, run_dir: Path, *, progress: bool, name: str) -> list[dict[str, float]]:
        """Minimise the final loss; the log of its weighted terms."""
        config, matrix = self.config, self.matrix
        optimizer = torch.optim.Adam(matrix.parameters(), lr=config.lr, betas=BETAS)
        schedule = cosine_schedule(config.steps) if config.schedule == "cosine" else lambda i: 1.0
        fingerprint = {
            "config": asdict(config),
            "attributes": list(self.names),
            "hashes": dict(self.models.hashes),
        }
        code = (Training, loss_terms, DirectionMatrix, regression_loss)
        steps = Run(
            run_folder(run_dir, fingerprint, code=code),
            steps=config.steps,
            state={"matrix": matrix, "optimizer": optimizer, "validation": self.validation},
            fingerprint=fingerprint,
            log_every=max(1, config.steps // 100),
            save_every=max(1, config.steps // 10),
            progress=progress,
            name=name,
            team=self.team,
        )
        for i in steps:
            set_learning_rates(optimizer, [config.lr], schedule(i))
            unedited, delta, target = self.batch(i)
            terms, weights = self.terms(i, unedited, delta, target)
            total, weighted = total_loss(terms, weights)
            steps.record(weighted)
            optimizer.zero_grad(set_to_none=True)
            total.backward()
            self.team.average_gradients(matrix)
            optimizer.step()
            if (i + 1) % config.validate_every == 0 or i + 1 == config.steps:
                self.validation.measure(i + 1)
        return steps.history

    def batch(self, i: int) -> tuple[Unedited, Tensor, Tensor]:
        """What step i edits, by how much and to which scores: this process's share of the batch."""
        config, rows = self.config, self.team.rows(self.config.batch)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + i)
        if not config.pool:
            z = torch.randn(config.batch, self.models.z_dim, generator=generator)[rows]
            unedited = Unedited(*self.fresh(z.to(self.models.device)))
        else:
            index = batch_indices(i, count=config.pool, batch=config.batch, seed=config.seed)
            unedited = self.pool(i // config.refresh if config.refresh else 0)[index[rows]]
        delta, target = sample_targets(
            unedited.scores,
            sampling=config.sampling,
            edited=config.edited,
            chance=self.chances,
            generator=generator,
            batch=config.batch,
            rows=rows,
        )
        return unedited, delta, target

    def terms(
        self, i: int, unedited: Unedited, delta: Tensor, target: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The loss terms of step i and their weights; one that is due in every n-th step counts n times."""
        due = tuple(name for name in self.weights if i % self.every.get(name, 1) == 0)
        values = self.captured(due)(*unedited.tensors(), delta, target)
        terms = dict.fromkeys(self.weights, torch.zeros((), device=self.models.device))
        weights = {name: weight * self.every.get(name, 1) for name, weight in self.weights.items()}
        return {**terms, **dict(zip(due, values, strict=True))}, weights

    def _captured(self, due: tuple[str, ...]) -> Function:
        """Tensors of a batch -> the terms `due`, one value per sample; a CUDA graph where asked."""

        def function(*values: Tensor) -> tuple[Tensor, ...]:
            *parts, delta, target = values
            terms = loss_terms(
                self.fast,
                self.matrix,
                Unedited(*parts),
                delta,
                target,
                columns=self.columns,
                config=self.config,
                terms=due,
            )
            return tuple(terms[name] for name in due)

        return capture_on_first_call(function, trained=self.matrix) if self.graphs else function

    def _unedited(self, z: Tensor) -> Unedited:
        return unedited_batch(self.models, z, columns=self.columns, precision=self.config.precision)

    def _fresh(self, z: Tensor) -> tuple[Tensor, ...]:
        batch = unedited_batch(self.fast, z, columns=self.columns, precision=self.config.precision)
        return batch.tensors()

    def _pool(self, number: int) -> Unedited:
        seed = self.config.seed + number * SEEDS_BETWEEN_POOLS
        return self._unedited(self.models.latents(self.config.pool, seed=seed, split="train"))

    def _initial_matrix(self) -> DirectionMatrix:
        config, models = self.config, self.models
        probe = models.ws(models.latents(1, seed=config.seed, split="train"))
        axes = None
        if config.whiten:
            w = models.ws(models.latents(LATENTS_OF_AXES, seed=config.seed, split="train"))[:, 0]
            axes = self.team.share(principal_axes(w))
        matrix = DirectionMatrix(
            attributes=len(self.names),
            rows=1 if config.space == "w" else probe.shape[1],
            w_dim=probe.shape[2],
            seed=config.seed,
            axes=axes,
        ).to(models.device)
        if config.start == "regressed":
            first = self.pool(0)
            matrix.start_at(self.team.share(ridge_start(first.ws[:, 0], first.scores, axes)))
        return matrix


class ValidationLog:
    """Losses on held-out latents and fixed targets: weighted terms, their total, the drift in px of 256."""

    def __init__(
        self,
        models: Models,
        matrix: DirectionMatrix,
        unedited: Unedited,
        *,
        names: tuple[str, ...],  # the attributes of the scores
        config: DirectionsConfig,
        batch: int = 32,
    ) -> None:
        self.rows: list[dict[str, float]] = []
        self._models, self._matrix, self._config = models, matrix, config
        self._columns = [attribute_index(name) for name in names]
        delta, target = sample_targets(
            unedited.scores,
            sampling=config.sampling,
            edited=config.edited,
            chance=edit_chances(config, names),
            generator=torch.Generator().manual_seed(config.seed),
        )
        chunks = torch.arange(len(delta)).split(models.chunk(batch))
        self._batches = [(unedited[chunk], delta[chunk], target[chunk]) for chunk in chunks]

    @torch.no_grad()
    def measure(self, step: int) -> None:
        weights = term_weights(self._config)
        pixels = replace(self._config, landmark_norm="l1", landmark_unit="pixel")
        sums: dict[str, Tensor] = {}
        for batch in self._batches:
            args = (self._models, self._matrix, *batch)
            terms = loss_terms(*args, columns=self._columns, config=self._config, terms=tuple(weights))
            values = {name: weights[name] * value for name, value in terms.items()}
            if self._models.landmarks is not None:
                moved = loss_terms(*args, columns=self._columns, config=pixels, terms=("landmark",))
                values["drift_px"] = moved["landmark"]
            for name, value in values.items():
                sums[name] = sums.get(name, 0) + value.sum()
        count = sum(len(delta) for _, delta, _ in self._batches)
        means = {name: float(value) / count for name, value in sums.items()}
        total = sum(value for name, value in means.items() if name in weights)
        self.rows.append({"step": step, "total": total, **means})

    def state_dict(self) -> dict[str, str]:
        return {"rows": json.dumps(self.rows)}

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        self.rows = json.loads(state["rows"])


def _check(models: Models, config: DirectionsConfig, team: Team) -> None:
    """ValueError where the settings cannot be trained with these networks and processes."""
    networks = {"content": "perceptual", "adversarial": "discriminator", "landmark": "landmarks"}
    for term, weight in term_weights(config).items():
        if term in networks and getattr(models, networks[term]) is None:
            raise ValueError(f"lambda_{term} is {weight} but there is no {networks[term]} network")
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
    parser = argparse.ArgumentParser(prog="torchrun --nproc-per-node N -m hfld.training.directions")
    parser.add_argument("profile")
    parser.add_argument("method", choices=METHODS)
    options = parser.parse_args()
    profile = load_profile(options.profile)
    team = join(pick_device(profile.world.device))
    models = Models.of(profile)
    run_dir = profile.paths.runs / "directions"
    train_directions(models, profile.directions, method=options.method, run_dir=run_dir, team=team)
    leave(team)


if __name__ == "__main__":
    main()
