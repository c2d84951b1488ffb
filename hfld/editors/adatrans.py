"""AdaTrans: an edit as a path of several steps, each decided by a network from the steps before.

The condition says -1 or 1 for the attribute to change and, softly, what the others are. The strength is the
share of the `max_steps` steps that are taken, towards 1 where it is positive and towards -1 where it is
negative; beyond 1 the path goes on. Parts of a step are taken along its straight line. The reference always
takes all steps: a strength of 1 or -1. Its identity term is left out: the only identity network here judges.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hfld.editors.base import Bank
from hfld.editors.trained import TrainedConfig, TrainedEditor, distinct_rows
from hfld.losses import content_loss, regression_loss
from hfld.models import autocast
from hfld.networks.realnvp import RealNVP
from hfld.networks.trajectory import Trajectory, along
from hfld.training.loop import batch_indices


@dataclass(frozen=True, kw_only=True)
class AdaTransConfig(TrainedConfig):
    """The defaults train in minutes on a CPU; OFFICIAL_ADATRANS has the reference's values."""

    max_steps: int = 10
    hidden: int = 128
    blocks: int = 4
    steps: int = 400
    image_batch: int = 8  # latents of a batch that are drawn
    targets: Literal["random", "flip"] = "random"  # flip (the reference): always the other side of .5
    condition: Literal["signed", "official"] = "signed"  # soft scores as 2 s - 1; official: s, exact 0 as -1
    weight_latent: float = 1.0  # mean squared change of ws
    weight_classification: float = 1.0
    weight_likelihood: float = 1.0  # of all states on the path, per dimension
    weight_perceptual: float = 0.1  # of content_loss, in place of LPIPS, if there is a perceptual network
    density_layers: int = 10
    density_width: int = 32
    density_steps: int = 800
    density_batch: int = 256  # rows
    density_lr: float = 1.0e-3


OFFICIAL_ADATRANS = AdaTransConfig(
    attributes=("Eyeglasses", "Male", "Young"),
    hidden=512,
    blocks=10,
    steps=1250,  # 10,000 batches of 256, accumulated by eight
    batch=2048,
    image_batch=128,
    lr=1.0e-4,
    schedule="constant",
    targets="flip",
    condition="official",
    standardise=False,
    density_steps=10_000,
    density_batch=256 * 18,
    density_lr=1.0e-4,
)
"""The reference's schedule and widths; it changes one to three attributes at a time."""


class AdaTrans(TrainedEditor):
    """Huang et al. (arXiv:2307.07790), for the attributes of the config."""

    config_type = AdaTransConfig
    config: AdaTransConfig
    network: nn.ModuleDict  # trajectory, density

    def log_density(self, ws: Tensor) -> Tensor:
        """How likely each row is, per dimension and in the units of the density: [N, L]."""
        self._check(ws)
        with torch.no_grad():
            return self.network["density"].log_prob(ws / self.scale) / ws.shape[2]

    def _edit(self, ws: Tensor, k: int, strength: Tensor) -> Tensor:
        condition = self.signed(self.scores(ws))
        condition[:, k] = strength.sign()
        position = strength.abs() * self.config.max_steps
        steps = int(position.max().ceil())
        offsets = self.network["trajectory"](ws / self.scale, condition, steps)
        return ws + self.scale * along(offsets, position)

    def signed(self, scores: Tensor) -> Tensor:
        """Scores in [0, 1] as conditions, a new tensor."""
        if self.config.condition == "official":
            return torch.where(scores == 0, -1.0, scores)
        return 2 * scores - 1

    def _network(self, rows: int, w_dim: int) -> nn.Module:
        config = self.config
        trajectory = Trajectory(
            rows=rows,
            w_dim=w_dim,
            condition=len(self.attributes),
            hidden=config.hidden,
            blocks=config.blocks,
        )
        density = RealNVP(dim=w_dim, layers=config.density_layers, width=config.density_width)
        return nn.ModuleDict({"trajectory": trajectory, "density": density})

    def _train(self, bank: Bank) -> None:
        self._train_density(bank)
        self._train_path(bank)

    def _train_density(self, bank: Bank) -> None:
        config, density = self.config, self.network["density"]
        rows = distinct_rows(bank.ws).flatten(0, 1) / self.scale

        def step(i: int) -> dict[str, Tensor]:
            index = batch_indices(i, count=len(rows), batch=config.density_batch, seed=config.seed)
            return {"likelihood": -density.log_prob(rows[index]) / rows.shape[1]}

        steps, lr = config.density_steps, config.density_lr
        self._loop("density", density, step, bank=bank, steps=steps, lr=lr, shared=True)
        density.eval().requires_grad_(False)

    def _train_path(self, bank: Bank) -> None:
        config, trajectory = self.config, self.network["trajectory"]

        def step(i: int) -> dict[str, Tensor]:
            index = batch_indices(i, count=len(bank.ws), batch=config.batch, seed=config.seed)
            ws, scores = bank.ws[index], bank.scores[index][:, self.columns]
            target, condition = self._targets(scores, self._generator(i))
            offsets = self.scale * trajectory(ws / self.scale, condition, config.max_steps)
            terms = self._latent_terms(ws, offsets)
            drawn = slice(config.image_batch)
            return terms | self._image_terms(ws[drawn], offsets[-1][drawn], target[drawn])

        self._loop("path", trajectory, step, bank=bank, steps=config.steps, lr=config.lr)

    def _targets(self, scores: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Scores [N, A] -> the same with one attribute of each at 0 or 1, and conditions [N, A]."""
        chosen = torch.randint(scores.shape[1], (len(scores), 1), generator=generator).to(scores.device)
        value = torch.randint(2, (len(scores), 1), generator=generator).to(scores)
        if self.config.targets == "flip":
            value = (scores.gather(1, chosen) <= 0.5).to(scores)
        condition = self.signed(scores).scatter(1, chosen, 2 * value - 1)
        return scores.scatter(1, chosen, value), condition

    def _latent_terms(self, ws: Tensor, offsets: Tensor) -> dict[str, Tensor]:
        config = self.config
        states = distinct_rows(ws) + offsets[1:]  # [T, N, R, w_dim]
        nll = -self.network["density"].log_prob(states / self.scale) / ws.shape[2]
        return {
            "latent": config.weight_latent * (offsets[-1] / self.scale).square().mean(dim=(1, 2)),
            "likelihood": config.weight_likelihood * nll.mean(dim=(0, 2)),
        }

    def _image_terms(self, ws: Tensor, offset: Tensor, target: Tensor) -> dict[str, Tensor]:
        config, models = self.config, self._require_models()
        with torch.no_grad():
            original = self._images(ws)
        edited = self._images(ws + offset)
        with autocast(config.precision, models.device)():
            scores = models.regressor(edited).float()[:, self.columns]
            terms = {"classification": config.weight_classification * regression_loss(scores, target)}
            if models.perceptual is not None:
                features = [[f.float() for f in models.perceptual(images)] for images in (original, edited)]
                terms["perceptual"] = config.weight_perceptual * content_loss(*features)
        if config.landmark_weight:
            terms["landmark"] = self._landmark_term(original, edited)
        return terms
