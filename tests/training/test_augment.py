import pytest
import torch

from hfld.attributes import MIRROR
from hfld.training import augment as augmentation
from hfld.training.augment import mirror_half

SIDE, N = 96, 24


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def dots(points, *, level=0.8, ground=-0.6):
    """Images [N, 3, S, S] with a soft dot at each point [N, 2] / side."""
    axis = (torch.arange(SIDE) + 0.5) / SIDE
    far = (axis[None, None, :] - points[:, 0, None, None]) ** 2 + (
        axis[None, :, None] - points[:, 1, None, None]
    ) ** 2
    spot = torch.exp(-far / (2 * 0.025**2))[:, None]
    return (ground + (level - ground) * spot).expand(-1, 3, -1, -1)


def found(images):
    """Where the dot is, [N, 2] / side: centre of what differs from the ground."""
    gray = images.mean(dim=1)
    mass = (gray - gray.flatten(1).median(dim=1).values[:, None, None]).clamp_min(0)
    mass = torch.where(mass > 0.1 * mass.amax(dim=(1, 2), keepdim=True), mass, 0)
    axis = (torch.arange(SIDE) + 0.5) / SIDE
    total = mass.sum(dim=(1, 2))
    return (
        torch.stack([(mass.sum(dim=1) * axis).sum(dim=1), (mass.sum(dim=2) * axis).sum(dim=1)], dim=1)
        / total[:, None]
    )


@pytest.fixture
def scene():
    """A dot at landmark k of each image; the other landmarks lie elsewhere."""
    landmarks = 0.35 + 0.3 * torch.rand(N, 106, 2, generator=generator(1))
    k = torch.randint(106, (N,), generator=generator(2))
    return dots(landmarks[torch.arange(N), k]), landmarks, k


def at(landmarks, k):
    return landmarks[torch.arange(N), k]


def test_the_dot_moves_with_its_landmark(scene):
    images, landmarks, k = scene
    moved, points = augmentation.warp(images, landmarks, generator())
    assert (found(moved) - at(points, k)).abs().max() * SIDE < 0.1
    assert (at(points, k) - at(landmarks, k)).abs().max() * SIDE > 5
    spread = (points - points.mean(dim=1, keepdim=True)).norm(dim=-1) / (
        landmarks - landmarks.mean(dim=1, keepdim=True)
    ).norm(dim=-1)
    assert (spread.amax(dim=1) - spread.amin(dim=1)).max() < 1e-4  # a similarity
    assert 0.8 <= spread.min() < 0.9 < 1.1 < spread.max() <= 1.2


@pytest.mark.parametrize("only", ["rotation", "zoom", "shift"])
def test_each_part_of_the_warp(scene, only):
    images, landmarks, k = scene
    amounts = {"rotation": 0.0, "zoom": 0.0, "shift": 0.0}
    still, points = augmentation.warp(images, landmarks, generator(), **amounts)
    assert torch.allclose(still, images, atol=1e-5)
    assert torch.allclose(points, landmarks, atol=1e-6)
    amounts[only] = {"rotation": 90.0, "zoom": 0.3, "shift": 0.15}[only]
    moved, points = augmentation.warp(images, landmarks, generator(), **amounts)
    assert (found(moved) - at(points, k)).abs().max() * SIDE < 0.1
    assert (points - landmarks).abs().max() > 0.02


def test_the_flip_swaps_left_and_right(scene):
    images, landmarks, k = scene
    flipped, points = mirror_half(images, landmarks, generator())
    turned = (flipped != images).flatten(1).any(dim=1)
    assert 0 < turned.sum() < N
    swapped = torch.tensor(MIRROR)[k]  # MIRROR is its own inverse
    assert (found(flipped) - at(points, torch.where(turned, swapped, k))).abs().max() * SIDE < 0.1


@pytest.mark.parametrize("name", ["recolour", "blur"])
def test_the_dot_stays_when_only_colours_change(scene, name):
    images, landmarks, k = scene
    changed = getattr(augmentation, name)(images, generator())
    assert changed.shape == images.shape
    assert (changed - images).abs().flatten(1).amax(dim=1).median() > 0.01
    assert (found(changed) - at(landmarks, k)).abs().max() * SIDE < 0.1
    assert -1 <= changed.min() < changed.max() <= 1


def test_the_whole_chain_keeps_the_dot_at_its_landmark(scene):
    images, landmarks, k = scene
    augmented, points = augmentation.augment(images, landmarks, generator(3))
    half_bright = torch.tensor([0.0, 1.0]).expand(N, 3, 2, 2)
    flipped = (
        mirror_half(half_bright, None, generator(3))[0][:, 0, 0, 0] == 1
    )  # the same draws as in the chain
    where = at(points, torch.where(flipped, torch.tensor(MIRROR)[k], k))
    distance = (found(augmented) - where).norm(dim=1) * SIDE
    assert (distance < 0.3).float().mean() > 0.5  # the others lost the centre of brightness to a rectangle
    again = augmentation.augment(images, landmarks, generator(3))
    assert torch.equal(augmented, again[0])
    assert torch.equal(points, again[1])


def test_colours():
    colourful = torch.rand(200, 3, 4, 4, generator=generator()) * 2 - 1
    changed = augmentation.recolour(colourful, generator(), brightness=0.0, contrast=0.0)
    gray = (changed.amax(dim=1) - changed.amin(dim=1)).flatten(1).amax(dim=1) < 1e-6
    assert 0.04 < gray.float().mean() < 0.2
    same = augmentation.recolour(
        colourful, torch.Generator().manual_seed(0), brightness=0, contrast=0, saturation=0
    )
    assert torch.allclose(same[~gray], colourful[~gray], atol=1e-6)
    level = augmentation.recolour(torch.zeros(100, 3, 2, 2), generator(), brightness=0.3)
    assert 0.25 < level.abs().max() <= 0.3


def test_blur_keeps_the_mean_and_leaves_half_alone():
    images = torch.zeros(64, 3, 33, 33)
    images[:, :, 16, 16] = 1
    blurred = augmentation.blur(images, generator(), sigma=3.0)
    assert torch.allclose(blurred.sum(dim=(2, 3)), torch.ones(64, 3), atol=1e-4)
    untouched = (blurred == images).flatten(1).all(dim=1).float().mean()
    assert 0.3 < untouched < 0.7
    assert blurred[:, :, 16, 16].min() < 0.05


def test_occlusion_is_one_rectangle_and_the_rest_stays():
    images = torch.rand(64, 3, 40, 40, generator=generator()) * 2 - 1
    hidden = (augmentation.occlude(images, generator(), largest=0.5) != images).any(dim=1)
    share = hidden.float().mean(dim=(1, 2))
    assert 0.3 < (share == 0).float().mean() < 0.7
    assert 0.05 < share.max() <= 0.25 + 0.02
    for mask in hidden[share > 0]:
        rows, columns = mask.any(dim=1), mask.any(dim=0)
        assert torch.equal(mask, rows[:, None] & columns[None])


def random_images(n, size, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_mirror_is_its_own_inverse_and_moves_each_point_with_its_pixel():
    images, landmarks = (
        random_images(2, 16),
        torch.rand(2, 106, 2, generator=torch.Generator().manual_seed(1)),
    )
    flipped, points = augmentation.mirror(images, landmarks)
    assert torch.equal(flipped[..., 0], images[..., 15])
    for k in (0, 40, 57, 70, 90, 105):
        assert torch.allclose(points[:, k, 0], 1 - landmarks[:, MIRROR[k], 0])
        assert torch.equal(points[:, k, 1], landmarks[:, MIRROR[k], 1])
    back, points = augmentation.mirror(flipped, points)
    assert torch.equal(back, images)
    assert torch.allclose(points, landmarks, atol=1e-6)


def test_mirror_half_keeps_images_and_landmarks_together():
    images = torch.zeros(64, 3, 4, 4)
    images[..., :2] = 1  # the left half is bright
    landmarks = torch.full((64, 106, 2), 0.25)
    flipped, points = mirror_half(images, landmarks, torch.Generator().manual_seed(0))
    bright_left = flipped[:, 0, 0, 0] == 1
    assert 16 < bright_left.sum() < 48
    assert torch.equal(points[:, 7, 0] == 0.25, bright_left)


def test_shift_moves_a_dot_and_its_landmark_together():
    side, n = 64, 40
    axis = (torch.arange(side) + 0.5) / side
    centre = torch.tensor([0.4, 0.6])
    blob = torch.exp(-((axis[None, :] - centre[0]) ** 2 + (axis[:, None] - centre[1]) ** 2) / (2 * 0.03**2))
    images = blob.expand(n, 3, side, side)
    moved, points = augmentation.shift(images, centre.expand(n, 106, 2), torch.Generator().manual_seed(0))
    mass = moved[:, 0] / moved[:, 0].sum(dim=(1, 2), keepdim=True)
    found = torch.stack([(mass.sum(dim=1) * axis).sum(dim=1), (mass.sum(dim=2) * axis).sum(dim=1)], dim=1)
    assert (found - points[:, 0]).abs().max() * side < 0.05
    assert (points[:, 0] - centre).abs().max() * side > 1.5


def test_soften_is_a_function_of_the_generator_and_limited():
    images = random_images(8, 16)
    a = augmentation.soften(images, torch.Generator().manual_seed(0))
    assert torch.equal(a, augmentation.soften(images, torch.Generator().manual_seed(0)))
    assert not torch.equal(a, augmentation.soften(images, torch.Generator().manual_seed(1)))
    plain = augmentation.soften(images, torch.Generator().manual_seed(0), blur=0, noise=0)
    assert torch.equal(plain, images)
    flat = torch.full((4, 3, 16, 16), 0.3)
    assert torch.allclose(
        augmentation.soften(flat, torch.Generator().manual_seed(0), noise=0), flat, atol=1e-6
    )
