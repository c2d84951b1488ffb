"""The four losses of the paper and their sum, as pure functions: tensors in, one value per sample out."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from hfld.networks.ops import mean_square

EPSILON = 1e-12
"""Floor inside every logarithm (the reference's value)."""

UNITS = {"normalized": 1.0, "signed": 2.0, "pixel": 256.0}
"""Length of the image side in each landmark unit: [0, 1], [-1, 1], pixels of the paper's 256."""

NORMS = ("l1", "l2", "l1_twice")


def regression_loss(pred: Tensor, target: Tensor, form: str = "corrected") -> Tensor:  # [N, A], [N, A] -> [N]
    """L_reg: how far the scores A' = `pred` of the edited image are from A_gt = `target`, both in [0, 1].

    "corrected": -mean_k [A_gt log A' + (1 - A_gt) log(1 - A')], the reference implementation's cross entropy.
    "literal":    mean_k [A' log A_gt - (1 - A') log(1 - A_gt)], as the paper prints it. Its derivative,
    log A_gt + log(1 - A_gt), is at most -1.39 whatever the target: minimising it raises every attribute.
    """
    _same_shape(pred, target, dims=2)
    log, rest = (lambda p: p.clamp_min(EPSILON).log()), (lambda p: (1 - p).clamp_min(EPSILON).log())
    if form == "corrected":
        return -(target * log(pred) + (1 - target) * rest(pred)).mean(dim=1)
    if form == "literal":
        return (pred * log(target) - (1 - pred) * rest(target)).mean(dim=1)
    raise ValueError(f"form must be 'corrected' or 'literal', not {form!r}")


def content_loss(
    features: Sequence[Tensor], edited: Sequence[Tensor]
) -> Tensor:  # lists of [N, C, H, W] -> [N]
    """L_c: mean over layers of the mean squared difference of perceptual features, F_i(x) held constant.

    The paper prints a sum of L2 norms over unspecified layers; this is the reference's reading
    (conv1_1, conv1_2, conv2_1, conv2_2 before ReLU).
    """
    if len(features) != len(edited) or not features:
        raise ValueError(
            f"features and edited must be equally many layers, not {len(features)} and {len(edited)}"
        )
    layers = [mean_square(a.detach(), b) for a, b in zip(features, edited, strict=True)]
    return torch.stack(layers).mean(dim=0)


def adversarial_loss(logits: Tensor, form: str = "nonsaturating") -> Tensor:  # [N, 1] or [N] -> [N]
    """L_D: how unreal the discriminator finds the edited image.

    "nonsaturating": softplus(-D(x')) = -log sigmoid(D(x')), the reference's.
    "saturating": log(1 - sigmoid(D(x'))) = -softplus(D(x')), as the paper prints it.
    """
    logits = logits.flatten(1).mean(dim=1) if logits.ndim > 1 else logits
    if form == "nonsaturating":
        return F.softplus(-logits)
    if form == "saturating":
        return -F.softplus(logits)
    raise ValueError(f"form must be 'nonsaturating' or 'saturating', not {form!r}")


def landmark_loss(pred: Tensor, target: Tensor, norm: str = "l1", unit: str = "normalized") -> Tensor:
    """L_h: how far the landmarks moved. [N, 106, 2], [N, 106, 2] -> [N]; both as (x, y) / side.

    "l1": (1 / 212) sum_i |H_i(x) - H_i(x')|, as printed. "l2": the same with squares. "l1_twice": the
    printed mean divided by 212 once more, which would explain the paper's weight of 0.5e6 (as would "l2").
    `unit` is that in which coordinates are compared: "normalized" [0, 1], "signed" [-1, 1], "pixel" of 256.
    """
    _same_shape(pred, target, dims=3)
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {sorted(UNITS)}, not {unit!r}")
    moved = ((pred - target) * UNITS[unit]).flatten(1)  # [N, 212]
    if norm == "l1":
        return moved.abs().mean(dim=1)
    if norm == "l2":
        return moved.square().mean(dim=1)
    if norm == "l1_twice":
        return moved.abs().mean(dim=1) / moved.shape[1]
    raise ValueError(f"norm must be one of {NORMS}, not {norm!r}")


def total_loss(
    terms: Mapping[str, Tensor],  # name -> [N] or a scalar: regression, content, adversarial, landmark, ...
    weights: Mapping[str, float],  # the same names -> lambda
) -> tuple[Tensor, dict[str, Tensor]]:
    """The paper's final loss L = lambda_1 L_reg + lambda_2 L_c + lambda_3 L_D + lambda_4 L_h, and its parts.

    Each part is averaged over the samples. lambda_4 = 0 (no landmark term) is the baseline's loss.
    """
    weighted = {name: (weights[name] * term).mean() for name, term in terms.items()}
    return torch.stack(list(weighted.values())).sum(), weighted


def weight_per_pixel(weight: float, norm: str = "l1", unit: str = "normalized") -> float:
    """`weight` times L_h when all 106 points shift by one pixel of 256 in x and y: a weight free of units.

    The paper's 0.5e6 is 1953 for its printed formula, against a regression term (weighted) of about 5.
    """
    shift = torch.full((1, 106, 2), 1 / 256, dtype=torch.float64)
    return weight * landmark_loss(shift, torch.zeros_like(shift), norm=norm, unit=unit).item()


def weight_for_pixel(per_pixel: float, norm: str = "l1", unit: str = "normalized") -> float:
    """The inverse of `weight_per_pixel`: the weight in the chosen norm and unit that gives `per_pixel`."""
    return per_pixel / weight_per_pixel(1.0, norm=norm, unit=unit)


def _same_shape(pred: Tensor, target: Tensor, dims: int) -> None:
    if pred.shape != target.shape or pred.ndim != dims:
        raise ValueError(
            f"pred and target need equal {dims}-D shapes, not {tuple(pred.shape)} and {tuple(target.shape)}"
        )
