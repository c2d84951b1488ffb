"""AdaTrans' editor: a path through the latents in steps of learned length and direction.

    w_{t+1} = w_t + step_t * direction_t,   step_t in (0, 1), |direction_t| = 1, the same for all rows
    (step_t, direction_t) = g(w_0, ..., w_t; condition)

Source: Huang et al., Adaptive Nonlinear Latent Transformation for Conditional Face Editing
(arXiv:2307.07790).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear, BatchNorm, ReLU, linear."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


class ConditionalBlock(nn.Module):
    """layer(y) * exp(scale(c)) + shift(c)."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.layer = perceptron(width, width, width)
        self.scale = perceptron(condition, width, width)
        self.shift = perceptron(condition, width, width)

    def forward(self, y: Tensor, condition: Tensor) -> Tensor:  # [N, width], [N, C] -> [N, width]
        return self.layer(y) * self.scale(condition).exp() + self.shift(condition)


class Trajectory(nn.Module):
    """History -> MLP -> 2-layer LSTM -> conditional blocks -> length and direction of the next step."""

    def __init__(
        self,
        *,
        rows: int,  # L
        w_dim: int,
        condition: int,  # numbers in the condition, one per attribute that can be changed
        hidden: int = 512,
        blocks: int = 10,
    ) -> None:
        super().__init__()
        self.history = perceptron(rows * w_dim, hidden, hidden)
        self.memory = nn.LSTM(hidden, hidden, num_layers=2)
        self.blocks = nn.ModuleList(ConditionalBlock(hidden, condition) for _ in range(blocks))
        self.length = perceptron(hidden, hidden, 1)
        self.direction = perceptron(hidden, hidden, w_dim)

    def step(
        self, ws: Tensor, condition: Tensor, memory: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Latest state [N, L, w_dim], condition [N, C], what the LSTM knows -> next step [N, 1, w_dim]."""
        y, memory = self.memory(self.history(ws.flatten(1))[None], memory)
        y = y[0]  # [N, hidden]
        for block in self.blocks:
            y = block(y, condition)
        return (self.length(y).sigmoid() * F.normalize(self.direction(y), dim=1))[:, None], memory

    def forward(self, ws: Tensor, condition: Tensor, steps: int) -> Tensor:
        """ws [N, L, w_dim], condition [N, C] -> how far each state is from ws, [steps + 1, N, 1, w_dim].

        The LSTM carries its state along, where the reference reads the whole history again at every step:
        the same numbers, but that in training a BatchNorm sees each state once.
        """
        offsets = [torch.zeros_like(ws[:, :1])]
        memory = None
        for _ in range(steps):
            step, memory = self.step(ws + offsets[-1], condition, memory)
            offsets.append(offsets[-1] + step)
        return torch.stack(offsets)


def along(states: Tensor, position: Tensor) -> Tensor:
    """The point of each path at `position` [N] in steps; straight lines join states [T + 1, N, ...].

    Position 0 is the first state, bit for bit.
    """
    last = len(states) - 1
    before = position.floor().clamp(max=max(last - 1, 0)).long()
    part = (position - before).to(states)[:, None, None]
    sample = torch.arange(states.shape[1], device=states.device)
    start, end = states[before, sample], states[(before + 1).clamp(max=last), sample]
    return start + part * (end - start)
