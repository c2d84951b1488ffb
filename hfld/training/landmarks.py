"""The training of H: a ResNet-18 that answers 106 points."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfld.config import LandmarksConfig
from hfld.images import sha256, to_tensor
from hfld.landmarks import POINTS
from hfld.models import autocast
from hfld.networks.resnet import ResNet
from hfld.training.augment import portrait_augmentation
from hfld.training.loop import batch_indices, cosine_schedule, run_folder, train

SMOOTH = 0.25 / 64
"""Where the smooth L1 loss turns from a square to an absolute value: a quarter pixel at 64."""


Augmentation = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""Images [N, 3, S, S], landmarks [N, 106, 2] / side and a generator -> both, changed alike."""


@dataclass(frozen=True)
class TrainedLandmarks:
    """H with how to build it again, and its training log."""

    network: nn.Module
    arguments: dict[str, Any]  # of the ResNet
    metadata: dict[str, Any]
    history: list[dict[str, float]]


def train_landmarks(
    images: np.ndarray,  # [N, S, S, 3] uint8
    landmarks: np.ndarray,  # [N, 106, 2] (x, y) / side
    config: LandmarksConfig,
    *,
    run_dir: Path,  # checkpoint and log, in a folder per set of parameters and data
    augmentation: Augmentation = portrait_augmentation,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> TrainedLandmarks:
    """Smooth L1 on augmented images, from a network that answers the mean face to everything."""
    if images.ndim != 4 or landmarks.shape != (len(images), POINTS, 2):
        raise ValueError(
            f"images must be [N, S, S, 3], landmarks [N, 106, 2]; got {images.shape} and {landmarks.shape}"
        )
    arguments = {"depth": 18, "width": config.width, "outputs": 2 * POINTS, "stem": config.stem}
    targets = torch.as_tensor(np.array(landmarks), dtype=torch.float32)
    network = _initialised(arguments, mean=targets.mean(dim=0), seed=config.seed)
    network = network.to(device, memory_format=torch.channels_last).train()
    fingerprint = {
        "config": asdict(config),
        "data": sha256(landmarks, images),
        "augmentation": augmentation.__name__,
    }
    context = autocast(config.precision, device)

    def step(i: int) -> dict[str, Tensor]:
        index = batch_indices(i, count=len(images), batch=config.batch, seed=config.seed)
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + i)
        x, y = augmentation(to_tensor(images[index.numpy()], device), targets[index].to(device), generator)
        with context():
            pred = network(x).float().unflatten(1, (POINTS, 2))
        return {"smooth_l1_px": images.shape[1] * F.smooth_l1_loss(pred, y, beta=SMOOTH)}

    history = train(
        step=step,
        optimizer=torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=1e-4),
        state={"network": network},
        steps=config.steps,
        run_dir=run_folder(run_dir, fingerprint, code=(train_landmarks, augmentation, ResNet)),
        fingerprint=fingerprint,
        schedule=cosine_schedule(config.steps, warmup=config.steps // 20),
        clip_norm=5.0,
        log_every=max(1, config.steps // 100),
        save_every=max(1, config.steps // 5),
        progress=progress,
        name="landmarks",
    )
    return TrainedLandmarks(
        network=network.eval().requires_grad_(False),
        arguments=arguments,
        metadata=fingerprint,
        history=history,
    )


def _initialised(arguments: dict[str, Any], *, mean: Tensor, seed: int) -> ResNet:
    """A network that starts by answering the mean face to everything."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ResNet(**arguments)
    with torch.no_grad():
        network.fc.weight.mul_(0.1)
        network.fc.bias.copy_(mean.flatten())
    return network
