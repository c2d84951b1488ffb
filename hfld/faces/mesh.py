"""The 468 points of a face on an FFHQ square, by mediapipe's network (Kartynnik et al., arXiv:1907.06724)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 192  # of what the network sees, px
SQUARE = 226  # of the whole picture, of which it sees the middle 85 %
LEFT, TOP = 17, 29  # of that part; faces of FFHQ stand below the middle


class Mesh(NamedTuple):
    """Of N faces."""

    points: Tensor  # [N, 468, 2]: x, y in shares of the picture's side
    depth: Tensor  # [N, 468], in the same unit; towards the camera is negative
    confidence: Tensor  # [N]: probability that a face is there


class MeshReader(nn.Module):
    """Aligned pictures [N, 3, S, S] in [-1, 1] -> Mesh, differentiable."""

    def __init__(
        self,
        network: nn.Module,  # the Graph in data/faces/mesh.safetensors
    ) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Mesh:
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
            raise ValueError(f"images: got {list(images.shape)}, expected [N, 3, S, S]")
        x = F.interpolate(images.float(), size=(SQUARE, SQUARE), mode="bilinear", antialias=True)
        x = x[:, :, TOP : TOP + SIDE, LEFT : LEFT + SIDE]
        points, confidence = self.network((x.permute(0, 2, 3, 1) + 1) / 2)
        points = points.reshape(-1, 468, 3)
        offset = points.new_tensor([LEFT, TOP])
        return Mesh(
            points=(points[..., :2] + offset) / SQUARE,
            depth=points[..., 2] / SQUARE,
            confidence=confidence.flatten().sigmoid(),
        )


def cut_out(
    images: Tensor,  # [N, 3, S, S]
    points: Tensor,  # [N, P, 2] in shares of the side
    *,
    side: int,  # of the result, px
    margin: float,  # of the box around the points, in shares of its size
) -> Tensor:
    """A square around each face, its border repeated where it leaves the picture.  -> [N, 3, side, side]"""
    low, high = points.amin(dim=1), points.amax(dim=1)
    centre = low + high - 1  # in [-1, 1]
    half = (high - low).amax(dim=1) * (1 + margin)
    # grid_sample skips pixels where it makes smaller: first to about the size of the result
    scale = float(side / (half.mean() * images.shape[-1]))
    if scale < 1:
        images = F.interpolate(images, scale_factor=scale, mode="bilinear", antialias=True)
    theta = torch.zeros(len(images), 2, 3, dtype=images.dtype, device=images.device)
    theta[:, 0, 0] = theta[:, 1, 1] = half
    theta[:, :, 2] = centre
    grid = F.affine_grid(theta, [len(images), 3, side, side], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
