import numpy as np
import pytest

from hfld.attributes import ATTRIBUTES, MIRROR, REGIONS
from hfld.portraits.canvas import DESIGN, Canvas
from hfld.portraits.parameters import NUISANCES, Z_DIM, counterfactual, decode, sample
from hfld.portraits.render import landmarks_of, render, render_latents


def faces(n: int, seed: int = 0) -> np.ndarray:
    """Latents of beardless, hatless faces that look ahead."""
    z = sample(n, seed)
    z[:, -len(NUISANCES) :][:, [NUISANCES.index("yaw"), NUISANCES.index("pitch")]] *= 0.3
    for name in ("Wearing_Hat", "Bald", "Blurry", "Eyeglasses", "Goatee", "Mustache", "Sideburns"):
        z = counterfactual(z, name, 0.0)
    return counterfactual(z, "No_Beard", 1.0)


def test_same_latents_give_the_same_bytes_whatever_the_workers():
    z = sample(6, 1)
    one = render_latents(z, 64, workers=1, progress=False, chunk=6)
    two = render_latents(z, 64, workers=2, progress=False, chunk=2)
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])
    assert one[0].shape == (6, 64, 64, 3) and one[0].dtype == np.uint8
    assert one[1].shape == (6, 106, 2) and one[1].dtype == np.float32


@pytest.mark.parametrize("size", [32, 1024])
def test_sizes_outside_the_range_are_refused(size):
    with pytest.raises(ValueError, match=r"64\.\.512"):
        render(decode(sample(1, 0)), size)


def test_sizes_show_the_same_picture():
    parameters = decode(sample(4, 2))
    small, points = render(parameters, 64)
    large, same_points = render(parameters, 256)
    shrunk = large.reshape(4, 64, 4, 64, 4, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - small).mean() < 3.0
    assert np.array_equal(points, same_points)


def test_a_dot_painted_at_a_landmark_is_found_there():
    points = landmarks_of(decode(sample(1, 3)))[0]
    for i in range(0, 106, 7):
        canvas = Canvas(128)
        canvas.ellipse(points[i] * DESIGN, (3.0, 3.0), np.array([255.0, 255.0, 255.0]))
        weight = canvas.finish()[..., 0].astype(np.float64)
        y, x = np.mgrid[:128, :128] + 0.5
        found = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum() / 128
        assert np.abs(found - points[i]).max() < 0.2 / 128


def test_pupils_and_lips_lie_where_the_landmarks_say():
    z = faces(12, 4)
    images, points = render(decode(z), 256)
    for image, face in zip(images.astype(float), points * 256, strict=True):
        around = image.mean(axis=(0, 1))
        for pupil in face[104:106]:
            x, y = pupil.astype(int)
            assert image[y, x].mean() < around.mean()
        x, y = face[list(REGIONS["mouth"])].mean(axis=0).astype(int)
        assert image[y - 2 : y + 3, x - 2 : x + 3, 0].mean() > image[y - 2 : y + 3, x - 2 : x + 3, 1].mean()


def test_a_level_symmetric_face_mirrors_onto_itself():
    points = landmarks_of(decode(np.zeros((1, Z_DIM), dtype=np.float32)))[0]
    flipped = points[list(MIRROR)] * [-1, 1] + [1, 0]
    assert np.abs(flipped - points).max() < 1e-3


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_every_label_changes_pixels(attribute):
    z = faces(8, 5)
    if attribute in ("Goatee", "Mustache", "Sideburns"):
        off, on = z, counterfactual(z, attribute, 1.0)
    else:
        off, on = counterfactual(z, attribute, 0.0), counterfactual(z, attribute, 1.0)
    change = np.abs(render(decode(on), 128)[0].astype(int) - render(decode(off), 128)[0]).max(axis=-1)
    share = np.median((change > 12).mean(axis=(1, 2)))
    strongest = np.median(np.sort(change.reshape(8, -1), axis=1)[:, -163:].mean(axis=1))
    assert share > 0.004 and strongest > 25, (share, strongest)


@pytest.mark.parametrize(
    "attribute",
    ["Black_Hair", "Blond_Hair", "Gray_Hair", "Bald", "Wavy_Hair", "Wearing_Hat", "Eyeglasses", "Pale_Skin"],
)
def test_hair_and_accessories_move_no_landmark(attribute):
    z = faces(8, 6)
    before, after = (landmarks_of(decode(counterfactual(z, attribute, value))) for value in (0.0, 1.0))
    assert np.abs(before - after).max() * 128 < 0.01


def test_expression_does_not_move_the_frame():
    z = faces(8, 7)
    before, after = (landmarks_of(decode(counterfactual(z, "Smiling", value))) for value in (0.0, 1.0))
    moved = np.linalg.norm(after - before, axis=-1) * 128  # [8, 106]
    assert moved[:, list(REGIONS["contour"])[:4]].max() < 0.02
    assert moved[:, [84, 90]].mean() > 2.0
