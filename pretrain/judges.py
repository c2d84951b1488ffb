"""The judges: attributes (one for tables, one for tuning), emotion, landmarks, identity.

    python -m pretrain.judges [judge_landmarks ...]

They learn portraits with *independent* attributes and seeds of their own, and labels that pixels cannot show
are left out, so none of them takes lipstick for gender. All see mirrored (not identity), slightly blurred and
noisy portraits, so that they also read a generator's softer pictures.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfld.attributes import ATTRIBUTES, EMOTIONS
from hfld.networks.emotion import EmotionNet
from hfld.networks.reader import Reader
from hfld.networks.resnet import ResNet
from hfld.portraits.parameters import NUISANCES
from pretrain.reading import PIXELS, Job, Labels, Loss, Recipe, read_job, train_reader

IDENTITY = NUISANCES[:16]
"""Proportions of the face and colour of the skin: what stays when a person smiles, turns, cuts their hair."""


def attributes_loss(logits: Tensor, shown: Labels) -> dict[str, Tensor]:
    """Cross-entropy on the strengths (soft labels) where visible."""
    entropy = F.binary_cross_entropy_with_logits(logits, shown.strengths, reduction="none")
    return {"attributes": (entropy * shown.visible).mean()}


def emotion_loss(logits: Tensor, shown: Labels) -> dict[str, Tensor]:
    """KL divergence from the true to the predicted shares."""
    return {"kl": F.kl_div(logits.log_softmax(dim=1), shown.emotions, reduction="batchmean")}


def landmarks_loss(points: Tensor, shown: Labels) -> dict[str, Tensor]:
    """Mean absolute error per coordinate, in px at 128."""
    return {"pixels": PIXELS * (points.view(-1, 106, 2) - shown.landmarks).abs().mean()}


def identity_loss(predicted: Tensor, shown: Labels) -> dict[str, Tensor]:
    """Squared error of the standard normal identity parameters."""
    return {"identity": (predicted - shown.nuisance[:, : len(IDENTITY)]).square().mean()}


JUDGES: dict[str, tuple[int, Loss]] = {
    "judge_landmarks": (212, landmarks_loss),
    "judge_emotion": (len(EMOTIONS), emotion_loss),
    "judge_attributes": (len(ATTRIBUTES), attributes_loss),
    "judge_attributes_tuning": (len(ATTRIBUTES), attributes_loss),
    "judge_identity": (len(IDENTITY), identity_loss),
}
"""Outputs and loss of each."""


def build(name: str, recipe: Recipe, size: int) -> tuple[nn.Module, dict]:
    """The net and its constructor's arguments."""
    torch.manual_seed(recipe.seed)
    arguments: dict = {"width": recipe.width}
    if name == "judge_emotion":
        return EmotionNet(**arguments), arguments
    count, loss = JUDGES[name]
    arguments |= {"outputs": count, "sigmoid": loss is attributes_loss}
    if recipe.depth is None:
        arguments |= {"size": size}
        return Reader(**arguments), arguments
    arguments |= {"depth": recipe.depth, "stem": recipe.stem, "pool": recipe.pool}
    return ResNet(**arguments), arguments


class Coordinates:
    """Lets a net learn landmarks as standard scores: steps that suit a net are too coarse for coordinates."""

    def __init__(self, network: nn.Module, landmarks: np.ndarray) -> None:
        flat = torch.from_numpy(np.array(landmarks)).flatten(1)  # [N, 212]
        self.network, self.mean, self.std = network, flat.mean(dim=0), flat.std(dim=0)

    def __call__(self, images: Tensor) -> Tensor:
        return self.mean + self.std * self.network.logits(images).float()

    def fold(self) -> None:
        """Make the net itself give coordinates."""
        fc = self.network.fc
        with torch.no_grad():
            fc.weight.mul_(self.std[:, None])
            fc.bias.mul_(self.std).add_(self.mean)


class Normed(nn.Module):
    """Trains a net without norms with batch norm behind each layer but the last, folded in at the end.

    DeepFace's layout is deep, plain and fed with values around .5; from scratch it stays at chance.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        self.layers = layers[:-1]
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(m.out_channels) if isinstance(m, nn.Conv2d) else nn.BatchNorm1d(m.out_features)
            for m in self.layers
        )
        self.hooks = [
            layer.register_forward_hook(lambda _, inputs, out, norm=norm: norm(out))
            for layer, norm in zip(self.layers, self.norms, strict=True)
        ]

    def forward(self, images: Tensor) -> Tensor:
        return self.network.logits(images)

    def fold(self) -> None:
        """Make the net itself compute what it computes with its norms in eval mode."""
        for layer, norm, hook in zip(self.layers, self.norms, self.hooks, strict=True):
            hook.remove()
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            with torch.no_grad():
                layer.weight.mul_(gain.view(-1, *[1] * (layer.weight.ndim - 1)))
                layer.bias.sub_(norm.running_mean).mul_(gain).add_(norm.bias)


def main(job: Job) -> None:
    for name in job.chosen:
        recipe = job.settings.recipe(name)
        network, arguments = build(name, recipe, job.settings.world.size)
        outputs, options = network.logits, {"mirrored": name != "judge_identity"}
        if name == "judge_landmarks":
            outputs = Coordinates(network, job.settings.portraits(recipe.data).landmarks)
            options["finish"] = outputs.fold
        if name == "judge_emotion":
            outputs = options["trained"] = Normed(network)
            options["finish"] = outputs.fold
        train_reader(job, name, network, arguments, JUDGES[name][1], outputs=outputs, **options)


if __name__ == "__main__":
    main(read_job(__doc__.splitlines()[0], tuple(JUDGES)))
