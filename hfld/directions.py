"""The matrix T of editing directions and its training: the paper's equation (1) and its final loss.

    ws' = ws + sum_a delta_a T_a          L = lambda_1 L_reg + lambda_2 L_c + lambda_3 L_D + lambda_4 L_h

The baseline (Enjoy Your Editing) is the same with lambda_4 = 0.
"""

import argparse
import copy
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hfld import checkpoints
from hfld.attributes import ATTRIBUTES, attribute_index
from hfld.config import METHODS, DirectionsConfig, load_profile
from hfld.losses import adversarial_loss, content_loss, landmark_loss, regression_loss
from hfld.matrix import DirectionMatrix, principal_axes, regressed
from hfld.models import Models, autocast, pick_device
from hfld.parallel import ALONE, Team, join, leave
from hfld.training import batch_indices, cosine_schedule, run_folder, train

BETAS = (0.5, 0.99)
AXES_FROM = 20_000  # latents


@dataclass(frozen=True)
class Directions:
    """A trained T with what is needed to use it and to know where it came from."""

    T: Tensor  # [A, L, w_dim]
    attributes: tuple[str, ...]
    method: str
    metadata: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)  # weighted training terms
    validation: list[dict[str, Any]] = field(default_factory=list)  # weighted terms on held-out latents

    def save(self, path: Path) -> None:
        metadata = {**self.metadata, "attributes": list(self.attributes), "method": self.method}
        checkpoints.save(path, {"T": self.T.contiguous()}, metadata)

    @classmethod
    def load(cls, path: Path) -> "Directions":
        tensors, metadata = checkpoints.load(path, command="dvc repro")
        missing = {"attributes", "method"} - metadata.keys() or {"T"} - tensors.keys()
        if missing:
            raise ValueError(
                f"{path} holds no direction matrix: {sorted(missing)} missing; train it with 02_directions"
            )
        return cls(tensors["T"], tuple(metadata["attributes"]), metadata["method"], metadata)


@dataclass(frozen=True)
class Originals:
    """Unedited pictures and everything about them that the losses compare with; made once per pool."""

    ws: Tensor  # [N, L, w_dim]
    images: Tensor  # x = G(ws) [N, 3, H, W]
    scores: Tensor  # R(x) of the trained attributes [N, A]
    landmarks: Tensor | None  # H(x) [N, 106, 2]

    def __getitem__(self, index: Tensor) -> "Originals":
        landmarks = None if self.landmarks is None else self.landmarks[index]
        return Originals(self.ws[index], self.images[index], self.scores[index], landmarks)


def originals(
    models: Models, z: Tensor, *, columns: list[int], precision: str = "auto", batch: int = 64
) -> Originals:
    """G(w), R(G(w)) and H(G(w)) of latents z, without gradients. `columns` of the 40 scores are kept."""
    context = autocast(precision, models.device)
    parts = []
    with torch.no_grad():
        for ws in models.ws(z).split(models.chunk(batch)):
            with context():
                x = models.images(ws)
                scores = models.regressor(x).float()[:, columns]
                parts.append((ws, x, scores, None if models.landmarks is None else models.points(x)))
    ws, x, scores, landmarks = zip(*parts, strict=True)
    return Originals(
        ws=torch.cat(ws),
        images=torch.cat(x),
        scores=torch.cat(scores),
        landmarks=None if models.landmarks is None else torch.cat(landmarks),
    )


def sample_targets(
    scores: Tensor,  # [N, A]
    *,
    sampling: str,
    edited: int | None = None,  # attributes of a sample that are edited at once, chosen at random; None: all
    chance: Tensor | None = None,  # [A] factors on their chances; None: all alike
    generator: torch.Generator,
    batch: int | None = None,  # draw for a whole batch of this size and keep `rows` of it
    rows: slice = slice(None),
) -> tuple[Tensor, Tensor]:
    """Original scores [N, A] -> (delta, target) [N, A] with target = scores + delta in [0, 1].

    "delta": s ~ U(-1, 1) per sample and attribute (the paper), target = clamp(scores + s, 0, 1).
    "uniform": one target vector ~ U(0, 1) for the whole batch (the reference implementation).
    With `edited`, an attribute's chance grows with |delta|: one that is at its target already is no edit.
    """
    shape = (len(scores) if batch is None else batch, scores.shape[1])
    if sampling == "delta":
        s = torch.rand(shape, generator=generator)[rows].to(scores) * 2 - 1
        target = (scores + s).clamp(0, 1)
    elif sampling == "uniform":
        target = torch.rand(1, scores.shape[1], generator=generator).to(scores).expand_as(scores)
    else:
        raise ValueError(f"sampling must be 'delta' or 'uniform', not {sampling!r}")
    if edited is not None:
        waiting = -torch.rand(shape, generator=generator)[rows].neg().log1p()  # exponential: first come first
        weight = (target - scores).abs().cpu() * (1 if chance is None else chance)
        rank = (waiting / weight).argsort(dim=1).argsort(dim=1)
        target = torch.where(rank.to(scores.device) < edited, target, scores)
    return target - scores, target


def edit_terms(
    models: Models,
    matrix: DirectionMatrix,
    original: Originals,
    delta: Tensor,  # [N, A]
    target: Tensor,  # [N, A]
    *,
    columns: list[int],  # positions of the A attributes among the 40
    config: DirectionsConfig,
    terms: tuple[str, ...],  # which to compute
) -> dict[str, Tensor]:
    """The unweighted loss terms of the edited pictures, one value per sample."""
    ws = matrix(original.ws, delta)  # in full precision, as T is saved and used
    found: dict[str, Tensor] = {}
    if "latent" in terms:
        found["latent"] = matrix.squared_length(delta)
    with autocast(config.precision, models.device)():
        edited = models.images(ws)
        if "regression" in terms:
            scores = models.regressor(edited).float()[:, columns]
            found["regression"] = regression_loss(scores, target, form=config.regression)
        if "content" in terms:
            with torch.no_grad():
                features = [f.float() for f in models.perceptual(original.images)]
            found["content"] = content_loss(features, [f.float() for f in models.perceptual(edited)])
        if "adversarial" in terms:
            found["adversarial"] = adversarial_loss(
                models.discriminator(edited).float(), form=config.adversarial
            )
        if "landmark" in terms:
            found["landmark"] = landmark_loss(
                models.points(edited),
                original.landmarks,
                norm=config.landmark_norm,
                unit=config.landmark_unit,
            )
    return found


def edit_chances(config: DirectionsConfig, names: tuple[str, ...]) -> Tensor:
    """[A]: focus_weight for the attributes in focus, 1 for the others."""
    return torch.tensor([config.focus_weight if name in config.focus else 1.0 for name in names])


def term_weights(config: DirectionsConfig) -> dict[str, float]:
    """lambda_1..4 and that of the edit's length by the names of the terms; one of 0 is not computed."""
    weights = {
        "regression": config.lambda_regression,
        "content": config.lambda_content,
        "adversarial": config.lambda_adversarial,
        "landmark": config.lambda_landmark,
        "latent": config.lambda_latent,
    }
    return {name: weight for name, weight in weights.items() if weight}


def train_directions(
    models: Models,
    config: DirectionsConfig,
    *,
    method: str,  # "baseline", "hfld", "baseline_w", "hfld_w": see DirectionsConfig.for_method
    run_dir: Path,  # checkpoints and logs, in a folder per set of parameters and inputs
    progress: bool = True,
    team: Team = ALONE,  # processes that share every batch
) -> Directions:
    """Train T. Methods differ in the weight of the landmark term and the space (W+ or W), in nothing else."""
    config = config.for_method(method)
    attributes = ATTRIBUTES if config.attributes == "all" else tuple(config.attributes)
    _require_networks(models, term_weights(config))
    if config.adversarial_every < 1:
        raise ValueError(f"adversarial_every: {config.adversarial_every}, expected 1 (every step) or more")
    if config.start == "regressed" and not config.pool:
        raise ValueError("start: regressed needs latents to regress on, and pool is 0; give it some hundreds")
    if team.size > 1 and config.lambda_adversarial and config.batch % (4 * team.size):
        raise ValueError(
            f"batch: {config.batch} over {team.size} processes, expected a multiple of {4 * team.size}: the "
            f"discriminator compares samples in groups of 4"
        )
    if config.discriminator == "random" and models.discriminator is not None:
        models = replace(models, discriminator=_with_random_weights(models.discriminator, seed=config.seed))
    groups = [attributes] if config.joint else [(name,) for name in attributes]
    runs = [
        _train_group(models, config, names, method=method, run_dir=run_dir, progress=progress, team=team)
        for names in groups
    ]
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
    pool = prepare(models.latents(config.pool, seed=config.seed, split="train")) if config.pool else None
    if config.start == "regressed":
        matrix.start_at(team.share(regressed(pool.ws[:, 0], pool.scores, axes)))
    rows = team.rows(config.batch)
    chance = edit_chances(config, names)
    every = {"adversarial": config.adversarial_every}

    def step(i: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + i)
        if pool is None:
            original = prepare(torch.randn(config.batch, models.z_dim, generator=generator)[rows])
        else:
            index = batch_indices(i, count=config.pool, batch=config.batch, seed=config.seed)
            original = pool[index[rows]]
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
        terms = edit_terms(models, matrix, original, delta, target, columns=columns, config=config, terms=due)
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
        run_dir=run_folder(run_dir, fingerprint, code=(train_directions, DirectionMatrix, regression_loss)),
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


if __name__ == "__main__":
    main()
