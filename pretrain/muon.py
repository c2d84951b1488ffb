"""Muon (Jordan et al., 2024): momentum whose update of every matrix is made orthogonal.

What a latent shows is decided by a few large directions (pose, hair, background), many small ones (a brow).
Under Adam the small ones wait; an orthogonal update moves all of them alike.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic Newton-Schulz iteration: singular values end within .7 to 1.2."""


def orthogonal(matrix: Tensor, *, steps: int = 5) -> Tensor:
    """About U V' of the matrix's singular value decomposition U S V'.  [R, C] -> [R, C], in bfloat16"""
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-12)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """For matrices and kernels of unit scale (equalized layers); kernels [O, I, K, K] count as [O, I K K].

    torch.optim.Muon takes matrices only. An update's root mean square is about lr / 5, as Adam's often is.
    """

    def __init__(self, parameters: Iterable[Any], *, lr: float = 0.0, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        assert closure is None
        for group in self.param_groups:
            for parameter in (p for p in group["params"] if p.grad is not None):
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                mean = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(mean, group["momentum"]).flatten(1)  # Nesterov
                size = 0.2 * max(ahead.shape) ** 0.5
                parameter.add_(orthogonal(ahead).view_as(parameter), alpha=-group["lr"] * size)
