"""Trains T as test_parallel.py asks: in one process or, under torchrun, in several. Takes OUT and changes."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from toy_world import CONFIG, toy_models

from hfld.directions import Directions
from hfld.networks.ops import minibatch_stddev
from hfld.training.directions import train_directions
from hfld.training.distributed import join, leave


class Grouped(nn.Module):
    """A discriminator that compares samples in groups of 4, as StyleGAN2's does."""

    def __init__(self, readout: nn.Module) -> None:
        super().__init__()
        self.readout = readout

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(x) + 10 * minibatch_stddev(x, 4)[:, -1].mean(dim=(1, 2))[:, None]


def fit(folder: Path, changes: dict) -> Directions:
    models = toy_models()
    models.discriminator = Grouped(models.discriminator)
    team = join(torch.device("cpu"))
    config = replace(CONFIG, batch=8, lambda_adversarial=1.0, **changes)
    trained = train_directions(models, config, method="hfld", run_dir=folder, progress=False, team=team)
    if team.leads:
        trained.save(folder / "T.safetensors")
        (folder / "history.json").write_text(json.dumps(trained.history))
    leave(team)
    return trained


if __name__ == "__main__":
    fit(Path(sys.argv[1]), json.loads(sys.argv[2]))
