import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from hfld.photos.alignment import center_quad, ffhq_quad
from hfld.photos.own_photo import FFHQ_SQUARES, face_mask, open_photo, paste_back, world_quad
from hfld.portraits.parameters import sample
from hfld.portraits.render import render_latents

EYES = np.array([[202.2, 101.0], [247.3, 103.4]])
"""The astronaut's pupils, px of 512."""


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    """A real photo in the public domain (NASA), [512, 512, 3]; it lies in the wheel of scikit-image."""
    data = pytest.importorskip("skimage.data", reason="scikit-image, whose photo this uses, is not installed")
    return data.astronaut()


@pytest.fixture(scope="module")
def face(astronaut):
    """The head and shoulders of it, where a search is fast, [256, 256, 3]."""
    return np.ascontiguousarray(astronaut[:256, 100:356])


@pytest.fixture(scope="module")
def portraits():
    return render_latents(sample(12, 5), 256, workers=1, progress=False)


def encoded(picture: np.ndarray | Image.Image, kind: str = "png", **options) -> bytes:
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def wrong_by(photo, eyes: np.ndarray) -> float:
    """Distance of the found eyes from true ones, in distances of the eyes."""
    found = photo.faces[0].eyes
    return np.hypot(*(found - eyes).T).max() / np.hypot(*(eyes[1] - eyes[0]))


def test_a_photo_is_aligned_as_ffhq(astronaut, tmp_path):
    Image.fromarray(astronaut).save(tmp_path / "photo.png")
    photo = open_photo(tmp_path / "photo.png")
    assert photo.message == "one face was found"
    assert wrong_by(photo, EYES) < 0.05
    eyes = photo.quad.to_crop(photo.faces[0].eyes)
    np.testing.assert_allclose(eyes, [[0.375, 0.474], [0.625, 0.474]], atol=1e-3)  # level; a quarter apart
    image = photo.image(64)
    assert image.shape == (1, 3, 64, 64) and image.dtype == torch.float32
    assert -1 <= image.min() < image.max() <= 1
    assert np.array_equal(open_photo(encoded(astronaut)).crop(64), photo.crop(64))


@pytest.mark.parametrize("degrees", [25, -40, 90])
def test_rotated_faces_are_turned_upright(face, degrees):
    picture = np.asarray(Image.fromarray(face).rotate(-degrees, Image.Resampling.BICUBIC, expand=True))
    upright, photo = open_photo(face), open_photo(picture)
    assert f"turned upright by {abs(round(photo.faces[0].roll))} degrees" in photo.message
    change = np.abs(upright.crop(64).astype(int) - photo.crop(64))[8:56, 16:48]  # inside of the photo
    assert change.mean() < 8 < np.abs(upright.crop(64).astype(int) - picture[:64, :64]).mean()
    assert photo.faces[0].roll - upright.faces[0].roll == pytest.approx(degrees, abs=2)


def test_of_several_faces_the_largest_is_taken_and_said_so(face):
    small = np.asarray(Image.fromarray(face).resize((180, 180)))
    pair = np.full((256, 440, 3), 128, np.uint8)
    pair[38:218, :180], pair[:, 184:] = small, face
    photo = open_photo(pair)
    assert photo.message == "2 faces were found, number 0 by size taken"
    assert photo.faces[0].width > photo.faces[1].width
    assert wrong_by(photo, EYES + (84, 0)) < 0.06
    second = open_photo(pair, face=1)
    assert "number 1 by size taken" in second.message
    assert (
        second.quad.to_picture(np.array([0.5, 0.5]))[0] < 180 < photo.quad.to_picture(np.array([0.5, 0.5]))[0]
    )
    with pytest.raises(ValueError, match="face: 2, but 2 faces were found; expected 0 to 1"):
        open_photo(pair, face=2)


def test_no_face_is_said_in_one_line():
    rng = np.random.default_rng(0)
    for picture in (np.full((90, 120, 3), 200, np.uint8), rng.integers(0, 256, (100, 80, 3), np.uint8)):
        height, width = picture.shape[:2]
        with pytest.raises(ValueError, match=rf"no face was found in this picture of {width} x {height} px"):
            open_photo(picture)


def test_tiny_faces_and_pictures_are_refused(face):
    tiny = np.asarray(Image.fromarray(face).resize((64, 64), Image.Resampling.BOX))
    with pytest.raises(ValueError, match=r"the face is 2\d px wide; at least 32 are needed"):
        open_photo(tiny)
    for size in (1, 2, 12):
        with pytest.raises(ValueError, match=f"no face was found in this picture of {size} x {size} px"):
            open_photo(face[:size, :size])


def test_every_kind_of_picture_gives_the_same_square(face):
    """Grayscale, RGBA, 16-bit, CMYK, EXIF-rotated."""
    gray = np.asarray(Image.fromarray(face).convert("L"))
    wide = gray.astype(np.uint16) * 257
    opaque = np.dstack([face, np.full(face.shape[:2], 255, np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    grays = [encoded(gray), encoded(Image.fromarray(wide))]
    colours = [face, Image.fromarray(opaque), encoded(opaque), encoded(np.rot90(face), "png", exif=exif)]
    close = [encoded(face, "jpeg", quality=95), encoded(Image.fromarray(face).convert("CMYK"), "tiff")]
    for pictures, tolerance in ((grays, 0), (colours, 0), (close, 2.5)):
        expected = open_photo(face if pictures is not grays else np.repeat(gray[..., None], 3, 2)).picture
        for picture in pictures:
            found = open_photo(picture, aligned=True).picture
            assert found.shape == expected.shape and found.dtype == np.uint8
            assert np.abs(found.astype(int) - expected).mean() <= tolerance


def test_transparent_parts_are_white():
    clear = np.zeros((8, 8, 4), np.uint8)
    clear[:, :4] = (10, 20, 30, 255)
    picture = open_photo(encoded(clear), aligned=True).picture
    assert (picture[:, :4] == (10, 20, 30)).all() and (picture[:, 4:] == 255).all()


def test_what_is_no_picture_is_said(face, tmp_path):
    for broken in (b"", b"no picture", encoded(face)[:2000], encoded(face, "jpeg")[:2000]):
        with pytest.raises(ValueError, match="this file is not a readable picture"):
            open_photo(broken)
        (tmp_path / "me.jpg").write_bytes(broken)
        with pytest.raises(ValueError, match=r"me.jpg is not a readable picture"):
            open_photo(tmp_path / "me.jpg")
    with pytest.raises(ValueError, match="no known picture format; save it as JPEG or PNG"):
        open_photo(b"no picture")
    with pytest.raises(FileNotFoundError):
        open_photo(tmp_path / "none.jpg")


def test_huge_files_are_refused_before_they_are_decoded():
    for side in (11_000, 30_000):  # above our limit; above Pillow's
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
        content = b"\x89PNG\r\n\x1a\n"
        for name, data in chunks:
            content += struct.pack(">I", len(data)) + name + data
            content += struct.pack(">I", zlib.crc32(name + data))
        with pytest.raises(ValueError, match=r"120 million; make it smaller|decompression bomb"):
            open_photo(content)


def test_large_photos_are_searched_small_and_cut_sharp(astronaut):
    large = np.asarray(Image.fromarray(astronaut).resize((2560, 2560), Image.Resampling.BICUBIC))
    photo = open_photo(large)
    assert wrong_by(photo, EYES * 5) < 0.06
    assert photo.picture.shape == large.shape  # the edit goes back into the full picture


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3)),
    ],
)
def test_arrays_that_are_no_pictures_are_named(picture):
    with pytest.raises(ValueError, match=r"source: .* expected uint8 \[H, W, 3\]"):
        open_photo(picture, aligned=True)


def test_the_portraits_frame_is_that_of_their_mean_face():
    _, points = render_latents(sample(40, 1), 64, workers=1, progress=False)
    image = world_quad(ffhq_quad(points.mean(axis=0)), "portraits")
    np.testing.assert_allclose(image.corners, center_quad(1, 1).corners, atol=0.02)
    assert FFHQ_SQUARES["ffhq"] == (0, 0, 1)
    with pytest.raises(ValueError, match="unknown world 'celeba'"):
        world_quad(center_quad(9, 9), "celeba")


def test_a_saved_portrait_is_taken_whole(portraits):
    photos = [(picture, open_photo(picture, world="portraits")) for picture in portraits[0][1:5]]
    taken = [np.array_equal(photo.crop(256), picture) for picture, photo in photos]
    assert taken == ["aligned face already" in photo.message for _, photo in photos]
    assert sum(taken) >= 3


class Reads(torch.nn.Module):
    """A network that answers one set of landmarks to everything."""

    size = 64

    def __init__(self, points):
        super().__init__()
        self.points = torch.nn.Parameter(torch.as_tensor(points, dtype=torch.float32).flatten())

    def forward(self, images):
        return self.points.expand(len(images), -1)


def test_a_landmark_network_refines_the_square_unless_it_reads_no_face(face, portraits):
    rough, quad = open_photo(face), ffhq_quad(portraits[1][0])
    points = quad.to_crop(portraits[1][0])  # a face that fills its FFHQ square exactly: nothing to refine
    same = open_photo(face, landmarks=Reads(points))
    np.testing.assert_allclose(same.quad.corners, rough.quad.corners, atol=1e-3)
    shifted = open_photo(face, landmarks=Reads(points + (0.05, 0)))
    moved = rough.quad.to_crop(shifted.quad.corners) - rough.quad.to_crop(rough.quad.corners)
    np.testing.assert_allclose(moved, np.tile([0.1, 0], (4, 1)), atol=0.01)  # twice, as this one never agrees
    wild = open_photo(face, landmarks=Reads(points + (0.4, 0)))
    assert np.array_equal(wild.quad.corners, rough.quad.corners)


@pytest.mark.parametrize("oval", [False, True])
def test_an_edit_goes_back_and_nothing_else_changes(face, portraits, oval):
    photo = open_photo(face)
    edited = np.full((64, 64, 3), 255, np.uint8)
    points = ffhq_quad(portraits[1][0]).to_crop(portraits[1][0])
    pasted = paste_back(photo, edited, landmarks=points if oval else None)
    y, x = np.mgrid[:256, :256] + 0.5
    place = photo.quad.to_crop(np.stack([x, y], axis=-1))
    inside = ((place > 0) & (place < 1)).all(axis=-1)
    if oval:
        near = (
            cv2.dilate(face_mask(points, 64), np.ones((3, 3))) > 0
        )  # a pixel of the crop reaches to the next
        index = np.clip((place * 64).astype(int), 0, 63)
        inside &= near[index[..., 1], index[..., 0]]
    middle = (
        np.hypot(*(place - points[54]).transpose(2, 0, 1)) < 0.05
        if oval
        else np.abs(place - 0.5).max(-1) < 0.38
    )
    assert (pasted[middle] >= 254).all() and middle.any()
    assert np.array_equal(pasted[~inside], face[~inside])
    assert (~inside).mean() > (0.3 if oval else 0.2)
    assert pasted.shape == face.shape and pasted.dtype == np.uint8


def test_the_mask_is_a_soft_oval_that_covers_every_given_face(portraits):
    points = portraits[1][0]
    mask = face_mask(points, 128)
    at = np.clip((points * 128).astype(int), 0, 127)
    assert (mask[at[33:106, 1], at[33:106, 0]] > 0.5).all()  # brows, nose, eyes and mouth
    assert mask[0].max() < 0.05 and mask[-1].max() == 0  # neither the hair's top nor the shoulders
    assert 0 < mask.min(where=mask > 0, initial=1) < 0.1 and mask.max() == 1
    assert np.abs(np.diff(mask, axis=0)).max() < 0.15  # soft
    both = face_mask(np.stack([points, points + (0.1, 0)]), 128)
    assert (both >= mask - 1e-6).all() and both.sum() > 1.05 * mask.sum()
    with pytest.raises(ValueError, match=r"shape \(68, 2\), expected \[106, 2\]"):
        face_mask(np.zeros((68, 2)), 64)


def test_a_pillow_picture_is_opened_and_anything_else_is_named(face):
    np.testing.assert_array_equal(open_photo(Image.fromarray(face)).picture, face)
    for source in (None, torch.zeros(3, 8, 8)):
        with pytest.raises(ValueError, match=f"source: a {type(source).__name__}, expected a file"):
            open_photo(source)


def test_what_is_pasted_is_checked(face):
    photo = open_photo(face, aligned=True)
    for wrong in (np.zeros((8, 8, 3)), np.zeros((8, 9, 3), np.uint8), np.zeros((8, 8), np.uint8)):
        with pytest.raises(ValueError, match=r"face: .* expected uint8"):
            paste_back(photo, wrong)
