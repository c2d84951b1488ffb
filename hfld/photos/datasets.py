"""CelebA, LaPa and JD-landmark as PhotoSets, checked when loaded.

Every loader takes the folder that holds the data set and gives {"train", "validation", "test"}. What does not
fit is a ValueError that names the first bad file. Checked when loaded: that every picture is there and its
header can be read (10 to 20 seconds for CelebA's 202,599), CelebA's size, the number, place and distinctness
of landmarks, and all labels. Checked before use: `PhotoSet.store`, through which all training goes, decodes
every picture, so one that is cut off is named there.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hfld.attributes import ATTRIBUTES, index_of
from hfld.images import sha256
from hfld.photos.photo_set import PhotoSet
from hfld.photos.reading import find_pictures, picture_size

SPLITS = ("train", "validation", "test")
POINTS = 106
CELEBA_SIZE = (178, 218)  # (width, height) of an aligned picture
CELEBA_POINTS = "list_landmarks_align_celeba.txt"
Splits = dict[str, PhotoSet]


def load(kind: str, root: Path | str) -> Splits:
    """The splits of a data set; `kind` is a key of DATASETS."""
    index_of(kind, DATASETS, "data set")
    if not Path(root).is_dir():
        raise FileNotFoundError(f"{root} is missing; `python -m hfld.photos.fetch` says what belongs there")
    return DATASETS[kind](Path(root))


def load_celeba(root: Path) -> Splits:
    """CelebA: aligned pictures (178 x 218), 40 attributes, and five landmarks if their file is there.

    Files lie in Anno/, Eval/ and Img/img_align_celeba/, as they are handed out, or all directly in `root`.
    """
    names, values = _celeba_table(
        _one_of(root, "Anno/list_attr_celeba.txt", "list_attr_celeba.txt"), ATTRIBUTES
    )
    bad = np.flatnonzero((np.abs(values) != 1).any(axis=1))
    if len(bad):
        raise ValueError(f"list_attr_celeba.txt: attributes of {names[bad[0]]} are not all 1 or -1")
    partition = _one_of(root, "Eval/list_eval_partition.txt", "list_eval_partition.txt")
    rows = [line.split() for line in _text(partition).splitlines() if line.strip()]
    for row, name in zip(rows, names, strict=False):
        if len(row) != 2 or row[0] != name or row[1] not in ("0", "1", "2"):
            raise ValueError(f"{partition}: {' '.join(row)!r}, expected {name!r} and 0, 1 or 2")
    if len(rows) != len(names):
        raise ValueError(f"{partition}: {len(rows)} pictures, list_attr_celeba.txt has {len(names)}")
    folder = _one_of(root, "Img/img_align_celeba", "img_align_celeba")
    _check_present(folder, names)
    files = tuple(folder / name for name in names)
    for path in tqdm(files, desc="headers of CelebA", unit="photo", delay=1):
        if (size := picture_size(path)) != CELEBA_SIZE:
            raise ValueError("{}: {} x {} px, expected {} x {}".format(path, *size, *CELEBA_SIZE))
    photos = PhotoSet(files, _celeba_points(root, names), values > 0)
    return _divide(photos, np.array([int(split) for _, split in rows]))


def _celeba_points(root: Path, names: Sequence[str]) -> np.ndarray | None:
    """Left and right eye, nose, left and right corner of the mouth, [N, 5, 2]; None without their file."""
    paths = [path for path in (root / "Anno" / CELEBA_POINTS, root / CELEBA_POINTS) if path.is_file()]
    if not paths:
        return None
    parts = ("lefteye", "righteye", "nose", "leftmouth", "rightmouth")
    named, values = _celeba_table(paths[0], [f"{part}_{axis}" for part in parts for axis in "xy"])
    if named != names:
        raise ValueError(f"{paths[0]}: its pictures are not those of list_attr_celeba.txt")
    points = values.reshape(-1, 5, 2) + 0.5
    _check_points(points, CELEBA_SIZE, [f"{paths[0]}, {name}" for name in names])
    return points


def _celeba_table(path: Path, columns: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Names and integers [N, columns] of a CelebA text file: a line with N, one with the columns, N rows."""
    lines = _text(path).splitlines()
    if len(lines) < 2 or not lines[0].strip().isdigit():
        raise ValueError(f"{path}: the first line is {''.join(lines[:1])!r}, expected the number of pictures")
    header = lines[1].split()
    if header != list(columns):
        wrong = next((pair for pair in zip(header, columns, strict=False) if pair[0] != pair[1]), None)
        what = f"{wrong[0]!r} where {wrong[1]!r} belongs" if wrong else f"{len(header)} columns"
        raise ValueError(
            f"{path}: the second line has {what}, expected {len(columns)} names in CelebA's order"
        )
    rows = [line.split() for line in lines[2:] if line.strip()]
    if len(rows) != int(lines[0]):
        raise ValueError(f"{path}: {len(rows)} rows, its first line says {lines[0].strip()}")
    for row in rows:
        if len(row) != len(columns) + 1 or not all(re.fullmatch(r"-?\d+", value) for value in row[1:]):
            raise ValueError(f"{path}: row {row[0]!r} does not hold {len(columns)} whole numbers")
    values = np.array([row[1:] for row in rows], dtype=np.int64).reshape(len(rows), len(columns))
    return [row[0] for row in rows], values


def load_lapa(root: Path) -> Splits:
    """LaPa: train/, val/ and test/ with images/*.jpg and landmarks/*.txt (labels/ are not needed)."""
    folders = {split: root / name for split, name in zip(SPLITS, ("train", "val", "test"), strict=True)}
    for folder in folders.values():
        if not folder.is_dir():
            raise ValueError(f"{root}: there is no folder {folder.name}/; LaPa has train/, val/ and test/")
    return {
        split: _with_points(folder / "images", folder / "landmarks", lambda picture: f"{picture.stem}.txt")
        for split, folder in folders.items()
    }


def load_jd(root: Path) -> Splits:
    """JD-landmark: folders picture/ (x.jpg) beside landmark/ (x.jpg.txt), somewhere below `root`.

    What lies below a folder named test... is the test set. There is no official validation set: a tenth of
    the training photos, with all variants of one photo (name_0, name_1, ...) on one side.
    """
    pictures = sorted(
        path for path in root.rglob("picture") if path.is_dir() and "__MACOSX" not in path.parts
    )
    if not pictures:
        raise ValueError(f"{root}: there is no folder picture/ below it")
    parts = []
    for folder in pictures:
        photos = _with_points(folder, folder.parent / "landmark", lambda picture: f"{picture.name}.txt")
        above = folder.relative_to(root).parts[:-1]
        if any(name.lower().startswith("test") for name in above):
            split = np.full(len(photos), 2)
        else:
            split = _validation_tenth(map(source, photos.files))
        parts.append((photos, split))
    files = tuple(path for photos, _ in parts for path in photos.files)
    landmarks = np.concatenate([photos.landmarks for photos, _ in parts])
    return _divide(PhotoSet(files, landmarks), np.concatenate([split for _, split in parts]))


def _validation_tenth(names: Iterable[str]) -> np.ndarray:
    """1 for the tenth that is for validation, else 0: a name keeps its split when others come and go."""
    place = np.array([int(sha256(name.encode())[:16], base=16) / 2**64 for name in names])
    return np.where(place < 0.1, 1, 0)


def source(path: Path) -> str:
    """The photo that a face of LaPa or JD-landmark comes from, by its name: <photo>_<variant>, or
    <photo>_<face>_<variant> where the photo's own name ends in three digits or more (AFW's, HELEN's).
    """
    return re.sub(r"(?<=\d{3})(_\d{1,2}){1,2}$|_\d+$", "", path.stem)


def _with_points(pictures: Path, points: Path, name_of: Callable[[Path], str]) -> PhotoSet:
    """Pictures with one file of 106 points each."""
    for folder in (pictures, points):
        if not folder.is_dir():
            raise ValueError(f"there is no folder {folder}")
    files = find_pictures(pictures)
    if not files:
        raise ValueError(f"{pictures}: there are no pictures")
    names = [name_of(path) for path in files]
    _check_present(points, names)
    known = {path.name for path in points.glob("*.txt") if not path.name.startswith(".")}
    if extra := sorted(known - set(names)):
        raise ValueError(f"{points / extra[0]}: there is no picture for it in {pictures}")
    found = [read_points(points / name, picture_size(path)) for name, path in zip(names, files, strict=True)]
    return PhotoSet(tuple(files), np.stack(found))


def read_points(path: Path, size: tuple[int, int]) -> np.ndarray:
    """A landmark file (a line with 106, then x y in each of 106 lines) -> [106, 2] px.

    `size` is the picture's (width, height).
    """
    first, *rest = _text(path).split() or [""]
    if first != str(POINTS):
        raise ValueError(f"{path}: the first line is {first!r}, expected {POINTS}")
    try:
        values = np.array(rest, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if len(values) != 2 * POINTS:
        raise ValueError(f"{path}: {len(values)} numbers after the first line, expected {2 * POINTS}")
    points = values.reshape(POINTS, 2) + 0.5
    _check_points(points[None], size, [str(path)])
    return points


def _check_points(points: np.ndarray, size: tuple[int, int], places: Sequence[str]) -> None:
    """[N, P, 2] px in pictures of `size` (width, height), read at `places`.

    No point may lie further outside than half of the picture, as those of cropped faces do, and at least half
    of a face's points are distinct: lips and lids may touch.
    """
    outside = ~((points >= -0.5 * np.array(size)) & (points <= 1.5 * np.array(size))).all(axis=2)
    for n, i in np.argwhere(outside)[:1]:
        at = (points[n, i] - 0.5).tolist()
        raise ValueError(f"{places[n]}: point {i} at {at} is not in {size[0]} x {size[1]} px")
    order = np.sort(points[..., 0] + 1j * points[..., 1], axis=1)
    distinct = 1 + (np.diff(order, axis=1) != 0).sum(axis=1)
    for n in np.flatnonzero(2 * distinct < points.shape[1])[:1]:
        expected = f"at least {(points.shape[1] + 1) // 2} of {points.shape[1]}"
        raise ValueError(f"{places[n]}: {distinct[n]} distinct points, expected {expected}")


DATASETS: dict[str, Callable[[Path], Splits]] = {
    "celeba": load_celeba,
    "lapa": load_lapa,
    "jd": load_jd,
}


def _divide(photos: PhotoSet, split: np.ndarray) -> Splits:
    return {name: photos[np.flatnonzero(split == i)] for i, name in enumerate(SPLITS)}


def _one_of(root: Path, *places: str) -> Path:
    for place in places:
        if (root / place).exists():
            return root / place
    raise ValueError(f"{root}: there is no {' or '.join(places)}")


def _check_present(folder: Path, names: Sequence[str]) -> None:
    """Every named file is there and not empty."""
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    for name in names:
        if not sizes.get(name):
            raise ValueError(f"{folder / name} is {'empty' if name in sizes else 'missing'}")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8: {error}") from error
