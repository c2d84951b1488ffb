"""Files that cameras, scanners and programs make: the right picture, or one line that says why not."""

import io
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile
from toy_studio import toy_engine

from hfld.config import ROOT
from hfld.photos import reading
from hfld.photos.alignment import Quad, center_quad, paste
from hfld.photos.own_photo import Photo, open_photo, paste_back
from hfld.photos.reading import MAX_FILE_PIXELS, MAX_PIXELS, find_pictures, picture_size, read_picture
from hfld.studio.file_formats import recipe_in_png
from hfld.studio.session import Session

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.dstack([RAMP, RAMP[::-1], RAMP.T])
LARGE = (12_000, 9_000)  # px; in memory 432 MB as Pillow keeps it, 324 MB as an array
PEAK = 800 << 20  # bytes that reading such a file may add


def encoded(picture: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("values", "white"),
    [(np.float32, 1), (np.float32, 255), (np.float32, 65535), (np.uint16, 65535), (np.int32, 65535)],
)
def test_wide_and_float_tiffs_are_read_by_their_range(values, white):
    picture = (RAMP / 255 * white).astype(values)
    found, notes = read_picture(encoded(picture, "tiff"))
    np.testing.assert_array_equal(found, np.repeat(RAMP[..., None], 3, axis=2))
    assert notes == ()


@pytest.mark.parametrize("low_and_high", [(-5, 9), (0, 1e6), (0, np.nan), (0, np.inf)])
def test_values_that_mean_no_gray_are_named(low_and_high):
    picture = np.full((600, 4), low_and_high[0], np.float32)
    picture[-1] = low_and_high[1]
    with pytest.raises(
        ValueError, match=r"not a readable picture: its values go from .* expected 0 to 1, 255"
    ):
        read_picture(encoded(picture, "tiff"))


def test_a_tiff_of_float_colours_is_said():
    content = cv2.imencode(".tiff", COLOURS.astype(np.float32))[1].tobytes()
    with pytest.raises(
        ValueError, match="a TIFF of a kind that is not read, such as colours as floats; save"
    ):
        read_picture(content)


def test_wide_colours_and_inks_are_read():
    deep = COLOURS.astype(np.uint16) * 257
    for suffix in (".tiff", ".png"):
        content = cv2.imencode(suffix, np.ascontiguousarray(deep[..., ::-1]))[1].tobytes()
        np.testing.assert_array_equal(read_picture(content)[0], COLOURS)
    smooth = np.full((16, 16, 3), (200, 120, 40), np.uint8)
    found, _ = read_picture(encoded(Image.fromarray(smooth).convert("CMYK"), "jpeg", quality=95))
    assert np.abs(found.astype(int) - smooth).max() <= 4


def test_a_palettes_transparent_colour_is_white():
    picture = Image.fromarray(np.repeat([[0, 1, 2]], 4, axis=0).astype(np.uint8), mode=None).convert("P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    for transparency in (1, bytes([255, 0, 255])):
        found, _ = read_picture(encoded(picture, "png", transparency=transparency))
        assert found[0].tolist() == [[255, 0, 0], [255, 255, 255], [0, 0, 255]]


@pytest.mark.parametrize("kind", ["gif", "webp", "tiff", "png"])
def test_of_several_pictures_the_first_is_taken_and_said_so(kind):
    options = {"lossless": True} if kind == "webp" else {}
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    content = encoded(red, kind, save_all=True, append_images=[blue], **options)
    photo = open_photo(content, aligned=True)
    assert photo.picture[0, 0].tolist() == [255, 0, 0]
    assert photo.message == "the first of the file's pictures taken; taken as an aligned face"
    assert read_picture(encoded(red, kind, **options))[1] == ()


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("jpeg", mode) for mode in ("RGB", "L", "CMYK")]
    + [("png", mode) for mode in ("RGB", "RGBA", "P", "L", "I;16", "1")]
    + [("tiff", mode) for mode in ("RGB", "I;16", "F", "CMYK")],
)
def test_what_is_larger_than_is_kept_is_made_smaller(monkeypatch, kind, mode):
    gray = np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None], 96, axis=0)
    if mode in ("I;16", "F"):
        picture = Image.fromarray(gray.astype(np.uint16) * 257 if mode == "I;16" else gray / np.float32(255))
    else:
        picture = Image.fromarray(gray).convert("RGB").convert(mode)
    content = encoded(picture, kind)
    whole, _ = read_picture(content)
    monkeypatch.setattr(reading, "MAX_PIXELS", 96 * 64 // 4)
    small, notes = read_picture(content)
    assert small.shape == (48, 32, 3) and notes == ("made smaller, from 64 x 96 to 32 x 48 px",)
    expected = whole.reshape(48, 2, 32, 2, 3).mean((1, 3))
    assert np.abs(small - expected).mean() < 3
    assert "from 64 x 96 to 32 x 48 px" in open_photo(content, aligned=True).message


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_large_turned_picture_is_upright_and_its_sides_are_said_so(monkeypatch, kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, :40] = 255  # the left half, which comes to the top
    monkeypatch.setattr(reading, "MAX_PIXELS", 800)
    found, notes = read_picture(encoded(picture, kind, exif=exif))
    assert found.shape == (40, 20, 3) and found[:18].min() > 240 and found[22:].max() < 15
    assert notes == ("made smaller, from 40 x 80 to 20 x 40 px",)


def test_a_large_jpeg_is_never_decoded_whole(monkeypatch):
    loaded = []
    load = Image.core.new

    class Seen:
        def __getattr__(self, name):
            return getattr(core, name)

        def new(self, mode, size):
            loaded.append(size)
            return load(mode, size)

    core = Image.core
    content = encoded(np.zeros((96, 64, 3), np.uint8), "jpeg")
    monkeypatch.setattr(reading, "MAX_PIXELS", 96 * 64 // 4)
    monkeypatch.setattr(Image, "core", Seen())
    read_picture(content)
    assert loaded and max(width * height for width, height in loaded) == 32 * 48


@pytest.fixture
def turned(tmp_path):
    """plain.png, and turned.png, which a camera has turned: to be rotated by 90 degrees clockwise."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(np.ascontiguousarray(COLOURS[:10]))
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "turned.png", exif=exif)
    return tmp_path


def test_a_size_is_read_without_decoding(turned, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    assert picture_size(turned / "plain.png") == (16, 10)
    assert picture_size(turned / "turned.png") == (10, 16)
    monkeypatch.setattr(reading, "MAX_PIXELS", 159)
    with pytest.raises(
        ValueError, match=r"plain.png is not a readable picture: 16 x 10 px, expected at most"
    ):
        picture_size(turned / "plain.png")  # read_picture makes it smaller: coordinates would not fit


def test_exif_turns_the_picture(turned):
    found, plain = (read_picture(turned / f"{name}.png")[0] for name in ("turned", "plain"))
    assert np.array_equal(found, np.rot90(plain, -1))


def test_pictures_of_a_folder_are_found_sorted(tmp_path):
    for name in ("b/2.JPG", "b/1.png", "a.webp", ".hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in find_pictures(tmp_path)] == ["a.webp", "1.png", "2.JPG"]


def test_several_threads_read_without_a_warning(monkeypatch):
    """Warnings are errors here: filters that one thread takes back must not be missing in another."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # Pillow warns from here on
    content = encoded(COLOURS, "png")
    with ThreadPoolExecutor(8) as pool:
        assert all(found[0].shape == (16, 16, 3) for found in pool.map(read_picture, [content] * 400))


def test_programs_that_a_picture_could_start_are_not():
    content = encoded(COLOURS, "eps")
    with pytest.raises(ValueError, match="no known picture format"):
        read_picture(content)
    with pytest.raises(ValueError, match="no picture that can be read"):
        Session(toy_engine()).load("me.eps", content)


def test_the_session_says_what_is_too_large_and_warns_of_nothing(monkeypatch):
    content = encoded(COLOURS, "png")
    monkeypatch.setattr(reading, "MAX_FILE_PIXELS", 255)
    with pytest.raises(ValueError, match="this picture is too large: 16 x 16 px, expected at most"):
        Session(toy_engine()).load("me.png", content)
    monkeypatch.setattr(reading, "MAX_FILE_PIXELS", 256)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200)  # Pillow warns from here to twice as much
    assert read_picture(content)[0].shape == (16, 16, 3)


def test_no_recipe_is_looked_for_behind_the_pixels_of_a_large_photo(monkeypatch):
    half = encoded(COLOURS, "png")[:-40]
    with pytest.raises(ValueError, match="this picture is damaged"):
        recipe_in_png(half)
    monkeypatch.setattr(reading, "MAX_PIXELS", 255)
    assert recipe_in_png(half) is None  # not decoded


def test_a_picture_that_was_opened_is_not_read_again():
    whole = Photo(COLOURS, (), center_quad(16, 16), "", ("made smaller",))
    again = open_photo(whole, aligned=True)
    assert again.picture is COLOURS and again.message == "made smaller; taken as an aligned face"


@pytest.mark.parametrize("shift", [(20.3, 11.6), (-15.0, 40.0), (300.0, 0.0)])
def test_only_the_part_of_a_photo_that_changes_is_worked_on(shift):
    rng = np.random.default_rng(0)
    picture, face = (rng.integers(0, 256, shape, np.uint8) for shape in ((90, 120, 3), (4, 4, 3)))
    face = cv2.resize(face, (32, 32), interpolation=cv2.INTER_CUBIC)  # smooth: positions are 1/32 px fine
    quad = Quad(np.array(shift), np.array([40.0, 9.0]), np.array([-9.0, 40.0]))
    before = picture.copy()
    pasted = paste_back(Photo(picture, (), quad, ""), face)
    whole = paste(picture, face, quad)
    assert np.abs(pasted.astype(int) - whole).max() <= 2
    assert np.array_equal(picture, before) and (pasted != picture).any() == (shift[0] < 120)


MEASURE = """
import resource, sys
from hfld.photos.own_photo import open_photo
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
photo = open_photo(sys.argv[1], aligned=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *photo.picture.shape[:2])
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_a_large_file_takes_bounded_memory(tmp_path, kind):
    width, height = LARGE
    assert MAX_PIXELS < width * height < MAX_FILE_PIXELS
    path = tmp_path / f"large.{kind}"
    Image.new("RGB", LARGE, "teal").save(path, kind)
    shown = subprocess.run(
        [sys.executable, "-c", MEASURE, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    peak, *sides = map(int, shown.stdout.split())
    assert sides == [height // 2, width // 2]
    assert peak * (1 if sys.platform == "darwin" else 1024) < PEAK
