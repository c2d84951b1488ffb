"""Augmentations with landmarks, for portraits and for photographs: pure functions.

Images are [N, 3, H, H] in [-1, 1], landmarks [N, P, 2] (x, y) / side; the random amounts come from the given
generator.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from hfld.attributes import MIRROR

GRAY = (0.299, 0.587, 0.114)


def mirror(images: Tensor, landmarks: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Flip left to right: images [N, 3, H, W] and their landmarks [N, 106, 2], which also change places."""
    images = images.flip(-1)
    if landmarks is None:
        return images, None
    flipped = landmarks[:, list(MIRROR)]
    return images, torch.stack([1 - flipped[..., 0], flipped[..., 1]], dim=-1)


def mirror_half(
    images: Tensor, landmarks: Tensor | None, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """`mirror` for a random half of the batch."""
    chosen = torch.rand(len(images), generator=generator).to(images.device) < 0.5
    flipped, flipped_landmarks = mirror(images, landmarks)
    images = torch.where(chosen[:, None, None, None], flipped, images)
    if landmarks is None or flipped_landmarks is None:
        return images, None
    return images, torch.where(chosen[:, None, None], flipped_landmarks, landmarks)


def portrait_augmentation(x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirrored, shifted, blurred, noisy and brighter or darker portraits, so that H also reads a generator's.

    `hfld.training.augment.augment` is the one for photographs.
    """
    x, y = mirror_half(x, y, generator)
    x, y = shift(x, y, generator, pixels=x.shape[-1] * 3 / 64)
    x = soften(x, generator) * (0.85 + 0.3 * torch.rand(len(x), 1, 1, 1, generator=generator).to(x))
    return x, y


def augment(images: Tensor, landmarks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flip, warp, colours, blur and occlusion at their usual amounts, for 106 landmarks."""
    images, landmarks = mirror_half(images, landmarks, generator)
    images, landmarks = warp(images, landmarks, generator)
    images = blur(recolour(images, generator), generator, sigma=images.shape[-1] / 128)
    return occlude(images, generator), landmarks


def shift(
    images: Tensor,  # [N, 3, H, H] in [-1, 1]
    landmarks: Tensor,  # [N, 106, 2] (x, y) / side
    generator: torch.Generator,
    *,
    pixels: float = 3.0,  # largest shift, in px of the image
    zoom: float = 0.04,  # largest relative change of scale
) -> tuple[Tensor, Tensor]:
    """Shift and scale each image about its centre by a random amount; the border is repeated."""
    n, side = len(images), images.shape[-1]
    draws = torch.rand(n, 3, generator=generator).to(images) * 2 - 1
    offset, scale = draws[:, :2] * (pixels / side), 1 + zoom * draws[:, 2:]  # [N, 2], [N, 1]
    theta = torch.zeros(n, 2, 3, device=images.device, dtype=images.dtype)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale[:, 0]
    theta[:, :, 2] = -2 * offset / scale
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return moved, (landmarks - 0.5) * scale[:, None] + 0.5 + offset[:, None]


def soften(
    images: Tensor,  # [N, 3, H, W] in [-1, 1]
    generator: torch.Generator,
    *,
    blur: float = 0.6,  # largest share of a 3x3 binomial blur mixed in
    noise: float = 0.04,  # largest standard deviation of added noise
) -> Tensor:
    """Blur and noise of a random amount per image, so that a net also reads a generator's softer pictures."""
    amounts = torch.rand(len(images), 2, generator=generator).to(images)[:, :, None, None, None]
    line = torch.tensor([0.25, 0.5, 0.25], device=images.device, dtype=images.dtype)
    kernel = (line[:, None] * line).expand(3, 1, 3, 3)
    blurred = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=3)
    images = torch.lerp(images, blurred, blur * amounts[:, 0])
    return images + noise * amounts[:, 1] * torch.randn(images.shape, generator=generator).to(images)


def warp(
    images: Tensor,
    landmarks: Tensor,
    generator: torch.Generator,
    *,
    rotation: float = 30.0,  # largest angle, degrees
    zoom: float = 0.2,  # largest relative change of scale
    shift: float = 0.08,  # largest shift, of the side
) -> tuple[Tensor, Tensor]:
    """Rotate, scale and shift each image about its centre by a random amount; the border is repeated."""
    n = len(images)
    draws = torch.rand(n, 4, generator=generator).to(images) * 2 - 1
    angle, scale = draws[:, 0] * math.radians(rotation), 1 + zoom * draws[:, 1]
    cos, sin = scale * angle.cos(), scale * angle.sin()
    forward = torch.stack([cos, -sin, sin, cos], dim=1).reshape(n, 2, 2)  # of points about the centre
    offset = shift * draws[:, 2:]
    backward = torch.linalg.inv(forward)
    theta = torch.cat([backward, -2 * backward @ offset[:, :, None]], dim=2)  # [N, 2, 3]
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    points = (landmarks - 0.5) @ forward.transpose(1, 2).to(landmarks) + 0.5 + offset[:, None].to(landmarks)
    return moved, points


def recolour(
    images: Tensor,
    generator: torch.Generator,
    *,
    brightness: float = 0.3,  # largest shift, of the range [-1, 1]
    contrast: float = 0.3,  # largest relative change
    saturation: float = 0.6,  # largest relative change
    gray: float = 0.1,  # share of images without colour
) -> Tensor:
    """Random brightness, contrast and saturation per image, clipped to [-1, 1]."""
    draws = torch.rand(len(images), 4, generator=generator).to(images)[:, :, None, None, None]
    amount = 2 * draws - 1
    weights = torch.tensor(GRAY).to(images).view(1, 3, 1, 1)
    light = (images * weights).sum(dim=1, keepdim=True)
    kept = torch.where(draws[:, 3] < gray, 0.0, 1 + saturation * amount[:, 2])
    images = light + kept * (images - light)
    mean = light.mean(dim=(2, 3), keepdim=True)
    return (mean + (1 + contrast * amount[:, 1]) * (images - mean) + brightness * amount[:, 0]).clamp(-1, 1)


def blur(images: Tensor, generator: torch.Generator, *, sigma: float = 2.0) -> Tensor:
    """A Gaussian blur for a random half of the images, with a standard deviation of up to `sigma` px."""
    n, channels = images.shape[:2]
    draws = torch.rand(n, 2, generator=generator).to(images)
    spread = torch.where(draws[:, 0] < 0.5, sigma * draws[:, 1], 0.0).clamp_min(1e-3)
    radius = max(1, math.ceil(3 * sigma))
    x = torch.arange(-radius, radius + 1).to(images)
    line = torch.exp(-0.5 * (x / spread[:, None]) ** 2)
    line = (line / line.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)  # [N C, taps]
    flat = F.pad(images, [radius] * 4, mode="replicate").flatten(0, 1)[None]  # [1, N C, H, W]
    flat = F.conv2d(flat, line[:, None, None, :], groups=n * channels)
    flat = F.conv2d(flat, line[:, None, :, None], groups=n * channels)
    return flat[0].unflatten(0, (n, channels))


def occlude(images: Tensor, generator: torch.Generator, *, largest: float = 0.4) -> Tensor:
    """A rectangle of one colour in a random half of the images, at most `largest` of the side each way."""
    n, _, height, width = images.shape
    draws = torch.rand(n, 8, generator=generator).to(images)
    extent = largest * (0.25 + 0.75 * draws[:, 0:2]) / 2  # half sides
    centre, colour = draws[:, 2:4], 2 * draws[:, 4:7] - 1
    x = ((torch.arange(width) + 0.5) / width).to(images)
    y = ((torch.arange(height) + 0.5) / height).to(images)
    within_x = (x - centre[:, 0:1]).abs() < extent[:, 0:1]  # [N, W]
    within_y = (y - centre[:, 1:2]).abs() < extent[:, 1:2]
    hidden = (
        within_y[:, None, :, None] & within_x[:, None, None, :] & (draws[:, 7] < 0.5)[:, None, None, None]
    )
    return torch.where(hidden, colour[:, :, None, None], images)
