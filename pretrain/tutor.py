"""The tutor: reads everything that a portrait was drawn from, and tells G in training what its pictures lack.

    python -m pretrain.tutor

Attribute strengths, action units and nuisance, from portraits after interventions. A squared error of pixels
hardly sees a raised brow or an earring; the tutor's reading does. It judges nothing; no landmark is a target.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from hfld.attributes import ATTRIBUTES
from hfld.networks.reader import Reader
from hfld.portraits.expression import ACTION_UNITS
from hfld.portraits.parameters import NUISANCES
from pretrain.paired import TUTOR_PARTS
from pretrain.reading import Job, Labels, read_job, train_reader

NAME = "tutor"

assert (len(ATTRIBUTES), len(ACTION_UNITS), len(NUISANCES)) == TUTOR_PARTS


def loss(outputs: Tensor, shown: Labels) -> dict[str, Tensor]:
    """Cross-entropy on strengths (where visible) and action units, squared error on the nuisance."""
    strengths, units, nuisance = outputs.split(TUTOR_PARTS, dim=1)
    entropy = F.binary_cross_entropy_with_logits(strengths, shown.strengths, reduction="none")
    return {
        "strengths": (entropy * shown.visible).mean(),
        "units": F.binary_cross_entropy_with_logits(units, shown.units),
        "nuisance": 0.2 * (nuisance - shown.nuisance).square().mean(),
    }


def main(job: Job) -> None:
    recipe = job.settings.recipe(NAME)
    arguments = {"width": recipe.width, "outputs": sum(TUTOR_PARTS), "size": job.settings.world.size}
    torch.manual_seed(recipe.seed)
    network = Reader(**arguments)
    train_reader(job, NAME, network, arguments, loss, outputs=network.logits, mirrored=False)


if __name__ == "__main__":
    main(read_job(__doc__.splitlines()[0], (NAME,)))
