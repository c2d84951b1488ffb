import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from hfld.attributes import ATTRIBUTES
from hfld.photos.datasets import SPLITS, load, read_points, source
from hfld.photos.photo_set import PhotoSet, picture_size, read_picture, split_by_name

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


@pytest.fixture
def ffhq(tmp_path):
    for number in (0, 999, 1000, 59999, 60000, 64999, 65000, 69999):
        write_picture(tmp_path / f"{number // 1000 * 1000:05d}" / f"{number:05d}.png", 64, 64, seed=number)
    return tmp_path


def test_celeba(celeba):
    splits = load("celeba", celeba)
    assert {name: len(photos) for name, photos in splits.items()} == {"train": 3, "validation": 1, "test": 2}
    assert [path.name for path in splits["test"].files] == ["000005.jpg", "000006.jpg"]
    expected = [[(i + k) % 3 == 0 for k in range(40)] for i in (4, 5)]
    assert splits["test"].attributes.tolist() == expected
    batch = splits["train"].batch([2, 0], size=32)
    assert batch.images.shape == (2, 3, 32, 32)
    assert batch.images.dtype == torch.float32
    assert -1 <= batch.images.min() < 0 < batch.images.max() <= 1
    assert batch.landmarks is None
    assert torch.equal(batch.attributes[0], torch.tensor([float((2 + k) % 3 == 0) for k in range(40)]))
    splits["train"].verify(size=(178, 218), progress=False)


def test_celeba_with_everything_in_one_folder_and_five_points(celeba):
    five_points(celeba)
    for path in [*celeba.glob("Anno/*"), *celeba.glob("Eval/*"), *celeba.glob("Img/*")]:
        path.rename(celeba / path.name)
    points = np.array([[69, 111], [108, 111], [88, 136], [73, 152], [105, 152]])
    train = load("celeba", celeba)["train"]
    np.testing.assert_array_equal(train.landmarks[0], points + 0.5)
    batch = train.batch([0, 1], size=64, frame="ffhq")
    eyes, mouth = batch.landmarks[:, :2].mean(dim=1), batch.landmarks[:, 3:].mean(dim=1)
    assert torch.allclose(eyes[:, 0], torch.tensor(0.5), atol=0.01)
    assert (eyes[:, 1] < 0.5).all() and (mouth[:, 1] > 0.6).all()


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
    batch = splits["train"].batch(torch.tensor([3, 1]), size=64, frame="ffhq")
    assert batch.attributes is None
    assert batch.landmarks.shape == (2, 106, 2)
    assert torch.allclose(batch.landmarks[:, [84, 90]].mean(dim=1)[:, 0], torch.tensor(0.5), atol=0.01)
    whole = splits["train"].batch([0], size=64)
    np.testing.assert_allclose(whole.landmarks[0, :, 0], (FACE[:, 0] * 200 + 0.5) / 200, atol=1e-5)
    np.testing.assert_allclose(whole.landmarks[0, :, 1], (FACE[:, 1] * 260 + 0.5 - 30) / 200, atol=1e-5)


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
        photos.store(tmp_path / "cache", size=16, frame="ffhq", progress=False)
    picture.write_bytes(PAGE)
    with pytest.raises(ValueError, match=r"2_0.jpg is not a readable picture"):
        load("lapa", lapa)


def test_hidden_files_of_a_mac_are_passed_over(lapa, tmp_path_factory):
    for path in [*lapa.glob("train/*/*")]:
        path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    assert len(load("lapa", lapa)["train"]) == 4
    ffhq = tmp_path_factory.mktemp("ffhq")
    write_picture(ffhq / "00000" / "00000.png", 64, 64)
    (ffhq / "00000" / "._00000.png").write_bytes(b"\x00\x05\x16\x07")
    assert len(load("ffhq", ffhq)["train"]) == 1


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


def test_ffhq(ffhq):
    splits = load("ffhq", ffhq)
    numbers = {name: [int(path.stem) for path in photos.files] for name, photos in splits.items()}
    assert numbers == {"train": [0, 999, 1000, 59999], "validation": [60000, 64999], "test": [65000, 69999]}
    batch = splits["train"].batch([0], size=64)
    direct = torch.from_numpy(np.array(Image.open(splits["train"].files[0]))).permute(2, 0, 1) / 127.5 - 1
    assert torch.allclose(batch.images[0], direct, atol=1e-6)  # a square of that size is not resampled
    write_picture(ffhq / "00000" / "01001.png", 64, 64)
    with pytest.raises(ValueError, match=r"01001.png: expected in the folder 01000"):
        load("ffhq", ffhq)
    (ffhq / "00000" / "01001.png").unlink()
    write_picture(ffhq / "01000" / "01999.png", 64, 48)
    with pytest.raises(ValueError, match=r"01999.png: 64 x 48 px, expected 64 x 64"):
        load("ffhq", ffhq)


def test_every_picture_of_ffhq_is_looked_at(ffhq):
    """Also one that is neither the first nor the last of its folder."""
    write_picture(ffhq / "00000" / "00500.png", 64, 48)
    with pytest.raises(ValueError, match=r"00500.png: 64 x 48 px, expected 64 x 64"):
        load("ffhq", ffhq)
    for content in (PAGE, b""):
        (ffhq / "00000" / "00500.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"00500.png is not a readable picture"):
            load("ffhq", ffhq)


def test_the_official_folder_of_ffhq(ffhq):
    expected = [path.name for path in load("ffhq", ffhq)["train"].files]
    (ffhq / "images1024x1024").mkdir()
    for folder in ffhq.glob("[0-9]*"):
        folder.rename(ffhq / "images1024x1024" / folder.name)
    assert [path.name for path in load("ffhq", ffhq)["train"].files] == expected


def test_a_page_among_pictures_is_named(tmp_path):
    write_picture(tmp_path / "1.png", 20, 30)
    (tmp_path / "5.png").write_bytes(PAGE)
    with pytest.raises(ValueError, match=r"5.png is not a readable picture"):
        load("folder", tmp_path)


def test_folder(tmp_path):
    for i in range(60):
        write_picture(tmp_path / f"{i % 3}" / f"{i}.{'png' if i % 2 else 'JPG'}", 20, 30)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    splits = load("folder", tmp_path)
    assert sum(map(len, splits.values())) == 60
    assert len(splits["train"]) > 35
    assert all(len(splits[name]) for name in SPLITS)
    kept = {path: name for name, photos in splits.items() for path in photos.files}
    write_picture(tmp_path / "new.png", 20, 30)
    again = {path: name for name, photos in load("folder", tmp_path).items() for path in photos.files}
    assert kept.items() <= again.items()
    with pytest.raises(ValueError, match="frame 'ffhq' needs landmarks"):
        splits["train"].batch([0], size=8, frame="ffhq")


def test_unknown_and_missing_sets(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'celebA'; the nearest is 'celeba'"):
        load("celebA", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"hfld\.fetch"):
        load("lapa", tmp_path / "nowhere")
    for kind, message in {
        "folder": "no pictures",
        "jd": "no folder picture/",
        "ffhq": "no 00000/00000.png",
    }.items():
        with pytest.raises(ValueError, match=message):
            load(kind, tmp_path)


def test_verify_decodes_and_names_the_first_bad_file(ffhq):
    photos = load("ffhq", ffhq)["train"]
    path = photos.files[2]
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"01000.png is not a readable picture"):
        photos.verify(progress=False)
    with pytest.raises(ValueError, match=r"00000.png: 64 x 64 px, expected 32 x 32"):
        photos.verify(size=(32, 32), progress=False)
    photos.verify(size=(64, 64), decode=False, progress=False)  # its header is whole


def test_a_size_is_read_without_decoding(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    write_picture(tmp_path / "plain.png", 60, 40)
    write_picture(tmp_path / "turned.png", 60, 40, exif=exif)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("decoded"))
    assert picture_size(tmp_path / "plain.png") == (60, 40)
    assert picture_size(tmp_path / "turned.png") == (40, 60)


def test_stored_squares_are_made_once_and_are_those_of_batch(lapa, tmp_path):
    photos = load("lapa", lapa)["train"]
    images, landmarks = photos.store(tmp_path / "cache", size=48, frame="ffhq", workers=2, progress=False)
    batch = photos.batch(range(4), size=48, frame="ffhq")
    assert images.shape == (4, 48, 48, 3)
    assert torch.allclose(
        torch.from_numpy(images.copy()).permute(0, 3, 1, 2) / 127.5 - 1, batch.images, atol=1e-6
    )
    np.testing.assert_array_equal(landmarks, batch.landmarks)
    (made,) = (tmp_path / "cache").iterdir()
    stamp = (made / "images.npy").stat().st_mtime_ns
    photos.store(tmp_path / "cache", size=48, frame="ffhq", progress=False)
    assert (made / "images.npy").stat().st_mtime_ns == stamp
    photos.store(tmp_path / "cache", size=40, frame="ffhq", progress=False)
    photos[:2].store(tmp_path / "cache", size=48, frame="ffhq", progress=False)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_a_failed_store_leaves_nothing_and_names_the_file(lapa, tmp_path):
    photos = load("lapa", lapa)["train"]
    photos.files[1].write_bytes(b"not a picture")
    with pytest.raises(ValueError, match=r"1_0.jpg is not a readable picture"):
        photos.store(tmp_path / "cache", size=16, workers=1, progress=False)
    assert list((tmp_path / "cache").iterdir()) == []


def test_pictures_of_every_kind_become_rgb(tmp_path):
    ramp = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    gray = Image.fromarray(ramp)
    gray.save(tmp_path / "gray.png")
    Image.fromarray(ramp.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    gray.convert("RGB").convert("P").save(tmp_path / "palette.png")
    transparent = Image.merge(
        "RGBA", [gray, gray, gray, Image.fromarray(np.where(ramp > 100, 255, 0).astype(np.uint8))]
    )
    transparent.save(tmp_path / "clear.png")
    Image.fromarray(np.full((8, 8, 4), 60, np.uint8), mode=None).convert("CMYK").save(tmp_path / "ink.jpg")
    for name in ("gray", "deep"):
        picture = read_picture(tmp_path / f"{name}.png")
        assert picture.dtype == np.uint8
        assert np.array_equal(picture, np.repeat(ramp[..., None], 3, axis=2)), name
    clear = read_picture(tmp_path / "clear.png")
    assert (clear[ramp <= 100] == 255).all()
    assert np.array_equal(clear[ramp > 100][:, 0], ramp[ramp > 100])
    for name in ("palette.png", "ink.jpg"):
        assert read_picture(tmp_path / name).shape[2] == 3


def test_exif_turns_the_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    write_picture(tmp_path / "turned.jpg", 60, 40, exif=exif)
    write_picture(tmp_path / "plain.jpg", 60, 40)
    assert picture_size(tmp_path / "turned.jpg") == (40, 60)
    assert picture_size(tmp_path / "plain.jpg") == (60, 40)
    turned, plain = (read_picture(tmp_path / f"{name}.jpg") for name in ("turned", "plain"))
    assert np.array_equal(turned, np.rot90(plain, -1))


def test_splits_by_name_are_even_and_stable():
    names = [f"face_{i}" for i in range(4000)]
    split = split_by_name(names, validation=0.2, test=0.1)
    np.testing.assert_allclose(np.bincount(split) / 4000, [0.7, 0.2, 0.1], atol=0.02)
    assert np.array_equal(split_by_name(reversed(names), validation=0.2, test=0.1), split[::-1])
    assert not split_by_name(names, validation=0, test=0).any()


def test_wrong_shapes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"attributes: shape \(1, 39\), expected \[1, 40\]"):
        PhotoSet((tmp_path,), attributes=np.zeros((1, 39), bool))
    with pytest.raises(ValueError, match=r"landmarks: shape \(2, 106, 2\), expected \[1, P, 2\]"):
        PhotoSet((tmp_path,), landmarks=np.zeros((2, 106, 2)))
    write_points(tmp_path / "a.txt", FACE * 10)
    assert read_points(tmp_path / "a.txt", (10, 10)).shape == (106, 2)
