"""The networks of face-api (github.com/vladmandic/face-api, MIT), in torch.

Faces come as RGB [N, 3, S, S] in [-1, 1], cut out as the original does it: a square around the face.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN = (122.782, 117.001, 104.298)
"""Red, green and blue of 255 that all of its networks take off."""
EXPRESSIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
"""Its order of logits."""


class _Net(nn.Module):
    side: int  # px

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)

    def prepare(self, x: Tensor) -> Tensor:
        if x.shape[1:] != (3, self.side, self.side):
            raise ValueError(f"images: got {list(x.shape)}, expected [N, 3, {self.side}, {self.side}]")
        return ((x + 1) * 127.5 - self.mean) / 255


class FaceApiDense(_Net):
    """Four dense blocks of separable convolutions -> [N, outputs]: logits of EXPRESSIONS, or the 68 points of
    iBUG 300-W as x, y in shares of the side."""

    side = 112

    def __init__(
        self,
        *,
        outputs: int,  # 7 or 136
        width: int = 32,  # channels of the first block
    ) -> None:
        super().__init__()
        widths = [width * 2**i for i in range(4)]
        self.blocks = nn.ModuleList(
            _DenseBlock(before, after) for before, after in zip([3, *widths], widths, strict=False)
        )
        self.fc = nn.Linear(widths[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prepare(x)
        for block in self.blocks:
            x = block(x)
        return self.fc(F.avg_pool2d(x, 7, stride=2).flatten(1))


class FaceApiXception(_Net):
    """A small Xception -> age in years [N] and logits [N, 2] of male and female."""

    side = 112

    def __init__(
        self,
        *,
        width: int = 32,
        blocks: int = 2,  # of the middle
    ) -> None:
        super().__init__()
        self.first = _Conv(3, width, 3, stride=2)
        self.entry = nn.ModuleList(
            [
                _Reduction(width, 2 * width, activate=False),
                _Reduction(2 * width, 4 * width),
            ]
        )
        self.middle = nn.ModuleList(_Residual(4 * width) for _ in range(blocks))
        self.exit = _Reduction(4 * width, 8 * width)
        self.last = _Separable(8 * width, 16 * width)
        self.age, self.gender = nn.Linear(16 * width, 1), nn.Linear(16 * width, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.first(self.prepare(x)))
        for block in (*self.entry, *self.middle, self.exit):
            x = block(x)
        x = F.avg_pool2d(F.relu(self.last(x)), 7, stride=2).flatten(1)
        return self.age(x)[:, 0], self.gender(x)


class FaceApiIdentity(_Net):
    """dlib's residual network -> embeddings [N, 128]; faces nearer than .6 are one person's."""

    side = 150

    def __init__(
        self,
        *,
        width: int = 32,
        blocks: tuple[int, ...] = (3, 4, 3, 3, 1),  # of each stage; all but the first begin by halving
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 7, stride=2)
        stages, channels = [], width
        for i, count in enumerate(blocks):
            outputs = width * 2 ** min(i, 3)
            for j in range(count):
                stages.append(_DlibBlock(channels, outputs, down=i > 0 and j == 0))
                channels = outputs
        self.blocks = nn.ModuleList(stages)
        self.fc = nn.Linear(channels, 128, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.first(self.prepare(x))), 3, stride=2)
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean(dim=(2, 3)))


class _Conv(nn.Conv2d):
    """With as much padding as gives ceil(side / stride) pixels, the odd one below and right ("same")."""

    def forward(self, x: Tensor) -> Tensor:
        (size, _), (stride, _) = self.kernel_size, self.stride
        return super().forward(_same(x, size, stride))


class _Separable(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = _Conv(inputs, inputs, 3, stride=stride, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


class _DenseBlock(nn.Module):
    """Each convolution sees the sum of all before it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        first = _Conv(inputs, outputs, 3, stride=2) if inputs == 3 else _Separable(inputs, outputs, stride=2)
        self.convs = nn.ModuleList([first, *(_Separable(outputs, outputs) for _ in range(3))])

    def forward(self, x: Tensor) -> Tensor:
        total = F.relu(self.convs[0](x))
        for conv in self.convs[1:]:
            total = total + conv(F.relu(total))
        return F.relu(total)


class _Reduction(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, activate: bool = True) -> None:
        super().__init__()
        self.activate = activate
        self.convs = nn.ModuleList([_Separable(inputs, outputs), _Separable(outputs, outputs)])
        self.expansion = _Conv(inputs, outputs, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.convs[0](F.relu(x) if self.activate else x)
        y = self.convs[1](F.relu(y))
        return F.max_pool2d(_same(y, 3, 2, value=-torch.inf), 3, stride=2) + self.expansion(x)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_Separable(channels, channels) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for conv in self.convs:
            y = conv(F.relu(y))
        return x + y


class _DlibBlock(nn.Module):
    """`down` halves the side; what has fewer rows or channels than the other is completed with zeros."""

    def __init__(self, inputs: int, outputs: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv1 = (
            nn.Conv2d(inputs, outputs, 3, stride=2) if down else nn.Conv2d(inputs, outputs, 3, padding=1)
        )
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        if self.down:
            x = F.avg_pool2d(x, 2)
            x = F.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
            y = F.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))
        return F.relu(x + y)


def _same(x: Tensor, size: int, stride: int, **fill: Any) -> Tensor:
    total = [max((-(-side // stride) - 1) * stride + size - side, 0) for side in x.shape[2:]]
    (top, left), (bottom, right) = ([n // 2 for n in total], [n - n // 2 for n in total])
    return F.pad(x, (left, right, top, bottom), **fill)
