"""RealNVP over single rows of ws: AdaTrans' density of likely latents (Dinh et al., arXiv:1605.08803)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hfld.networks.flows import standard_normal_log_prob

EPSILON = 1.0e-5
MOMENTUM = 0.1


class ColumnNormLinear(nn.Module):
    """Linear with weight normalisation per *input*: W = v * length / (|v| + eps), norms over outputs."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        linear = nn.Linear(inputs, outputs)
        length = linear.weight.detach().norm(dim=0)
        self.length = nn.Parameter(length)  # [inputs]
        self.direction = nn.Parameter(linear.weight.detach() / (length + EPSILON))  # [outputs, inputs]
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        weight = self.direction * (self.length / (self.direction.norm(dim=0) + EPSILON))
        return F.linear(x, weight, self.bias)


class ResidualBlock(nn.Module):
    """x + two times (BatchNorm, ReLU, linear)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.BatchNorm1d(width),
            nn.ReLU(),
            ColumnNormLinear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            ColumnNormLinear(width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)


class Coupling(nn.Module):
    """Half of the dimensions, z0 exp(s) + t, where s and t are functions of the other half.

    s = tanh(.) * scale + bias. Even dimensions are changed by the odd ones, or the other way round.
    """

    def __init__(
        self,
        dim: int,
        *,
        width: int = 32,
        odd: bool = False,  # change the odd dimensions (1, 3, ...) instead of the even ones
    ) -> None:
        super().__init__()
        self.odd = odd
        self.scale = nn.Parameter(0.01 * torch.randn(1))
        self.bias = nn.Parameter(0.01 * torch.randn(1))
        self.net = nn.Sequential(
            ColumnNormLinear(dim // 2, width),
            ResidualBlock(width),
            ResidualBlock(width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            ColumnNormLinear(width, dim),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # [M, D] -> [M, D], log-determinant [M]
        changed, kept = (x[:, 1::2], x[:, 0::2]) if self.odd else (x[:, 0::2], x[:, 1::2])
        shift, raw = self.net(kept).chunk(2, dim=1)
        log_scale = raw.tanh() * self.scale + self.bias
        changed = changed * log_scale.exp() + shift
        pair = (kept, changed) if self.odd else (changed, kept)
        return torch.stack(pair, dim=-1).flatten(1), log_scale.sum(dim=1)


class FlowBatchNorm(nn.Module):
    """(x - mean) / sqrt(var) without parameters: of the batch in training (no gradient), else running."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # [M, D] -> [M, D], log-determinant [M]
        mean, var = self.running_mean, self.running_var
        if self.training:
            with torch.no_grad():
                mean, var = x.mean(dim=0), x.var(dim=0, correction=0) + EPSILON
                self.running_mean.lerp_(mean, MOMENTUM)
                self.running_var.lerp_(var, MOMENTUM)
        return (x - mean) * var.rsqrt(), (-0.5 * var.log().sum()).expand(len(x))


class RealNVP(nn.Module):
    """`layers` times (normalisation, coupling), the couplings changing even and odd dimensions in turn."""

    def __init__(
        self,
        *,
        dim: int,  # w_dim, even
        layers: int = 10,
        width: int = 32,
    ) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"dim must be even, to be split in halves, not {dim}")
        self.dim = dim
        self.layers = nn.ModuleList()
        for i in range(layers):
            self.layers += [FlowBatchNorm(dim), Coupling(dim, width=width, odd=i % 2 == 1)]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # [M, D] -> z [M, D], log-determinant [M]
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return x, total

    def log_prob(self, x: Tensor) -> Tensor:  # [..., D] -> [...]
        """Log-density of every row."""
        z, log_det = self(x.flatten(0, -2))
        return (standard_normal_log_prob(z) + log_det).unflatten(0, x.shape[:-1])
