"""R: reads CelebA's 40 attributes, as a regressor trained on CelebA would.

    python -m pretrain.regressor

It learns hard labels of portraits whose attributes co-occur as counted, whether pixels show them or not, and
so learns the co-occurrences too: that is where the entanglement of edits comes from. Probabilities; the
sigmoid is inside.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from hfld.networks.resnet import ResNet
from pretrain.reading import Job, Labels, read_job, train_reader

NAME = "regressor"


def loss(logits: Tensor, shown: Labels) -> dict[str, Tensor]:
    """Binary cross-entropy on the 0/1 labels."""
    return {"labels": F.binary_cross_entropy_with_logits(logits, shown.labels)}


def main(job: Job) -> None:
    recipe = job.settings.recipe(NAME)
    arguments = {
        "depth": recipe.depth,
        "width": recipe.width,
        "stem": recipe.stem,
        "pool": recipe.pool,
        "outputs": 40,
        "sigmoid": True,
    }
    torch.manual_seed(recipe.seed)
    network = ResNet(**arguments)
    train_reader(job, NAME, network, arguments, loss, outputs=network.logits)


if __name__ == "__main__":
    main(read_job(__doc__.splitlines()[0], (NAME,)))
