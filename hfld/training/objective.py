"""What T is trained on: unedited pictures, random targets, and the loss terms of the edited pictures."""

from dataclasses import dataclass

import torch
from torch import Tensor

from hfld.config import DirectionsConfig
from hfld.directions import DirectionMatrix
from hfld.losses import adversarial_loss, content_loss, landmark_loss, regression_loss
from hfld.models import Models, autocast


@dataclass(frozen=True)
class Unedited:
    """Unedited pictures and everything about them that the losses compare with; made once per pool."""

    ws: Tensor  # [N, L, w_dim]
    images: Tensor  # x = G(ws) [N, 3, H, W]
    scores: Tensor  # R(x) of the trained attributes [N, A]
    landmarks: Tensor | None = None  # H(x) [N, 106, 2]

    def tensors(self) -> tuple[Tensor, ...]:
        """Those that are there, in the order of the fields."""
        parts = (self.ws, self.images, self.scores, self.landmarks)
        return tuple(part for part in parts if part is not None)

    def __getitem__(self, index: Tensor) -> "Unedited":
        return Unedited(*(part[index] for part in self.tensors()))


def unedited_batch(
    models: Models, z: Tensor, *, columns: list[int], precision: str = "auto", batch: int = 64
) -> Unedited:
    """G(w), R(G(w)) and H(G(w)) of latents z, without gradients. `columns` of the 40 scores are kept."""
    context = autocast(precision, models.device)
    parts = []
    with torch.no_grad():
        for ws in models.ws(z).split(models.chunk(batch)):
            with context():
                x = models.images(ws)
                scores = select_columns(models.regressor(x).float(), columns)
                parts.append((ws, x, scores, None if models.landmarks is None else models.points(x)))
    ws, x, scores, landmarks = zip(*parts, strict=True)
    return Unedited(
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


def loss_terms(
    models: Models,
    matrix: DirectionMatrix,
    unedited: Unedited,
    delta: Tensor,  # [N, A]
    target: Tensor,  # [N, A]
    *,
    columns: list[int],  # positions of the A attributes among the 40
    config: DirectionsConfig,
    terms: tuple[str, ...],  # which to compute
) -> dict[str, Tensor]:
    """The unweighted loss terms of the edited pictures, one value per sample."""
    ws = matrix(unedited.ws, delta)  # in full precision, as T is saved and used
    found: dict[str, Tensor] = {}
    if "latent" in terms:
        found["latent"] = matrix.squared_length(delta)
    with autocast(config.precision, models.device)():
        edited = models.images(ws)
        if "regression" in terms:
            scores = select_columns(models.regressor(edited).float(), columns)
            found["regression"] = regression_loss(scores, target, form=config.regression)
        if "content" in terms:
            with torch.no_grad():
                features = models.perceptual(unedited.images)
            found["content"] = content_loss(features, models.perceptual(edited))
        if "adversarial" in terms:
            found["adversarial"] = adversarial_loss(
                models.discriminator(edited).float(), form=config.adversarial
            )
        if "landmark" in terms:
            found["landmark"] = landmark_loss(
                models.points(edited),
                unedited.landmarks,
                norm=config.landmark_norm,
                unit=config.landmark_unit,
            )
    return found


def select_columns(scores: Tensor, columns: list[int]) -> Tensor:  # [N, 40] -> [N, A]
    """Columns of `scores`, without an index that would have to travel to a GPU in every step."""
    every = scores.unbind(dim=1)
    return torch.stack([every[column] for column in columns], dim=1)


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
