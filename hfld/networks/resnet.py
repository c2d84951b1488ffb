"""ResNet-18, -34 and -50 with torchvision's names, at any width (He et al., 2016)."""

import torch
from torch import Tensor, nn

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a skip connection: ResNet-18 and -34."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + skip)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride, as torchvision), 1x1 around a skip connection: ResNet-50."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _downsample(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + skip)


class ResNet(nn.Module):
    """Images [N, 3, H, W] in [-1, 1] -> [N, outputs].

    At width 64, stem "imagenet" and pool 1 the state_dict is torchvision's. The "small" stem keeps an image's
    full resolution (3x3, stride 1, no pooling), for sides around 64; "half" (3x3, stride 2, no pooling) is
    for sides around 128.
    """

    def __init__(
        self,
        *,
        depth: int = 18,  # 18 | 34 | 50
        width: int = 64,  # channels of the first stage; later stages double it
        outputs: int,  # 212 for landmarks (x, y of 106 points), 40 for attributes
        stem: str = "imagenet",  # "imagenet" (7x7 / 2, max pooling / 2) | "half" | "small"
        pool: int = 1,  # side of the grid that the last features are averaged to; 1 forgets where things are
        sigmoid: bool = False,  # whether forward ends in probabilities
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"depth: {depth!r}, expected one of {sorted(BLOCKS)}")
        if stem not in ("imagenet", "half", "small"):
            raise ValueError(f"stem: {stem!r}, expected 'imagenet', 'half' or 'small'")
        block = Bottleneck if depth >= 50 else BasicBlock
        self.sigmoid = sigmoid
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        else:
            self.conv1 = nn.Conv2d(3, width, 3, stride=2 if stem == "half" else 1, padding=1, bias=False)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        inputs = width
        for stage, count in enumerate(BLOCKS[depth]):
            channels = width * 2**stage
            layers = []
            for i in range(count):
                layers.append(block(inputs, channels, stride=2 if stage > 0 and i == 0 else 1))
                inputs = channels * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d(pool)
        self.fc = nn.Linear(inputs * pool**2, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """The pooled features behind the last layer, [N, 8 * width * expansion * pool^2]."""
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"images: shape {tuple(x.shape)}, expected [N, 3, H, W]")
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))  # [N, C, h, w]
        return self.avgpool(x).flatten(1)

    def logits(self, x: Tensor) -> Tensor:
        """The last layer's outputs before any sigmoid, [N, outputs]; in full precision also under autocast.

        A bfloat16 coordinate near 0.5 has steps of half a pixel at 256, and its sigmoid reaches 1 (no
        gradient) at .998.
        """
        x = self.features(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.fc(x.to(self.fc.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        x = self.logits(x)
        return x.sigmoid() if self.sigmoid else x


def _downsample(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
