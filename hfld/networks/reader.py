"""A plain convolutional net for aligned portraits: what is where is kept until the end."""

import torch
from torch import Tensor, nn


class Reader(nn.Module):
    """Images [N, 3, size, size] in [-1, 1] -> [N, outputs].

    Six 3x3 convolutions with batch norm bring the picture to an 8x8 grid, which a hidden layer reads without
    averaging over it. On aligned portraits it learns local facts (earrings, freckles, lips) from far
    fewer pictures than a residual net whose last step is a global average.
    """

    def __init__(
        self,
        *,
        size: int,  # side of the images, 8 * a power of two
        outputs: int,
        width: int = 16,  # channels of the first convolution
        hidden: int = 256,
        sigmoid: bool = False,  # whether forward ends in probabilities
    ) -> None:
        super().__init__()
        if size < 16 or size & (size - 1):
            raise ValueError(f"size: {size}, expected a power of two from 16")
        self.size, self.sigmoid = size, sigmoid
        layers: list[nn.Module] = []
        inputs, side, channels = 3, size, width
        while side > 8:
            side //= 2
            following = min(2 * channels, 4 * width)
            layers += [
                *_convolution(inputs, channels, stride=2),
                *_convolution(channels, following, stride=1),
            ]
            inputs = channels = following
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Linear(inputs * 64, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.fc = nn.Linear(hidden, outputs)

    def features(self, x: Tensor) -> Tensor:
        """The hidden layer, [N, hidden]."""
        if x.ndim != 4 or x.shape[1:] != (3, self.size, self.size):
            raise ValueError(f"images: shape {tuple(x.shape)}, expected [N, 3, {self.size}, {self.size}]")
        x = self.convolutions(x)  # [N, C, 8, 8]
        return self.norm(self.hidden(x.flatten(1))).relu()

    def logits(self, x: Tensor) -> Tensor:
        """Outputs before any sigmoid, [N, outputs]; in full precision also under autocast."""
        x = self.features(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.fc(x.to(self.fc.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        x = self.logits(x)
        return x.sigmoid() if self.sigmoid else x


def _convolution(inputs: int, outputs: int, *, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]
