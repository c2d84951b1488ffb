"""The emotion net in DeepFace's layout, with its preprocessing in differentiable form."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hfld.attributes import EMOTIONS

GRAY = (0.299, 0.587, 0.114)  # of red, green, blue


class EmotionNet(nn.Module):
    """RGB images [N, 3, H, W] in [-1, 1] -> emotions [N, 7] in percent, in the order of EMOTIONS.

    DeepFace resizes to 224 and then to 48, bilinearly without anti-aliasing, and turns gray in between; it
    completes a picture that is not square with black. Width 64 has its 1,485,831 parameters under its names
    (conv_1 .. conv_5, fc_1 .. fc_3).
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
        """[N, 3, H, W] in [-1, 1] -> [N, 1, 48, 48] in [0, 1].

        Gray comes first, because it commutes with resizing and is cheaper on one channel.
        """
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"images: shape {tuple(x.shape)}, expected [N, 3, H, W]")
        x = (self.gray * (x + 1) / 2).sum(dim=1, keepdim=True)  # [N, 1, H, W]
        return _resize(letterbox(x, (224, 224), black=0.0), (48, 48))

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


def letterbox(
    x: Tensor,  # [N, C, H, W]
    size: tuple[int, int],  # height, width
    *,
    black: float = -1.0,  # what fills the rest
) -> Tensor:
    """The whole picture, as large as fits, in the middle of [N, C, *size]; as DeepFace does it.

    Its rounding is part of it: some squares (55, 142 or 314 px) become one pixel smaller than the frame.
    """
    factor = min(size[0] / x.shape[-2], size[1] / x.shape[-1])
    fitted = int(x.shape[-2] * factor), int(x.shape[-1] * factor)
    if min(fitted) < 1:
        raise ValueError(f"images: {x.shape[-2]} x {x.shape[-1]} px are too narrow for {size[0]} x {size[1]}")
    x = _resize(x, fitted)
    below, beside = size[0] - fitted[0], size[1] - fitted[1]
    return F.pad(x, (beside // 2, beside - beside // 2, below // 2, below - below // 2), value=black)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=False)
