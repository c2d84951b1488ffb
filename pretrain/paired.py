"""Parts of the generator's training: pairs of latent and portrait, reconstruction losses, sample grids."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfld.images import to_tensor, to_uint8
from hfld.portraits.expression import ACTION_UNITS, emotion_percentages

TUTOR_PARTS = (40, 14, 35)
"""Outputs of the tutor: attribute strengths and action units (logits), nuisance."""


class Portraits:
    """Pairs (z, image) of one or more rendered sets; the last ones of the first set are for validation."""

    def __init__(self, folders: list[Path], validation: int) -> None:
        parts = {name: [np.load(folder / f"{name}.npy") for folder in folders] for name in ("z", "images")}
        if [len(z) for z in parts["z"]] != [len(images) for images in parts["images"]]:
            raise ValueError(f"{folders}: latents and images are not of the same number")
        draw = [folder / "sampling.npy" for folder in folders]
        draw = [
            np.load(path) if path.is_file() else np.ones(len(z))
            for path, z in zip(draw, parts["z"], strict=True)
        ]
        self.z, self.images, self.sampling = (
            np.concatenate(part[::-1]) for part in (parts["z"], parts["images"], draw)
        )
        self.count = len(self.z) - validation
        self.validation = np.arange(self.count, len(self.z))

    def indices(self, step: int, batch: int, seed: int) -> np.ndarray:
        """What step `step` sees: a function of step and seed alone."""
        p = self.sampling[: self.count].astype(np.float64)
        return np.random.default_rng((seed, step)).choice(self.count, size=batch, p=p / p.sum())

    def batch(self, index: np.ndarray, size: int, device: str) -> tuple[Tensor, Tensor]:
        """z [B, z_dim], images [B, 3, size, size] in [-1, 1] by area averaging"""
        z = torch.from_numpy(np.ascontiguousarray(self.z[index])).to(device)
        image = to_tensor(self.images[index], device).contiguous()
        if image.shape[-1] != size:
            image = F.avg_pool2d(image, image.shape[-1] // size)
        return z, image


def contrast_map(image: Tensor) -> Tensor:
    """How much happens around each pixel, in [0, 1]: eyes, lips and frames weigh more than cheeks.

    Taken from the picture alone, so that no landmark enters the generator.  [B, 3, S, S] -> [B, 1, S, S]
    """
    smooth = F.avg_pool2d(image, 3, stride=1, padding=1)
    busy = F.avg_pool2d((image - smooth).abs().mean(dim=1, keepdim=True), 5, stride=1, padding=2)
    return (busy / busy.mean(dim=(1, 2, 3), keepdim=True) / 4).clamp(max=1.0)


def reconstruction_loss(image: Tensor, target: Tensor, weight: Tensor | None = None) -> dict[str, Tensor]:
    """pixel: Charbonnier distance.  detail: its Laplacian bands and gradients, where eyes and mouths live.
    square: squared error, without the weights; what is missing altogether (a hat, rosy cheeks) counts most.

    [B, 3, S, S] twice, pixel weights [B, 1, S, S] -> scalars
    """
    difference = image - target

    def distance(x: Tensor, eps: float) -> Tensor:
        d = torch.sqrt(x.square() + eps**2) - eps
        if weight is not None:
            d = d * (
                weight if d.shape[-1] == weight.shape[-1] else F.adaptive_avg_pool2d(weight, d.shape[-2:])
            )
        return d.mean()

    terms = {"pixel": distance(difference, 0.05), "square": difference.square().mean()}
    detail, level = torch.zeros((), device=image.device), difference
    while level.shape[-1] > 8:
        low = F.avg_pool2d(level, 2)
        detail = detail + distance(level - F.interpolate(low, scale_factor=2), 0.02)
        level = low
    dx, dy = difference.diff(dim=3), difference.diff(dim=2)
    edge = torch.sqrt(dx[..., 1:, :].square() + dy[..., :, 1:].square() + 4.0e-4) - 0.02
    if weight is not None:
        edge = edge * weight[..., 1:, 1:]
    terms["detail"] = detail + edge.mean()
    return terms


def _emotion_odds() -> tuple[Tensor, Tensor]:
    """Weight [14, 7] and bias [7]: units @ weight + bias are the logits of `emotion_percentages`, which is a
    softmax of an affine function."""
    none = np.log(emotion_percentages(np.zeros((1, len(ACTION_UNITS)))))
    each = np.log(emotion_percentages(np.eye(len(ACTION_UNITS))))
    return torch.from_numpy((each - none).astype(np.float32)), torch.from_numpy(none[0].astype(np.float32))


def emotion_logits(units: Tensor) -> Tensor:
    """The emotions that these action units make up, differentiable.  [B, 14] in [0, 1] -> [B, 7]"""
    weight, bias = (part.to(units.device) for part in _emotion_odds())
    return units.float() @ weight + bias


def tutor_loss(tutor: nn.Module, image: Tensor, target: Tensor) -> dict[str, Tensor]:
    """How far the frozen tutor's readings of two pictures differ.

    tutor: KL divergence of strengths and of action units, in nats, and a fifth of the smooth L1 of the
    nuisance.  emotion: KL divergence of the emotions that the action units make up; it asks for the right
    units where they decide between two emotions.

    [B, 3, S, S] twice -> scalars
    """
    with torch.no_grad():
        expected = tutor.logits(target).float().split(TUTOR_PARTS, dim=1)
    found = tutor.logits(image).float().split(TUTOR_PARTS, dim=1)

    def divergence(logits: Tensor, wanted: Tensor) -> Tensor:
        entropy = F.binary_cross_entropy_with_logits(wanted, wanted.sigmoid())
        return F.binary_cross_entropy_with_logits(logits, wanted.sigmoid()) - entropy

    parts = [divergence(found[i], expected[i]) for i in (0, 1)]
    emotions = [emotion_logits(reading[1].sigmoid()).log_softmax(dim=1) for reading in (found, expected)]
    return {
        "tutor": sum(parts) + 0.2 * F.smooth_l1_loss(found[2], expected[2]),
        "emotion": F.kl_div(*emotions, reduction="batchmean", log_target=True),
    }


def sample_grid(rendered: Tensor, generated: Tensor, columns: int = 12) -> np.ndarray:
    """Rows of renders, each above G's pictures of the same latents.  [N, 3, S, S] twice -> [H, W, 3]"""
    pictures = to_uint8(rendered), to_uint8(generated)
    starts = range(0, len(rendered) - columns + 1, columns)
    rows = [np.concatenate(part[i : i + columns], axis=1) for i in starts for part in pictures]
    return np.concatenate(rows)
