"""The emotion net in DeepFace's layout, with its preprocessing in differentiable form."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfld.attributes import EMOTIONS

GRAY = (0.299, 0.587, 0.114)  # of red, green, blue


class EmotionNet(nn.Module):
    """Square RGB images [N, 3, H, H] in [-1, 1] -> emotions [N, 7] in percent, in the order of EMOTIONS.

    DeepFace resizes to 224 and then to 48, bilinearly without anti-aliasing, and turns gray in between. Width
    64 has its 1,485,831 parameters under its names (conv_1 .. conv_5, fc_1 .. fc_3).
    """

    def __init__(
        self,
        *,
        width: int = 64,  # channels of the first convolution
    ) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(1, width, 5)
        self.conv_2 = nn.Conv2d(width, width, 3)
        self.conv_3 = nn.Conv2d(width, width, 3)
        self.conv_4 = nn.Conv2d(width, 2 * width, 3)
        self.conv_5 = nn.Conv2d(2 * width, 2 * width, 3)
        self.fc_1 = nn.Linear(2 * width, 16 * width)
        self.fc_2 = nn.Linear(16 * width, 16 * width)
        self.fc_3 = nn.Linear(16 * width, len(EMOTIONS))
        self.dropout = nn.Dropout(0.2)
        self.register_buffer("gray", torch.tensor(GRAY).view(1, 3, 1, 1), persistent=False)

    def prepare(self, x: Tensor) -> Tensor:
        """[N, 3, H, H] in [-1, 1] -> [N, 1, 48, 48] in [0, 1].

        Gray comes first, because it commutes with resizing and is cheaper on one channel.
        """
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] != x.shape[3]:
            raise ValueError(f"images: shape {tuple(x.shape)}, expected [N, 3, H, H]")
        x = (self.gray * (x + 1) / 2).sum(dim=1, keepdim=True)  # [N, 1, H, H]
        for side in (224, 48):
            if x.shape[-1] != side:
                x = F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False, antialias=False)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Before the softmax, [N, 7]."""
        x = F.max_pool2d(F.relu(self.conv_1(self.prepare(x))), 5, stride=2)  # [N, C, 20, 20]
        x = F.relu(self.conv_3(F.relu(self.conv_2(x))))  # [N, C, 16, 16]
        x = F.avg_pool2d(x, 3, stride=2)  # [N, C, 7, 7]
        x = F.relu(self.conv_5(F.relu(self.conv_4(x))))  # [N, 2C, 3, 3]
        x = F.avg_pool2d(x, 3, stride=2).flatten(1)  # [N, 2C]
        x = self.dropout(F.relu(self.fc_1(x)))
        x = self.dropout(F.relu(self.fc_2(x)))
        return self.fc_3(x)

    def forward(self, x: Tensor) -> Tensor:
        return 100 * self.logits(x).float().softmax(dim=1)
