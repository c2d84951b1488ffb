import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hfld.attributes import ATTRIBUTES
from hfld.photos.datasets import _validation_tenth, load, read_points, source
from hfld.photos.photo_set import PhotoSet

FACE = np.random.default_rng(4).random((106, 2))
FACE[66:74], FACE[75:83] = (0.4, 0.45), (0.6, 0.45)
FACE[84], FACE[90] = (0.43, 0.63), (0.57, 0.63)


def write_picture(path, width=178, height=218, seed=0, **save):
    path.parent.mkdir(parents=True, exist_ok=True)
    tiles = np.random.default_rng(seed).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    Image.fromarray(tiles).resize((width, height), Image.Resampling.BILINEAR).save(path, **save)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.fixture
def celeba(tmp_path):
    """Six aligned pictures with the official text files, as CelebA's Anno, Eval and Img folders."""
    names = [f"{i:06d}.jpg" for i in range(1, 7)]
    for i, name in enumerate(names):
        write_picture(tmp_path / "Img" / "img_align_celeba" / name, seed=i)
    rows = [
        f"{name} " + " ".join(f"{1 if (i + k) % 3 == 0 else -1:2d}" for k in range(40))
        for i, name in enumerate(names)
    ]
    (tmp_path / "Anno").mkdir()
    text = f"6\n{' '.join(ATTRIBUTES)} \n" + "\n".join(rows) + "\n"
    (tmp_path / "Anno" / "list_attr_celeba.txt").write_text(text)
    (tmp_path / "Eval").mkdir()
    parts = [f"{name} {split}" for name, split in zip(names, [0, 0, 0, 1, 2, 2], strict=True)]
    (tmp_path / "Eval" / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")
    return tmp_path


def write_points(path, points):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("106\n" + "\n".join(f"{x:.6f} {y:.6f}" for x, y in points) + "\n")


@pytest.fixture
def lapa(tmp_path):
    for folder, count in (("train", 4), ("val", 2), ("test", 1)):
        for i in range(count):
            width, height = 200 + 10 * i, 260
            write_picture(tmp_path / folder / "images" / f"{i}_0.jpg", width, height, seed=i)
            write_points(tmp_path / folder / "landmarks" / f"{i}_0.txt", FACE * (width, height))
    return tmp_path


@pytest.fixture
def jd(tmp_path):
    for folder in ("Training_data/AFW", "Training_data/HELEN", "Test_data1"):
        for person in range(3):
            for variant in range(2):
                name = f"{folder.replace('/', '_')}_{person}_{variant}.jpg"
                write_picture(tmp_path / folder / "picture" / name, 120, 100)
                write_points(tmp_path / folder / "landmark" / f"{name}.txt", FACE * 100)
    return tmp_path


def test_celeba(celeba):
    splits = load("celeba", celeba)
    assert {name: len(photos) for name, photos in splits.items()} == {"train": 3, "validation": 1, "test": 2}
    assert [path.name for path in splits["test"].files] == ["000005.jpg", "000006.jpg"]
    expected = [[(i + k) % 3 == 0 for k in range(40)] for i in (4, 5)]
    assert splits["test"].attributes.tolist() == expected
    image, landmarks = splits["train"].read(2, size=32)
    assert image.shape == (32, 32, 3) and image.dtype == np.uint8 and landmarks is None
    assert splits["train"].attributes[2].tolist() == [(2 + k) % 3 == 0 for k in range(40)]
    with pytest.raises(ValueError, match="frame 'ffhq' needs landmarks"):
        splits["train"].read(0, size=8, frame="ffhq")


def test_celeba_with_everything_in_one_folder_and_five_points(celeba):
    five_points(celeba)
    for path in [*celeba.glob("Anno/*"), *celeba.glob("Eval/*"), *celeba.glob("Img/*")]:
        path.rename(celeba / path.name)
    points = np.array([[69, 111], [108, 111], [88, 136], [73, 152], [105, 152]])
    train = load("celeba", celeba)["train"]
    np.testing.assert_array_equal(train.landmarks[0], points + 0.5)
    _, points = train.read(1, size=64, frame="ffhq")
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    assert eyes[0] == pytest.approx(0.5, abs=0.01)
    assert eyes[1] < 0.5 and mouth[1] > 0.6


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("Anno/list_attr_celeba.txt", "6\n", "202599\n", "6 rows, its first line says 202599"),
        ("Anno/list_attr_celeba.txt", "6\n", "", "the first line is '5_o_Clock_Shadow.*expected the number"),
        ("Anno/list_attr_celeba.txt", "Bald", "Bold", "'Bold' where 'Bald' belongs, expected 40 names"),
        ("Anno/list_attr_celeba.txt", " Young", "", "39 columns, expected 40"),
        (
            "Anno/list_attr_celeba.txt",
            "000002.jpg -1",
            "000002.jpg  0",
            "attributes of 000002.jpg are not all 1",
        ),
        ("Anno/list_attr_celeba.txt", "000002.jpg -1", "000002.jpg", "'000002.jpg' does not hold 40 whole"),
        (
            "Eval/list_eval_partition.txt",
            "000004.jpg 1",
            "000004.jpg 3",
            "'000004.jpg 3', expected '000004.jpg' and",
        ),
        ("Eval/list_eval_partition.txt", "000004.jpg 1\n", "", "'000005.jpg 2', expected '000004.jpg'"),
        ("Eval/list_eval_partition.txt", "000006.jpg 2\n", "", "5 pictures, list_attr_celeba.txt has 6"),
    ],
)
def test_celeba_names_what_is_wrong(celeba, file, old, new, message):
    edit(celeba / file, old, new)
    with pytest.raises(ValueError, match=message):
        load("celeba", celeba)


PAGE = b"<html>please log in</html>"


def five_points(root, *, changed=None, row="69 111 108 111 88 136 73 152 105 152"):
    """CelebA's file of five landmarks, one row of it changed."""
    parts = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    names = [f"{i:06d}.jpg" for i in range(1, 7)]
    usual = "69 111 108 111 88 136 73 152 105 152"
    rows = [f"{name} {row if name == changed else usual}" for name in names]
    header = " ".join(f"{part}_{axis}" for part in parts for axis in "xy")
    path = root / "Anno" / "list_landmarks_align_celeba.txt"
    path.write_text("\n".join(["6", header, *rows]) + "\n")


def test_every_picture_of_celeba_has_its_size(celeba):
    picture = celeba / "Img" / "img_align_celeba" / "000002.jpg"
    write_picture(picture, 64, 64)
    with pytest.raises(ValueError, match=r"000002.jpg: 64 x 64 px, expected 178 x 218"):
        load("celeba", celeba)
    picture.write_bytes(PAGE)
    with pytest.raises(ValueError, match=r"000002.jpg is not a readable picture"):
        load("celeba", celeba)


def test_landmarks_of_celeba_are_in_the_picture_and_distinct(celeba):
    five_points(
        celeba, changed="000003.jpg", row="-60 111 108 111 88 136 73 152 230 152"
    )  # by a face cut off
    assert load("celeba", celeba)["train"].landmarks.shape == (3, 5, 2)
    for row, message in {
        "69 111 108 111 99999 -5000 73 152 105 152": r"point 2 at \[99999.0, -5000.0\] is not in 178 x 218",
        "69 111 108 400 88 136 73 152 105 152": r"point 1 at \[108.0, 400.0\] is not in",
        "69 111 69 111 69 111 69 111 105 152": "2 distinct points, expected at least 3 of 5",
    }.items():
        five_points(celeba, changed="000003.jpg", row=row)
        with pytest.raises(ValueError, match=rf"list_landmarks_align_celeba.txt, 000003.jpg: {message}"):
            load("celeba", celeba)


@pytest.mark.parametrize("file", ["Anno/list_attr_celeba.txt", "Eval/list_eval_partition.txt"])
def test_annotations_in_another_encoding_are_named(celeba, file):
    path = celeba / file
    path.write_bytes(b"\xff\xfe" + path.read_bytes())
    with pytest.raises(ValueError, match=rf"{path.name} is not text in UTF-8: .* 0xff"):
        load("celeba", celeba)


def test_missing_and_empty_pictures_are_named(celeba):
    picture = celeba / "Img" / "img_align_celeba" / "000003.jpg"
    picture.write_bytes(b"")
    with pytest.raises(ValueError, match=r"000003.jpg is empty"):
        load("celeba", celeba)
    picture.unlink()
    with pytest.raises(ValueError, match=r"000003.jpg is missing"):
        load("celeba", celeba)
    (celeba / "Eval" / "list_eval_partition.txt").unlink()
    with pytest.raises(ValueError, match="there is no Eval/list_eval_partition"):
        load("celeba", celeba)


def test_lapa(lapa):
    splits = load("lapa", lapa)
    assert {name: len(photos) for name, photos in splits.items()} == {"train": 4, "validation": 2, "test": 1}
    np.testing.assert_allclose(splits["train"].landmarks[1], FACE * (210, 260) + 0.5, atol=1e-5)
    _, points = splits["train"].read(3, size=64, frame="ffhq")
    assert points.shape == (106, 2) and splits["train"].attributes is None
    assert points[[84, 90], 0].mean() == pytest.approx(0.5, abs=0.01)
    _, whole = splits["train"].read(0, size=64)
    np.testing.assert_allclose(whole[:, 0], (FACE[:, 0] * 200 + 0.5) / 200, atol=1e-5)
    np.testing.assert_allclose(whole[:, 1], (FACE[:, 1] * 260 + 0.5 - 30) / 200, atol=1e-5)


def test_lapa_names_what_is_wrong(lapa):
    landmarks = lapa / "val" / "landmarks" / "1_0.txt"
    good = landmarks.read_text()
    for bad, message in {
        good.replace("106", "98", 1): r"1_0.txt: the first line is '98', expected 106",
        "\n".join(good.splitlines()[:-1]): r"1_0.txt: 210 numbers after the first line, expected 212",
        good.replace(".", ",", 1): r"1_0.txt: could not convert",
        good.replace("\n", "\n9999 ", 1): r"1_0.txt: 213 numbers",
        "106\n" + "0 0\n" * 105 + "900 10\n": r"1_0.txt: point 105 at \[900.0, 10.0\] is not in 210 x 260 px",
        "106\n" + "0 0\n" * 105 + "nan 10\n": r"1_0.txt: point 105 .* is not in 210 x 260 px",
        "106\n" + "60 80\n" * 106: r"1_0.txt: 1 distinct points, expected at least 53 of 106",
        " ": r"1_0.txt: the first line is '', expected 106",
        "": r"1_0.txt is empty",
    }.items():
        landmarks.write_text(bad)
        with pytest.raises(ValueError, match=message):
            load("lapa", lapa)
    landmarks.rename(landmarks.with_name("7_0.txt"))
    with pytest.raises(ValueError, match=r"val/landmarks/1_0.txt is missing"):
        load("lapa", lapa)
    write_points(landmarks, FACE * 200)
    with pytest.raises(ValueError, match=r"val/landmarks/7_0.txt: there is no picture for it"):
        load("lapa", lapa)
    (lapa / "test").rename(lapa / "tests")
    with pytest.raises(ValueError, match=r"there is no folder test/; LaPa has train/, val/ and test/"):
        load("lapa", lapa)


def test_points_may_touch_and_lie_somewhat_outside(lapa):
    points = FACE * (200, 260)
    points[84:95] = points[84]
    points[0] = (-90, 380)
    write_points(lapa / "train" / "landmarks" / "0_0.txt", points)
    found = load("lapa", lapa)["train"].landmarks[0]
    np.testing.assert_allclose(found, points + 0.5, atol=1e-5)


def test_what_lapa_cannot_read_is_named(lapa, tmp_path):
    picture, points = (lapa / "train" / kind for kind in ("images/2_0.jpg", "landmarks/1_0.txt"))
    good = points.read_bytes()
    points.write_bytes(b"\xff\xfe" + good)
    with pytest.raises(ValueError, match=r"1_0.txt is not text in UTF-8"):
        load("lapa", lapa)
    points.write_bytes(good)
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) - 200])  # its header is whole
    photos = load("lapa", lapa)["train"]
    with pytest.raises(ValueError, match=r"2_0.jpg is not a readable picture: .*truncated"):
        photos.store(tmp_path / "cache", size=16, frame="ffhq")
    picture.write_bytes(PAGE)
    with pytest.raises(ValueError, match=r"2_0.jpg is not a readable picture"):
        load("lapa", lapa)


def test_hidden_files_of_a_mac_are_passed_over(lapa):
    for path in [*lapa.glob("train/*/*")]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    assert len(load("lapa", lapa)["train"]) == 4


def test_the_photo_of_a_face():
    for name, photo in {
        "LFPW_image_test_0116_0": "LFPW_image_test_0116",
        "10000024193_0": "10000024193",
        "AFW_1051618982_1_0": "AFW_1051618982",
        "AFW_1051618982_2_11": "AFW_1051618982",
        "HELEN_2267922843_1_0": "HELEN_2267922843",
        "IBUG_image_003_1_0": "IBUG_image_003",
        "person_0_1": "person_0",
        "portrait": "portrait",
        "17": "17",
    }.items():
        assert source(Path(f"{name}.jpg")) == photo


def test_jd_keeps_variants_of_a_photo_together(jd):
    splits = load("jd", jd)
    assert sum(map(len, splits.values())) == 18
    assert {path.parent.parent.name for path in splits["test"].files} == {"Test_data1"}
    assert len(splits["test"]) == 6
    people = [
        {re.sub(r"_\d+$", "", path.stem) for path in splits[name].files} for name in ("train", "validation")
    ]
    assert not people[0] & people[1]
    folder = jd / "__MACOSX" / "Training_data" / "AFW" / "picture"
    folder.mkdir(parents=True)
    (folder / "._x.jpg").write_bytes(b"\x00\x05\x16\x07")
    assert sum(map(len, load("jd", jd).values())) == 18
    np.testing.assert_allclose(splits["train"].landmarks[0], FACE * 100 + 0.5, atol=1e-5)
    next(jd.glob("Test_data1/landmark/*")).unlink()
    with pytest.raises(ValueError, match=r"Test_data1/landmark/.*jpg.txt is missing"):
        load("jd", jd)


def test_unknown_and_missing_sets(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'celebA'; the nearest is 'celeba'"):
        load("celebA", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"hfld\.photos\.fetch"):
        load("lapa", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no folder picture/"):
        load("jd", tmp_path)


def test_stored_squares_are_made_once_and_are_those_of_batch(lapa, tmp_path):
    photos = load("lapa", lapa)["train"]
    images, landmarks = photos.store(tmp_path / "cache", size=48, frame="ffhq")
    assert images.shape == (4, 48, 48, 3)
    for i in range(4):
        image, points = photos.read(i, size=48, frame="ffhq")
        assert np.array_equal(images[i], image) and np.array_equal(landmarks[i], points)
    (made,) = (tmp_path / "cache").iterdir()
    stamp = (made / "images.npy").stat().st_mtime_ns
    photos.store(tmp_path / "cache", size=48, frame="ffhq")
    assert (made / "images.npy").stat().st_mtime_ns == stamp
    photos.store(tmp_path / "cache", size=40, frame="ffhq")
    photos[:2].store(tmp_path / "cache", size=48, frame="ffhq")
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_a_failed_store_leaves_nothing_and_names_the_file(lapa, tmp_path):
    photos = load("lapa", lapa)["train"]
    photos.files[1].write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"1_0.jpg is not a readable picture"):
        photos.store(tmp_path / "cache", size=16)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_tenth_is_for_validation_whatever_else_is_there():
    names = [f"face_{i}" for i in range(4000)]
    split = _validation_tenth(names)
    assert split.mean() == pytest.approx(0.1, abs=0.02)
    assert np.array_equal(_validation_tenth(reversed(names)), split[::-1])


def test_wrong_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"attributes: shape \(1, 39\), expected \[1, 40\]"):
        PhotoSet((tmp_path,), attributes=np.zeros((1, 39), bool))
    with pytest.raises(ValueError, match=r"landmarks: shape \(2, 106, 2\), expected \[1, P, 2\]"):
        PhotoSet((tmp_path,), landmarks=np.zeros((2, 106, 2)))
    write_points(tmp_path / "a.txt", FACE * 10)
    assert read_points(tmp_path / "a.txt", (10, 10)).shape == (106, 2)
