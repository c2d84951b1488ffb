"""A network that looks at pictures at its own size."""

from torch import Tensor, nn
from torch.nn import functional as F


class Resized(nn.Module):
    """Images [N, 3, H, H] of any side -> what `network` says of them at `size` px (bilinear, antialiased)."""

    def __init__(self, network: nn.Module, *, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        if x.shape[-2:] != (self.size, self.size):
            size = (self.size, self.size)
            x = F.interpolate(x.float(), size=size, mode="bilinear", align_corners=False, antialias=True)
        return self.network(x)


def resized(network: nn.Module, size: int | None) -> nn.Module:
    """The network, looking at `size` px; None: at pictures as they come."""
    return network if size is None else Resized(network, size=size)
