"""The matrix T of editing directions: the paper's equation (1), what is trained of it, and its file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hfld import checkpoints

INITIAL_STD = 0.02
FLATTEST = 1e-6  # of the longest axis
RIDGE = 3e-3  # added to the variance of each score, which is .25 at most


def edit_latents(ws: Tensor, delta: Tensor, T: Tensor) -> Tensor:
    """Equation (1) of the paper: ws' = ws + sum_a delta_a T_a, delta_a being a change of score.

    [N, L, w_dim], [N, A], [A, L, w_dim] -> [N, L, w_dim]
    """
    return ws + torch.einsum("na,ald->nld", delta, T)


@dataclass(frozen=True)
class Directions:
    """A trained T with what is needed to use it and to know where it came from."""

    T: Tensor  # [A, L, w_dim]
    attributes: tuple[str, ...]
    method: str
    metadata: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)  # weighted training terms
    validation: list[dict[str, Any]] = field(default_factory=list)  # weighted terms on held-out latents

    def save(self, path: Path) -> None:
        metadata = {**self.metadata, "attributes": list(self.attributes), "method": self.method}
        checkpoints.save(path, {"T": self.T.contiguous()}, metadata)

    @classmethod
    def load(cls, path: Path) -> "Directions":
        tensors, metadata = checkpoints.load(path)
        missing = {"attributes", "method"} - metadata.keys() or {"T"} - tensors.keys()
        if missing:
            raise ValueError(
                f"{path} holds no direction matrix: {sorted(missing)} missing; train it with 02_directions"
            )
        return cls(tensors["T"], tuple(metadata["attributes"]), metadata["method"], metadata)


class DirectionMatrix(nn.Module):
    """T = coordinates @ axes, with coordinates ~ N(0, 0.02^2): the only thing that is trained.

    Without `axes` the coordinates are T itself, as in the paper. With `principal_axes`, a step of Adam counts
    in standard deviations of w: the latents of a StyleGAN2 vary much along a few axes and hardly along most,
    and a T that learns in plain coordinates wanders along the latter, where the generator has never been.
    """

    def __init__(
        self,
        *,
        attributes: int,
        rows: int,  # L for W+; 1 for W, where all rows of ws move alike
        w_dim: int,
        seed: int,
        axes: Tensor | None = None,  # [w_dim, w_dim], one a row
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        shape = (attributes, rows, w_dim)
        self.coordinates = nn.Parameter(INITIAL_STD * torch.randn(shape, generator=generator))
        self.register_buffer("axes", axes)  # in checkpoints: another machine may find other signs

    @torch.no_grad()
    def start_at(self, coordinates: Tensor) -> None:  # [A, L or 1, w_dim]
        self.coordinates.copy_(coordinates.expand_as(self.coordinates))

    @property
    def T(self) -> Tensor:  # [A, L or 1, w_dim]
        return self.coordinates if self.axes is None else self.coordinates @ self.axes

    def squared_length(self, delta: Tensor) -> Tensor:  # [N, A] -> [N]
        """How far the edits move ws: squared, mean over layers, along `axes` in their lengths."""
        moved = torch.einsum("na,ald->nld", delta, self.coordinates)
        return moved.square().sum(dim=2).mean(dim=1)

    def forward(self, ws: Tensor, delta: Tensor) -> Tensor:  # [N, L, w_dim], [N, A] -> [N, L, w_dim]
        return edit_latents(ws, delta, self.T.expand(-1, ws.shape[1], -1))


def principal_axes(w: Tensor) -> Tensor:
    """Principal axes of w [N, w_dim], each as long as w's standard deviation along it [w_dim, w_dim].

    Without the ridge of hfld.inversion's whitening, which lengthens axes along which w hardly varies.
    """
    variances, axes = torch.linalg.eigh(torch.cov(w.T.double().cpu()))  # axes are columns
    least = FLATTEST**2 * variances.max()  # where w does not vary at all, so that there is an inverse
    return (axes * variances.clamp(min=least).sqrt()).T.to(w)


def ridge_start(w: Tensor, scores: Tensor, axes: Tensor | None) -> Tensor:
    """Coordinates [A, 1, w_dim] of the T that explains w [N, w_dim] best by attribute scores [N, A].

    Ridge regression w ~ mean + scores T: row a is how w differs where score a does and the other given ones
    do not.
    """
    x, y = (value.double() - value.double().mean(dim=0) for value in (scores.cpu(), w.cpu()))
    if axes is not None:
        y = y @ torch.linalg.inv(axes.double().cpu())
    ridge = RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(x.T @ x + ridge, x.T @ y).to(w)[:, None]
