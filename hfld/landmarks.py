"""H, the network of the landmark loss, in use: 106 points of a face, and their errors."""

import numpy as np
import torch
from torch import Tensor, nn

from hfld.attributes import OUTER_EYE_CORNERS, REGIONS
from hfld.images import to_tensor

POINTS = 106


FAILURE = 0.10
"""A face counts as failed above this normalised mean error."""


@torch.inference_mode()
def predict(network: nn.Module, images: np.ndarray | Tensor, *, batch: int = 128) -> np.ndarray:
    """Landmarks [N, 106, 2] of uint8 [N, S, S, 3] or float [N, 3, S, S] images, in full precision."""
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        x = part.to(device) if isinstance(part, Tensor) else to_tensor(np.asarray(part), device)
        parts.append(network(x).float().unflatten(1, (POINTS, 2)).cpu().numpy())
    return np.concatenate(parts)


def normalized_errors(pred: np.ndarray, true: np.ndarray) -> np.ndarray:
    """[N, 106, 2] twice -> [N, 106]: distances in units of the true distance of the outer eye corners."""
    if pred.shape != true.shape or pred.ndim != 3:
        raise ValueError(f"pred and true must be equal [N, 106, 2], not {pred.shape} and {true.shape}")
    left, right = OUTER_EYE_CORNERS
    unit = np.linalg.norm(true[:, left] - true[:, right], axis=-1)
    return np.linalg.norm(pred - true, axis=-1) / unit[:, None]


def cumulative_error(nme: np.ndarray, *, limit: float = FAILURE, points: int = 201) -> dict[str, np.ndarray]:
    """The cumulative error curve: share of faces [points] whose error is at most each threshold [points]."""
    thresholds = np.linspace(0, limit, points)
    shares = np.searchsorted(np.sort(nme), thresholds, side="right") / len(nme)
    return {"threshold": thresholds, "share": shares}


def landmark_report(pred: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Normalised mean error (all, by region), failure rate, AUC of the curve, mean distance in px of 256."""
    errors = normalized_errors(pred, true)
    nme = errors.mean(axis=1)
    curve = cumulative_error(nme)
    return {
        "n": len(nme),
        "nme": float(nme.mean()),
        **{f"nme_{region}": float(errors[:, list(points)].mean()) for region, points in REGIONS.items()},
        "failure_rate": float((nme > FAILURE).mean()),
        "auc": float(np.trapezoid(curve["share"], curve["threshold"]) / FAILURE),
        "distance_px256": float(256 * np.linalg.norm(pred - true, axis=-1).mean()),
    }
