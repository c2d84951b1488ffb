import numpy as np
import pytest
from PIL import Image

from hfld.photos.alignment import Quad, center_quad, crop, ffhq_quad, paste
from hfld.portraits.parameters import sample
from hfld.portraits.render import render_latents


def face_points(*, centre, scale, degrees, count=106):
    """Landmarks of a face whose eyes are 1 apart and 1 above the mouth, before scale and rotation."""
    points = np.zeros((count, 2))
    layout = {
        106: ([*range(66, 74)], [*range(75, 83)], 84, 90),
        68: ([*range(36, 42)], [*range(42, 48)], 48, 54),
        5: ([0], [1], 3, 4),
    }[count]
    left, right, mouth_left, mouth_right = layout
    points[left], points[right] = (-0.5, 0), (0.5, 0)
    points[mouth_left], points[mouth_right] = (-0.3, 1), (0.3, 1)
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return centre + scale * points @ turn


def dot(height, width, at, sigma=3.0):
    """A bright spot on black at a point in px."""
    y, x = np.mgrid[:height, :width] + 0.5
    spot = 255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * sigma**2))
    return np.repeat(np.rint(spot).astype(np.uint8)[..., None], 3, axis=2)


def found(picture):
    """Centre of brightness in px."""
    mass = picture[..., 0].astype(float)
    y, x = np.mgrid[: len(mass), : mass.shape[1]] + 0.5
    return np.array([(x * mass).sum(), (y * mass).sum()]) / mass.sum()


@pytest.mark.parametrize("count", [106, 68, 5])
def test_the_square_is_ffhqs(count):
    quad = ffhq_quad(face_points(centre=(300, 200), scale=50, degrees=0, count=count))
    # half side: the larger of 2 eye distances (100) and 1.8 eye-mouth distances (90); 5 px below the eyes
    np.testing.assert_allclose(quad.corners, [[200, 105], [400, 105], [400, 305], [200, 305]])
    turned = ffhq_quad(face_points(centre=(300, 200), scale=50, degrees=30, count=count))
    assert turned.side == pytest.approx(200)
    angle = np.degrees(np.arctan2(turned.across[1], turned.across[0]))
    assert angle == pytest.approx(30)
    np.testing.assert_allclose(turned.across @ turned.down, 0, atol=1e-9)


def test_a_long_face_is_measured_by_its_length():
    points = face_points(centre=(0, 0), scale=50, degrees=0)
    points[[84, 90], 1] = 80
    assert ffhq_quad(points).side == pytest.approx(2 * 1.8 * 80)


def test_eyes_and_mouth_share_in_the_angle():
    points = face_points(centre=(0, 0), scale=50, degrees=0)
    points[[84, 90]] += (-50, 0)  # the mouth lies to the left: that alone would turn the square by 45 degrees
    across = ffhq_quad(points).across
    # eyes (50, 0) and the turned line to the mouth (50, 50): their sum is (100, 50)
    assert np.arctan2(across[1], across[0]) == pytest.approx(np.arctan2(50, 100))


@pytest.mark.parametrize(
    ("scale", "size"), [(50, 256), (50, 64), (200, 64), (130, 256)], ids=["larger", "smaller", "tiny", "same"]
)
@pytest.mark.parametrize("degrees", [0, 25, -160])
def test_a_dot_is_found_where_its_landmark_goes(scale, size, degrees):
    quad = ffhq_quad(face_points(centre=(620, 560), scale=scale, degrees=degrees))
    spot = quad.to_picture(np.array([0.62, 0.31]))
    picture = dot(1200, 1300, spot, sigma=max(3.0, 1.5 * quad.side / size))
    image = crop(picture, quad, size)
    assert image.shape == (size, size, 3)
    assert np.abs(found(image) - size * quad.to_crop(spot)).max() < 0.06
    np.testing.assert_allclose(quad.to_crop(spot), [0.62, 0.31])


def test_the_crop_is_what_pillows_quad_transform_gives():
    tiles = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(tiles).resize((512, 512), Image.Resampling.BILINEAR))
    quad = ffhq_quad(face_points(centre=(250, 240), scale=45, degrees=20))
    upper_left, upper_right, lower_right, lower_left = quad.corners
    corners = np.concatenate([upper_left, lower_left, lower_right, upper_right])
    large = Image.fromarray(picture).transform(
        (1024, 1024), Image.Transform.QUAD, tuple(corners), Image.BILINEAR
    )
    expected = np.asarray(large.resize((128, 128), Image.Resampling.BOX)).astype(int)
    difference = np.abs(crop(picture, quad, 128).astype(int) - expected)
    shifted = np.abs(np.roll(expected, 1, axis=1) - expected)
    assert difference.mean() < 0.06 * shifted.mean()  # about a twentieth of a pixel


def test_a_picture_that_fills_the_square_is_copied():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(crop(picture, center_quad(64, 64), 64, pad=False), picture)
    wide = np.pad(picture, ((0, 0), (20, 20), (0, 0)))
    assert np.array_equal(crop(wide, center_quad(64, 104), 64, pad=False), picture)


def test_outside_is_filled_by_reflection_and_fades():
    rng = np.random.default_rng(0)
    picture = np.tile(np.array([200, 120, 60], np.uint8), (200, 200, 1))
    picture += rng.integers(0, 20, picture.shape, dtype=np.uint8)
    quad = Quad(np.array([-100.0, 20.0]), np.array([160.0, 0.0]), np.array([0.0, 160.0]))
    image = crop(picture, quad, 160)
    assert np.abs(image[:, 142:].astype(int) - picture[20:180, 42:60]).max() <= 1  # well inside: untouched
    outer = image[:, :40].reshape(-1, 3).astype(float)
    assert (
        np.abs(outer.mean(axis=0) - picture.reshape(-1, 3).mean(axis=0)).max() < 3
    )  # its colours, not black
    assert outer.std(axis=0).max() < 2 < image[:, 142:].reshape(-1, 3).std(axis=0).min()  # and smooth


def test_a_square_at_the_border_is_softened_a_tenth_inside():
    picture = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    quad = Quad(np.array([0.0, 60.0]), np.array([160.0, 0.0]), np.array([0.0, 160.0]))
    image = crop(picture, quad, 160)
    assert image[:, :4].std() < 0.4 * image[:, 20:].std()
    assert 0.4 < image[:, 6:10].std() / image[:, 20:].std() < 0.8
    assert np.array_equal(image[:, 17:], picture[60:220, 17:160])
    assert np.array_equal(crop(picture, quad, 160, pad=False), picture[60:220, :160])


@pytest.mark.parametrize("degrees", [0, 20])
def test_pasting_an_unchanged_crop_changes_nothing_much_and_an_edit_only_inside(degrees):
    picture = render_latents(sample(1, 5), 256, workers=1, progress=False)[0][0]
    quad = ffhq_quad(face_points(centre=(128, 118), scale=40, degrees=degrees))
    same = paste(picture, crop(picture, quad, 256), quad)
    assert np.abs(same.astype(int) - picture).mean() < 1
    edited = paste(picture, np.full((64, 64, 3), 255, np.uint8), quad)
    y, x = np.mgrid[:256, :256] + 0.5
    place = quad.to_crop(np.stack([x, y], axis=-1))
    inside = ((place > 0) & (place < 1)).all(axis=-1)
    assert np.array_equal(edited[~inside], picture[~inside])
    core = (np.abs(place - 0.5) < 0.38).all(axis=-1)
    assert (edited[core] >= 254).all()
    edge = inside & ~(np.abs(place - 0.5) < 0.47).all(axis=-1)
    assert (
        np.abs(edited[edge].astype(int) - picture[edge]).mean()
        < 100
        < (255 - picture[edge].astype(int)).mean()
    )


def test_a_dot_pasted_back_lies_where_it_was():
    quad = ffhq_quad(face_points(centre=(200, 180), scale=35, degrees=15))
    spot = np.array([0.45, 0.55])
    face = dot(256, 256, 256 * spot, sigma=6)
    assert (
        np.abs(found(paste(np.zeros((400, 420, 3), np.uint8), face, quad)) - quad.to_picture(spot)).max()
        < 0.1
    )


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match=r"shape \(98, 2\), expected \[106, 2\], \[68, 2\] or \[5, 2\]"):
        ffhq_quad(np.zeros((98, 2)))
    with pytest.raises(ValueError, match="in one place"):
        ffhq_quad(np.full((106, 2), 3.0))
    with pytest.raises(ValueError, match="is not in the picture"):
        crop(
            np.zeros((50, 50, 3), np.uint8),
            Quad(np.array([400.0, 0]), np.array([40.0, 0]), np.array([0, 40.0])),
            8,
        )
    with pytest.raises(ValueError, match=r"float64 .* expected uint8"):
        crop(np.zeros((4, 4, 3)), center_quad(4, 4), 4)
