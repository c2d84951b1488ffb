"""The 40-attribute regressor R, and independent judges like it, trained on labelled photographs (CelebA).

For people who cannot get the baseline's weights. R and a judge must not share photos or seeds:

    photos = datasets.load("celeba", "data/celeba")["train"]
    images, _ = photos[::2].store(cache, size=256)
    trained = train_attributes(images, photos[::2].attributes, AttributeTraining(seed=1), run_dir=runs)
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfld.attributes import ATTRIBUTES
from hfld.config import AttributeTraining
from hfld.images import sha256, to_tensor
from hfld.models import autocast
from hfld.networks.resnet import ResNet
from hfld.training.augment import mirror_half, recolour, soften, warp
from hfld.training.loop import batch_indices, cosine_schedule, run_folder, train


@dataclass(frozen=True)
class TrainedAttributes:
    """A network that gives probabilities [N, 40], with how to build it again, and its log."""

    network: nn.Module
    arguments: dict[str, Any]  # of the ResNet
    metadata: dict[str, Any]
    history: list[dict[str, float]]


def train_attributes(
    images: np.ndarray,  # [N, S, S, 3] uint8
    labels: np.ndarray,  # [N, 40] bool
    settings: AttributeTraining,
    *,
    run_dir: Path,  # checkpoint and log, in a folder per set of parameters and data
    start: dict[str, Tensor] | None = None,  # a torchvision state_dict; its last layer is left out
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> TrainedAttributes:
    """Binary cross-entropy on flipped, slightly turned, recoloured and softened photos."""
    if images.ndim != 4 or labels.shape != (len(images), len(ATTRIBUTES)):
        raise ValueError(
            f"images must be [N, S, S, 3], labels [N, 40]; got {images.shape} and {labels.shape}"
        )
    arguments = {
        "depth": settings.depth,
        "width": settings.width,
        "stem": settings.stem,
        "outputs": len(ATTRIBUTES),
        "sigmoid": True,
    }
    targets = torch.as_tensor(np.array(labels), dtype=torch.float32)
    network = _initialised(arguments, start, share=targets.mean(dim=0), seed=settings.seed)
    network = network.to(device, memory_format=torch.channels_last).train()
    fingerprint = {
        "settings": asdict(settings),
        "data": sha256(np.packbits(labels.astype(bool)), images[:16]),
        "start": start is not None,
    }
    context = autocast(settings.precision, device)

    def step(i: int) -> dict[str, Tensor]:
        index = batch_indices(i, count=len(images), batch=settings.batch, seed=settings.seed)
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + i)
        x = augment(to_tensor(images[index.numpy()], device), generator)
        with context():
            logits = network.logits(x)
        return {"labels": F.binary_cross_entropy_with_logits(logits.float(), targets[index].to(device))}

    history = train(
        step=step,
        optimizer=torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=1e-4),
        state={"network": network},
        steps=settings.steps,
        run_dir=run_folder(run_dir, fingerprint, code=(train_attributes, augment, ResNet)),
        fingerprint=fingerprint,
        schedule=cosine_schedule(settings.steps, warmup=settings.steps // 20),
        clip_norm=5.0,
        log_every=max(1, settings.steps // 100),
        save_every=max(1, settings.steps // 20),
        progress=progress,
        name="attributes",
    )
    return TrainedAttributes(network.eval().requires_grad_(False), arguments, fingerprint, history)


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Small changes: colours and sharpness are attributes themselves (Black_Hair, Pale_Skin, Blurry)."""
    images, _ = mirror_half(images, None, generator)
    centre = images.new_full((len(images), 1, 2), 0.5)
    images, _ = warp(images, centre, generator, rotation=5.0, zoom=0.05, shift=0.03)
    images = recolour(images, generator, brightness=0.1, contrast=0.1, saturation=0.1, gray=0.0)
    return soften(images, generator, blur=0.3, noise=0.02)


@torch.inference_mode()
def read_attributes(network: nn.Module, images: np.ndarray, *, batch: int = 64) -> np.ndarray:
    """Probabilities [N, 40] of uint8 [N, S, S, 3] images, in full precision."""
    device = next(network.parameters()).device
    parts = [to_tensor(np.asarray(images[i : i + batch]), device) for i in range(0, len(images), batch)]
    return np.concatenate([network(x).float().cpu().numpy() for x in parts])


def attribute_report(scores: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, float]]:
    """For each attribute: AUC (NaN without both classes), accuracy, and the share of positive labels."""
    if scores.shape != labels.shape or scores.shape[1:] != (len(ATTRIBUTES),):
        raise ValueError(f"scores and labels must be equal [N, 40], not {scores.shape} and {labels.shape}")
    return {
        name: {
            "auc": _auc(scores[:, k], labels[:, k].astype(bool)),
            "accuracy": float(((scores[:, k] > 0.5) == labels[:, k]).mean()),
            "positive": float(labels[:, k].mean()),
        }
        for k, name in enumerate(ATTRIBUTES)
    }


def _auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve, from ranks (ties count half)."""
    from scipy.stats import rankdata

    count, rest = int(positive.sum()), int((~positive).sum())
    if count == 0 or rest == 0:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - count * (count + 1) / 2) / (count * rest))


def _initialised(
    arguments: dict[str, Any], start: dict[str, Tensor] | None, *, share: Tensor, seed: int
) -> ResNet:
    """A network that starts by answering each attribute's frequency."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ResNet(**arguments)
    if start is not None:
        own = network.state_dict()
        kept = {key: value for key, value in start.items() if not key.startswith("fc.")}
        network.load_state_dict({**{key: own[key] for key in ("fc.weight", "fc.bias")}, **kept})
    with torch.no_grad():
        network.fc.weight.mul_(0.1)
        network.fc.bias.copy_(torch.logit(share, eps=1e-3))
    return network
