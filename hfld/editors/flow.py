"""Editors that re-generate a latent under another condition of a continuous normalizing flow.

    z = f(ws, a),   a'_k = a_k + strength,   ws' = f^-1(z, a')

The strength is a change of the attribute's score, so that target - score asks for the target itself; any
number is allowed, also beyond [0, 1], where the flow extrapolates. The flow treats each row of ws alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hfld.editors.base import Bank
from hfld.editors.trained import (
    UNTRAINED,
    TrainedConfig,
    TrainedEditor,
    Watch,
    distinct_rows,
    retarget,
)
from hfld.losses import regression_loss
from hfld.models import autocast
from hfld.networks.flows import ConditionalFlow, hutchinson, standard_normal_log_prob
from hfld.networks.resnet import ResNet
from hfld.training.loop import batch_indices

IMAGE_BYTES = 1 << 30  # of the bank that SDFlow keeps in memory while it is fitted
DEGREES = {"Male": 1.5, "Eyeglasses": 2.5, "Bald": 2.0, "No_Beard": 1.7, "Young": 0.93}
"""StyleFlow's factors on the change of a condition, for its attributes under CelebA's names.

Its yaw, pitch and expression (Smiling) have the factor 1, as has everything that is not listed. It knows
Beard and Age, of which No_Beard and Young are the opposites.
"""

ROWS = {
    "Male": range(0, 8),
    "Eyeglasses": range(2, 4),
    "Bald": range(0, 6),
    "No_Beard": range(5, 10),
    "Young": range(4, 8),
    "Smiling": range(4, 6),
}
"""The rows of an 18-row ws that StyleFlow lets an edit change; all for an attribute that is not listed."""


@dataclass(frozen=True, kw_only=True)
class FlowConfig(TrainedConfig):
    """The flow of both editors. The defaults train in minutes on a CPU; see OFFICIAL_STYLEFLOW."""

    hidden: tuple[int, ...] = (256, 256, 256)
    solver: Literal["dopri5", "rk4"] = "rk4"
    solver_steps: int = 4  # rk4
    tolerance: float = 1.0e-5  # dopri5
    adjoint: bool = False  # less memory, more time


@dataclass(frozen=True, kw_only=True)
class StyleFlowConfig(FlowConfig):
    """StyleFlow trains on latents and scores alone; with a landmark_weight it also draws edited images."""

    image_batch: int = 4  # latents of a batch that are edited and drawn for the landmark term
    degrees: Literal["one", "official"] = "one"  # DEGREES
    rows: Literal["all", "official"] = "all"  # ROWS


@dataclass(frozen=True, kw_only=True)
class SDFlowConfig(FlowConfig):
    """SDFlow: the scores come from an encoder E of images that is trained together with the flow."""

    steps: int = 400
    batch: int = 8  # every latent of a batch is drawn, twice
    lr: float = 3.0e-4  # of all terms together
    first_lr: float = 1.0e-3  # of encoder and flow alone
    weight_distillation: float = 1.0  # E(x) against R's scores
    weight_likelihood: float = 1.0
    weight_information: float = 1.0  # E(x') against the condition that made x'
    weight_regularisation: float = 1.0  # ws' against ws
    encoder_depth: Literal[18, 34, 50] = 18
    encoder_width: int = 16
    encoder_stem: Literal["imagenet", "half", "small"] = "half"
    encoder_steps: int = 0  # E learns R's scores by cross entropy first; the reference starts with all terms
    encoder_batch: int = 32
    flow_steps: int = 0  # the flow learns the density of rows under R's scores next, without images
    flow_batch: int = 64


_OFFICIAL = {
    "hidden": (512,) * 5,
    "solver": "dopri5",
    "adjoint": True,
    "schedule": "constant",
    "standardise": False,
}
OFFICIAL_STYLEFLOW = StyleFlowConfig(
    **_OFFICIAL, steps=6000, batch=5, degrees="official", rows="official"
)  # 3 epochs of 10,000 latents
OFFICIAL_SDFLOW = SDFlowConfig(
    **_OFFICIAL,
    attributes=("Eyeglasses", "Male", "Young"),
    steps=26_250,  # 3 epochs of FFHQ's 70,000
    lr=1.0e-4,
    encoder_depth=50,
    encoder_width=64,
    encoder_stem="imagenet",
)
"""The references' schedules and widths."""


class _FlowEditor(TrainedEditor):
    """An edit by a flow, given what the attributes of the latents are."""

    config: FlowConfig

    def _edit(self, ws: Tensor, k: int, strength: Tensor) -> Tensor:
        condition = self.condition(ws)
        target = condition.clone()
        target[:, k] += strength
        return self._regenerate(ws, condition, target)

    def _regenerate(self, ws: Tensor, condition: Tensor, target: Tensor) -> Tensor:
        """ws, which belong to one condition [N, A], under another."""
        z = self._flow(distinct_rows(ws) / self.scale, condition)
        return (self.scale * self._flow.inverse(z, target)).expand_as(ws)

    def condition(self, ws: Tensor) -> Tensor:
        """What the flow is told about ws, [N, A]."""
        raise NotImplementedError

    @property
    def _flow(self) -> ConditionalFlow:
        raise NotImplementedError

    def _new_flow(self, w_dim: int) -> ConditionalFlow:
        config = self.config
        return ConditionalFlow(
            dim=w_dim,
            condition=len(self.attributes),
            hidden=config.hidden,
            solver=config.solver,
            steps=config.solver_steps,
            tolerance=config.tolerance,
            adjoint=config.adjoint,
        )

    def _encode(self, rows: Tensor, condition: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """z and -log p(rows | condition) per dimension, [N], with one probe of the divergence."""
        probe = torch.randn(rows.shape, generator=generator).to(rows)
        z, log_det = self._flow.transform(rows, condition, hutchinson(probe))
        return z, -(standard_normal_log_prob(z) + log_det).mean(dim=1) / rows.shape[-1]


class StyleFlow(_FlowEditor):
    """The condition is R's score of the image (Abdal et al., arXiv:2008.02401, with CelebA's attributes)."""

    config_type = StyleFlowConfig
    config: StyleFlowConfig
    network: ConditionalFlow

    def condition(self, ws: Tensor) -> Tensor:
        return self.scores(ws)

    @property
    def _flow(self) -> ConditionalFlow:
        return self.network

    def _network(self, rows: int, w_dim: int) -> nn.Module:
        return self._new_flow(w_dim)

    def _edit(self, ws: Tensor, k: int, strength: Tensor) -> Tensor:
        attribute = self.attributes[k]
        if self.config.degrees == "official":
            strength = DEGREES.get(attribute, 1.0) * strength
        edited = super()._edit(ws, k, strength)
        if self.config.rows == "all" or attribute not in ROWS:
            return edited
        changed = torch.tensor([row in ROWS[attribute] for row in range(ws.shape[1])], device=ws.device)
        return torch.where(changed[:, None], edited, ws)

    def _train(self, bank: Bank) -> None:
        config = self.config
        rows, scores = distinct_rows(bank.ws) / self.scale, bank.scores[:, self.columns]
        drawn = slice(config.image_batch)

        def step(i: int) -> dict[str, Tensor]:
            generator = self._generator(i)
            index = batch_indices(i, count=len(rows), batch=config.batch, seed=config.seed)
            z, nll = self._encode(rows[index], scores[index], generator)
            if not config.landmark_weight:
                return {"likelihood": nll}
            ws = bank.ws[index][drawn]
            edited = self.network.inverse(z[drawn], retarget(scores[index][drawn], generator))
            with torch.no_grad():
                original = self._images(ws)
            redrawn = self._images((self.scale * edited).expand_as(ws))
            return {"likelihood": nll, "landmark": self._landmark_term(original, redrawn)}

        self._loop("flow", self.network, step, bank=bank, steps=config.steps, lr=config.lr)


class SDFlow(_FlowEditor):
    """The condition is E(G(ws)) (Li et al., Semantic Latent Decomposition with Normalizing Flows).

    target - R's score asks for the target up to the difference of E and R.
    """

    config_type = SDFlowConfig
    config: SDFlowConfig
    network: nn.ModuleDict  # flow, encoder

    def condition(self, ws: Tensor) -> Tensor:
        return self._read_once("condition", ws, self._estimate)

    @property
    def _flow(self) -> ConditionalFlow:
        return self.network["flow"]

    def _estimate(self, ws: Tensor) -> Tensor:
        """E(G(ws)), [N, A]."""
        models = self._require_models()
        parts = ws.split(models.chunk(64))
        return torch.cat([self.network["encoder"](models.images(part)).float() for part in parts])

    def _network(self, rows: int, w_dim: int) -> nn.Module:
        config = self.config
        encoder = ResNet(
            depth=config.encoder_depth,
            width=config.encoder_width,
            outputs=len(self.attributes),
            stem=config.encoder_stem,
            sigmoid=True,
        )
        return nn.ModuleDict({"flow": self._new_flow(w_dim), "encoder": encoder})

    def _train(self, bank: Bank) -> None:
        config = self.config
        rows, scores = distinct_rows(bank.ws) / self.scale, bank.scores[:, self.columns]
        context = autocast(config.precision, bank.ws.device)
        encoder = self.network["encoder"]

        def encode(images: Tensor) -> Tensor:
            with context():
                return encoder(images).float()

        draw = self._original_images(bank)

        def classify(i: int) -> dict[str, Tensor]:
            index = batch_indices(i, count=len(rows), batch=config.encoder_batch, seed=config.seed)
            return {"cross_entropy": regression_loss(encode(draw(index)), scores[index])}

        def density(i: int) -> dict[str, Tensor]:
            index = batch_indices(i, count=len(rows), batch=config.flow_batch, seed=config.seed)
            return {"likelihood": self._encode(rows[index], scores[index], self._generator(i))[1]}

        def joint(i: int) -> dict[str, Tensor]:
            generator = self._generator(i)
            index = batch_indices(i, count=len(rows), batch=config.batch, seed=config.seed)
            images = draw(index)
            condition = encode(images)
            z, nll = self._encode(rows[index], condition, generator)
            target = retarget(condition, generator)
            edited = self._flow.inverse(z, target)
            drawn = self._images((self.scale * edited).expand_as(bank.ws[index]))
            terms = {
                "distillation": config.weight_distillation * _mse(condition, scores[index]),
                "likelihood": config.weight_likelihood * nll,
                "information": config.weight_information * _mse(encode(drawn), target),
                "regularisation": config.weight_regularisation * _mse(edited, rows[index]),
            }
            if config.landmark_weight:
                terms["landmark"] = self._landmark_term(images, drawn)
            return terms

        parts = (
            ("encoder", encoder, classify, config.encoder_steps),
            ("density", self._flow, density, config.flow_steps),
            ("flow", self.network, joint, config.steps),
        )
        untrained = Watch(joint, self.network, config.steps)
        if config.encoder_steps or config.flow_steps:
            untrained.measure(UNTRAINED)
        self.watched += [{"part": "flow", **row} for row in untrained.rows]
        for part, module, step, steps in parts:
            if steps:
                alone = module is not self.network
                lr = config.first_lr if alone else config.lr
                self._loop(part, module, step, bank=bank, steps=steps, lr=lr, shared=alone)

    @torch.no_grad()
    def _original_images(self, bank: Bank) -> Callable[[Tensor], Tensor]:
        """Places in the bank -> G of its latents: drawn once where they all find room, else every time."""
        size = self._images(bank.ws[:1]).nbytes * len(bank.ws)
        if size > IMAGE_BYTES:
            return torch.no_grad()(lambda index: self._images(bank.ws[index]))
        images = torch.cat([self._images(ws) for ws in bank.ws.split(64)])
        return lambda index: images[index]


def _mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference per sample, [N]."""
    return (a - b).square().flatten(1).mean(dim=1)
