"""The judges: attributes (one for tables, one for tuning), emotion, landmarks, identity.

    python -m pretrain.judges [judge_landmarks ...]

They learn portraits with *independent* attributes and seeds of their own, and labels that pixels cannot show
are left out, so none of them takes lipstick for gender. All see mirrored (not identity), slightly blurred and
noisy portraits, so that they also read a generator's softer pictures.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfld.networks.emotion import EmotionNet
from hfld.networks.resnet import ResNet
from hfld.portraits.parameters import NUISANCES
from pretrain.reading import Job, Labels, Recipe, read_job, train_reader

IDENTITY = NUISANCES[:16]
"""Proportions of the face and colour of the skin: what stays when a person smiles, turns, cuts their hair."""

PIXELS = 128
"""Landmark errors are stated in px of a picture with this side, whatever the judge's size."""


def attributes_loss(logits: Tensor, labels: Labels, index: Tensor) -> dict[str, Tensor]:
    """Cross-entropy on the strengths (soft labels) where visible."""
    entropy = F.binary_cross_entropy_with_logits(logits, labels.strengths[index], reduction="none")
    return {"attributes": (entropy * labels.visible[index]).mean()}


def emotion_loss(logits: Tensor, labels: Labels, index: Tensor) -> dict[str, Tensor]:
    """KL divergence from the true to the predicted shares."""
    return {"kl": F.kl_div(logits.log_softmax(dim=1), labels.emotions[index], reduction="batchmean")}


def landmarks_loss(points: Tensor, labels: Labels, index: Tensor) -> dict[str, Tensor]:
    """Mean absolute error per coordinate, in px at 128."""
    return {"pixels": PIXELS * (points.view(-1, 106, 2) - labels.augmented).abs().mean()}


def identity_loss(predicted: Tensor, labels: Labels, index: Tensor) -> dict[str, Tensor]:
    """Squared error of the standard normal identity parameters."""
    return {"identity": (predicted - labels.nuisance[index, : len(IDENTITY)]).square().mean()}


def resnet(recipe: Recipe, **arguments: object) -> tuple[ResNet, dict]:
    arguments = {"depth": recipe.depth, "width": recipe.width, "stem": recipe.stem, **arguments}
    return ResNet(**arguments), arguments


def build(name: str, recipe: Recipe) -> tuple[nn.Module, dict, Callable]:
    """The net, its constructor's arguments, its loss."""
    torch.manual_seed(recipe.seed)
    if name == "judge_emotion":
        arguments = {"width": recipe.width}
        return EmotionNet(**arguments), arguments, emotion_loss
    if name == "judge_landmarks":
        return *resnet(recipe, outputs=212), landmarks_loss
    if name == "judge_identity":
        return *resnet(recipe, outputs=len(IDENTITY)), identity_loss
    return *resnet(recipe, outputs=40, sigmoid=True), attributes_loss


NAMES = ("judge_landmarks", "judge_emotion", "judge_attributes", "judge_attributes_tuning", "judge_identity")


def main(job: Job) -> None:
    for name in job.chosen:
        network, arguments, loss = build(name, job.settings.recipe(name))
        if name == "judge_landmarks":
            nn.init.constant_(network.fc.bias, 0.5)  # the middle of the picture
        train_reader(
            job, name, network, arguments, loss, outputs=network.logits, mirrored=name != "judge_identity"
        )


if __name__ == "__main__":
    main(read_job(__doc__.splitlines()[0], NAMES))
