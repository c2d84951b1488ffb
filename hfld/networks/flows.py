"""Continuous normalizing flows over rows of ws, conditioned on attribute scores (StyleFlow, SDFlow).

    z = f(x, a):   dx/dt = g(x, [t, a]) from t = 0 to T, between two normalisations
    log p(x | a) = log N(z; 0, I) + integral of div g dt + log-determinants of the normalisations

Sources: Abdal et al., StyleFlow (arXiv:2008.02401); Grathwohl et al., FFJORD (arXiv:1810.01367).
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

Divergence = Callable[[Tensor, Tensor], Tensor]
"""(dx/dt, x), both [N, R, D] -> the divergence of every row, [N, R]."""

SOLVERS = ("dopri5", "rk4")
EPSILON, MOMENTUM = 1.0e-4, 0.1  # of the normalisations


class ConcatSquashLinear(nn.Module):
    """(W x + b) * sigmoid(gate(c)) + shift(c), with one context c per sample, shared by the rows of x."""

    def __init__(self, inputs: int, outputs: int, context: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.gate = nn.Linear(context, outputs)
        self.shift = nn.Linear(context, outputs, bias=False)

    def forward(
        self, x: Tensor, context: Tensor
    ) -> Tensor:  # [N, R, inputs], [N, context] -> [N, R, outputs]
        return self.linear(x) * self.gate(context).sigmoid()[:, None] + self.shift(context)[:, None]


class Dynamics(nn.Module):
    """g(x, [t, a]): ConcatSquashLinear layers with tanh between them."""

    def __init__(
        self,
        *,
        dim: int,
        hidden: Sequence[int],
        condition: int,  # numbers in a
    ) -> None:
        super().__init__()
        widths = [dim, *hidden, dim]
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(ConcatSquashLinear(a, b, 1 + condition) for a, b in pairs)

    def forward(
        self, t: Tensor, x: Tensor, condition: Tensor
    ) -> Tensor:  # [], [N, R, D], [N, C] -> [N, R, D]
        context = torch.cat([t.expand(len(x), 1), condition], dim=1)
        for layer in self.layers[:-1]:
            x = layer(x, context).tanh()
        return self.layers[-1](x, context)


class MovingBatchNorm(nn.Module):
    """(x - mean) / sqrt(var + eps) * exp(weight) + bias, with running statistics also in training.

    In training the statistics move on *after* they were used, by MOMENTUM towards those of the batch.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def log_scale(self) -> Tensor:
        """Logarithm of the slope, [D]; its sum is the log-determinant of a row."""
        return self.weight - 0.5 * (self.running_var + EPSILON).log()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # [N, R, D] -> [N, R, D], log-determinant []
        mean, log_scale = self.running_mean.clone(), self.log_scale()
        if self.training:
            with torch.no_grad():
                rows = x.detach().flatten(0, -2)
                self.running_mean.lerp_(rows.mean(dim=0), MOMENTUM)
                self.running_var.lerp_(rows.var(dim=0), MOMENTUM)
        return (x - mean) * log_scale.exp() + self.bias, log_scale.sum()

    def inverse(self, y: Tensor) -> Tensor:
        return (y - self.bias) * (-self.log_scale()).exp() + self.running_mean


def hutchinson(probe: Tensor) -> Divergence:
    """e' J e for one probe e ~ N(0, I) of x's shape: the trace of each row's Jacobian on average."""
    return lambda dx, x: (torch.autograd.grad(dx, x, probe, create_graph=True)[0] * probe).sum(dim=-1)


class ContinuousFlow(nn.Module):
    """The integral of `Dynamics` from 0 to a trainable end time, forwards or backwards.

    Time is rescaled to [0, 1], which makes the end time a parameter like any other.
    """

    def __init__(
        self,
        *,
        dim: int,
        hidden: Sequence[int],
        condition: int,
        solver: str = "dopri5",  # "dopri5": adaptive, to `tolerance`; "rk4": `steps` equal steps
        tolerance: float = 1.0e-5,  # absolute and relative
        steps: int = 8,
        adjoint: bool = True,  # gradients by integrating backwards; False: through the solver, exact for rk4
    ) -> None:
        super().__init__()
        if solver not in SOLVERS:
            raise ValueError(f"solver must be one of {SOLVERS}, not {solver!r}")
        self.dynamics = Dynamics(dim=dim, hidden=hidden, condition=condition)
        self.sqrt_end_time = nn.Parameter(torch.ones(()))
        self.solver, self.tolerance, self.steps, self.adjoint = solver, tolerance, steps, adjoint

    def forward(
        self,
        x: Tensor,  # [N, R, D]
        condition: Tensor,  # [N, C]
        *,
        divergence: Divergence | None = None,  # None: no density
        reverse: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The other end of the path, [N, R, D], and the integral of the divergence, [N, R] (0 if None)."""
        from torchdiffeq import odeint, odeint_adjoint

        inside = torch.zeros(x.shape[:-1], dtype=x.dtype, device=x.device)
        time = torch.tensor([1.0, 0.0] if reverse else [0.0, 1.0], dtype=x.dtype, device=x.device)
        field = partial(self._field, condition=condition, divergence=divergence)
        options = {"method": self.solver}
        if self.solver == "rk4":
            options["options"] = {"grid_constructor": lambda _, __, t: _grid(t, self.steps)}
        else:
            options |= {"rtol": self.tolerance, "atol": self.tolerance}
        if self.adjoint and torch.is_grad_enabled():
            learned = [t for t in (*self.parameters(), condition) if t.requires_grad]
            x, inside = odeint_adjoint(field, (x, inside), time, adjoint_params=tuple(learned), **options)
        else:
            x, inside = odeint(field, (x, inside), time, **options)
        return x[-1], inside[-1]

    def _field(
        self,
        s: Tensor,  # share of the time
        state: tuple[Tensor, Tensor],
        *,
        condition: Tensor,
        divergence: Divergence | None,
    ) -> tuple[Tensor, Tensor]:
        x, inside = state
        end = self.sqrt_end_time.square()
        if divergence is None:
            return end * self.dynamics(s * end, x, condition), torch.zeros_like(inside)
        if not (torch.is_grad_enabled() and x.requires_grad):
            x = x.detach().requires_grad_()
        with torch.enable_grad():
            dx = end * self.dynamics(s * end, x, condition)
            return dx, divergence(dx, x)


class ConditionalFlow(nn.Module):
    """Normalisation, continuous flow, normalisation: rows x [N, R, D] <-> z [N, R, D] given a [N, C].

    In training mode every forward pass moves the running statistics, so that `inverse` undoes it exactly
    only in eval mode (as in the reference).
    """

    def __init__(
        self,
        *,
        dim: int,  # w_dim
        condition: int,  # numbers in a: attribute scores, and any further ones
        hidden: Sequence[int] = (512, 512, 512, 512, 512),
        solver: str = "dopri5",
        tolerance: float = 1.0e-5,
        steps: int = 8,
        adjoint: bool = True,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.first = MovingBatchNorm(dim)
        self.flow = ContinuousFlow(
            dim=dim,
            hidden=hidden,
            condition=condition,
            solver=solver,
            tolerance=tolerance,
            steps=steps,
            adjoint=adjoint,
        )
        self.last = MovingBatchNorm(dim)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x -> z."""
        return self.transform(x, condition)[0]

    def transform(
        self, x: Tensor, condition: Tensor, divergence: Divergence | None = None
    ) -> tuple[Tensor, Tensor]:
        """z and log|det dz/dx| of every row, [N, R] (of the normalisations alone without a divergence)."""
        x, first = self.first(x)
        x, inside = self.flow(x, condition, divergence=divergence)
        z, last = self.last(x)
        return z, first + inside + last

    def inverse(self, z: Tensor, condition: Tensor) -> Tensor:
        """z -> x."""
        x, _ = self.flow(self.last.inverse(z), condition, reverse=True)
        return self.first.inverse(x)


def standard_normal_log_prob(z: Tensor) -> Tensor:  # [..., D] -> [...]
    """log N(z; 0, I). The references add a constant to this, which changes no gradient."""
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=-1)


def _grid(t: Tensor, steps: int) -> Tensor:
    return torch.linspace(float(t[0]), float(t[-1]), steps + 1, dtype=t.dtype, device=t.device)
