"""F: the perceptual net, VGG-19's layout trained on portraits.

    python -m pretrain.perceptual

Through a linear head on the pooled last layer it predicts attribute labels and the parameters that are no
attribute (colours, proportions, light, pose); no landmark is a target. The head is thrown away, and the
content loss uses the first four convolutions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfld.attributes import ATTRIBUTES
from hfld.networks.vgg import VGG19Features
from hfld.portraits.parameters import NUISANCES
from pretrain.reading import Job, Labels, read_job, train_reader

NAME = "perceptual"


class Headed(nn.Module):
    """VGG features, all 16 convolutions, pooled, and one linear layer."""

    def __init__(self, features: VGG19Features, width: int, outputs: int) -> None:
        super().__init__()
        self.vgg = features
        self.head = nn.Linear(8 * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.vgg(x, layers=16)[-1].relu().mean(dim=(2, 3)))


def loss(outputs: Tensor, shown: Labels) -> dict[str, Tensor]:
    """Cross-entropy on visible labels, squared error on the other parameters."""
    logits, nuisance = outputs.split([len(ATTRIBUTES), len(NUISANCES)], dim=1)
    entropy = F.binary_cross_entropy_with_logits(logits, shown.labels, reduction="none")
    return {
        "labels": (entropy * shown.visible).mean(),
        "parameters": 0.2 * (nuisance - shown.nuisance).square().mean(),
    }


def main(job: Job) -> None:
    recipe = job.settings.recipe(NAME)
    arguments = {"width": recipe.width}
    torch.manual_seed(recipe.seed)
    network = VGG19Features(**arguments)
    headed = Headed(network, recipe.width, len(ATTRIBUTES) + len(NUISANCES))
    train_reader(job, NAME, network, arguments, loss, trained=headed, outputs=headed, mirrored=False)


if __name__ == "__main__":
    main(read_job(__doc__.splitlines()[0], (NAME,)))
