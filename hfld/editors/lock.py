"""ExpressionLock: any edit without the part of it that moves landmarks. Nothing is trained."""

from typing import Literal, Self

import torch
from torch import Tensor

from hfld.editors.base import Bank, Editor
from hfld.losses import landmark_loss
from hfld.models import Models

COORDINATES = 212
"""x and y of 106 landmarks."""


class ExpressionLock:
    """An editor around an editor: d = ws' - ws loses its component that moves the landmarks H(G(ws)).

    mode="projection": d' = d - J^T (J J^T + lambda I)^-1 J d, with J the landmarks' Jacobian of each image.
    With `steps` > 1 the straight way from ws to ws' is walked in that many parts; J is taken anew at each,
    and the drift that has come about so far is taken back as well; `corrections` do the same at the end.
    mode="gradient": `steps` steps from ws' down L_h(G(ws'), G(ws)), each as long as would bring L_h to zero
    if it were linear (Polyak).
    Either way each image keeps the point of smallest L_h that was met, ws' included, blended by `strength`.

    Cost of one edit, in passes through G and H. "projection": steps * (1 forward + K backward) + corrections
    + 2 forward, K = 212 coordinates or `projection` of them. "gradient": steps * (1 forward + 1 backward) + 2
    forward. The target changes too, as far as it is reached through landmarks: match strengths afterwards.
    """

    def __init__(
        self,
        editor: Editor,
        models: Models,  # G and H; H is not a judge
        *,
        strength: float = 1.0,  # of the lock: 0 leaves the edit, 1 takes all that the ridge allows
        mode: Literal["projection", "gradient"] = "projection",
        projection: int | Tensor | None = 24,  # random combinations of the 212, a matrix [K, 212], or all
        ridge: float = 1.0e-3,  # lambda as a share of the mean diagonal of J J^T
        steps: int = 1,
        corrections: int = 2,  # "projection": more steps with the last J, each for one forward pass
        batch: int = 32,  # images at once
        seed: int = 0,  # of the random combinations
    ) -> None:
        if not 0 <= strength <= 1:
            raise ValueError(f"strength of the lock must be in [0, 1], not {strength}")
        if mode not in ("projection", "gradient"):
            raise ValueError(f"mode must be 'projection' or 'gradient', not {mode!r}")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        if ridge <= 0 or corrections < 0:
            raise ValueError(f"ridge must be above 0, corrections not below, not {ridge} and {corrections}")
        self.editor, self.models, self.mode = editor, models, mode
        self.strength, self.ridge, self.batch = strength, ridge, batch
        self.steps, self.corrections = steps, corrections
        self.projection = _projection_matrix(projection, seed)

    def fit(self, bank: Bank) -> Self:
        self.editor.fit(bank)
        return self

    def edit(self, ws: Tensor, attribute: str, strength: float | Tensor) -> Tensor:
        """The locked edit, in the strength of the editor inside; a ws that it leaves alone stays as it is."""
        edited = self.editor.edit(ws, attribute, strength)
        moved = (edited != ws).flatten(1).any(dim=1)
        if not self.strength or not bool(moved.any()):
            return edited
        lock = self._project if self.mode == "projection" else self._descend
        with torch.inference_mode(False), torch.enable_grad():
            pairs = zip(ws[moved].split(self.batch), edited[moved].split(self.batch), strict=True)
            # clones are ordinary tensors also under the caller's inference_mode
            locked = torch.cat([lock(start.clone(), end.clone()) for start, end in pairs])
        result = edited.clone()
        result[moved] += self.strength * (locked - edited[moved])
        return result

    def _landmarks(self, ws: Tensor) -> Tensor:
        return self.models.points(self.models.images(ws)).flatten(1)  # [N, 212]

    def _project(self, ws: Tensor, edited: Tensor) -> Tensor:
        change = (edited - ws) / self.steps
        projection = self.projection.to(ws).T  # [212, K]
        here, start = ws, None
        for _ in range(self.steps):
            x = here.detach().requires_grad_()
            landmarks = self._landmarks(x)
            start = landmarks.detach() if start is None else start
            J = _jacobian(landmarks @ projection, x)  # [N, K, L w_dim]
            factor = _factor(J, self.ridge)
            drift = (landmarks.detach() - start) @ projection
            ahead = torch.einsum("nkd,nd->nk", J, change.flatten(1))
            here = here + change - _pull_back(J, factor, ahead + drift).view_as(ws)
        with torch.no_grad():
            nearest = _Nearest(start, edited)
            nearest.add(edited, self._landmarks(edited))
            for left in range(self.corrections, -1, -1):
                landmarks = self._landmarks(here)
                nearest.add(here, landmarks)
                if left:
                    drift = (landmarks - start) @ projection
                    here = here - _pull_back(J, factor, drift).view_as(ws)
        return nearest.ws

    def _descend(self, ws: Tensor, edited: Tensor) -> Tensor:
        with torch.no_grad():
            start = self._landmarks(ws)
        nearest, here = _Nearest(start, edited), edited
        for left in range(self.steps, -1, -1):
            x = here.detach().requires_grad_()
            loss = nearest.add(x.detach(), self._landmarks(x))
            if left:
                (slope,) = torch.autograd.grad(loss.sum(), x)
                length = slope.square().sum(dim=(1, 2)).clamp_min(torch.finfo(slope.dtype).tiny)
                here = x.detach() - (loss.detach() / length)[:, None, None] * slope
        return nearest.ws


class _Nearest:
    """Of the ws tried, for each image the one whose landmarks are nearest to `start`."""

    def __init__(self, start: Tensor, ws: Tensor) -> None:
        self.start, self.ws = start, ws
        self.least = torch.full((len(ws),), torch.inf).to(ws)

    def add(self, ws: Tensor, landmarks: Tensor) -> Tensor:
        """L_h [N] of a try and its landmarks [N, 212]."""
        loss = landmark_loss(*(points.unflatten(1, (-1, 2)) for points in (landmarks, self.start)))
        better = loss.detach() < self.least
        self.ws = torch.where(better[:, None, None], ws, self.ws)
        self.least = torch.where(better, loss.detach(), self.least)
        return loss


def _projection_matrix(projection: int | Tensor | None, seed: int) -> Tensor:
    """[K, 212] with K rows to be kept still."""
    if projection is None:
        return torch.eye(COORDINATES)
    if isinstance(projection, int):
        if not 1 <= projection <= COORDINATES:
            raise ValueError(f"projection must be from 1 to {COORDINATES} combinations, not {projection}")
        generator = torch.Generator().manual_seed(seed)
        return torch.linalg.qr(torch.randn(COORDINATES, projection, generator=generator))[0].T.contiguous()
    if projection.ndim != 2 or projection.shape[1] != COORDINATES:
        raise ValueError(f"projection must be [K, {COORDINATES}], not {tuple(projection.shape)}")
    return projection


def landmark_modes(landmarks: Tensor, count: int) -> Tensor:
    """The `count` ways in which landmarks [N, 106, 2] of many faces vary most, [count, 212] of unit norm.

    For `projection`: what they span is most of how expressions, poses and shapes move landmarks.
    """
    flat = landmarks.flatten(1)
    return torch.linalg.svd(flat - flat.mean(dim=0), full_matrices=False).Vh[:count]


def _factor(J: Tensor, ridge: float) -> Tensor:
    """Cholesky factor of J J^T + lambda I in float64, [N, K, D] -> [N, K, K]."""
    gram = torch.einsum("nkd,njd->nkj", J.double(), J.double())
    level = ridge * gram.diagonal(dim1=1, dim2=2).mean(dim=1) + torch.finfo(torch.float32).tiny
    return torch.linalg.cholesky(gram + level[:, None, None] * torch.eye(gram.shape[1]).to(gram))


def _pull_back(J: Tensor, factor: Tensor, drift: Tensor) -> Tensor:
    """J^T (J J^T + lambda I)^-1 drift: about the smallest step that moves landmarks so.  [N, K] -> [N, D]"""
    weights = torch.cholesky_solve(drift.double()[..., None], factor)[..., 0].to(J)
    return torch.einsum("nkd,nk->nd", J, weights)


def _jacobian(outputs: Tensor, inputs: Tensor) -> Tensor:
    """d outputs [N, K] / d inputs [N, ...] of each sample, [N, K, D], by K backward passes over the batch."""
    count = outputs.shape[1]
    rows = [
        torch.autograd.grad(outputs[:, k].sum(), inputs, retain_graph=k + 1 < count)[0].flatten(1)
        for k in range(count)
    ]
    return torch.stack(rows, dim=1)
