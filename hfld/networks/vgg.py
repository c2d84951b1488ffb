"""VGG-19 convolutions with torchvision's names, at any width (Simonyan & Zisserman, 2015): F, perceptual."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

STAGES = ((1, 2), (2, 2), (4, 4), (8, 4), (8, 4))  # channels in units of the width, convolutions


class VGG19Features(nn.Module):
    """Images [N, 3, H, W] in [-1, 1] -> the outputs of the first convolutions, each *before* its ReLU.

    `features` has the indices of torchvision's `vgg19().features`. Inputs are normalised by (x - mean) / std;
    the baseline puts ImageNet's mean and std here without mapping [-1, 1] to [0, 1] first, portraits use x as
    it is.
    """

    def __init__(
        self,
        *,
        width: int = 64,  # channels of the first stage
        mean: Sequence[float] = (0.0, 0.0, 0.0),  # subtracted from x, per colour
        std: Sequence[float] = (1.0, 1.0, 1.0),  # divides x, per colour
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for factor, count in STAGES:
            for _ in range(count):
                layers += [nn.Conv2d(inputs, factor * width, 3, padding=1), nn.ReLU()]
                inputs = factor * width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, layers: int = 4) -> list[Tensor]:
        """The first `layers` (1 .. 16) convolutions' outputs; 4: conv1_1, conv1_2, conv2_1, conv2_2."""
        if not 1 <= layers <= 16:
            raise ValueError(f"layers: {layers}, expected 1 to 16")
        x = (x - self.mean) / self.std
        outputs: list[Tensor] = []
        for module in self.features:
            x = module(x)
            if isinstance(module, nn.Conv2d):
                outputs.append(x)
                if len(outputs) == layers:
                    break
        return outputs
