"""What the photographic profiles need from elsewhere: fetched where it is public, named where it is not.

    python -m hfld.photos.fetch ffhq256

What a profile needs is what its section `world` names. Downloads resume where they stopped, are checked, and
get their name only when complete. What is missing in the end is listed with where it comes from and where it
belongs; without a network that is at once.
"""

import argparse
import errno
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from hfld.config import ROOT, FfhqWorldConfig, load_profile
from hfld.images import sha256
from hfld.photos.judges import DEEPFACE

CHUNK = 1 << 20
OFFICIAL = "data/official"  # `world.official`, if a profile does not say otherwise
EMOTION = ".deepface/weights/facial_expression_model_weights.pth"
IDENTITY = {
    "ArcFace": ".deepface/weights/arcface_weights.pth",
    "GhostFaceNet": ".deepface/weights/ghostfacenet_v1.pth",
}
"""What a profile calls a network of DeepFace -> its file below `world.official`."""
SMOKE = "data/smoke-ffhq"  # random files, made here
UNKNOWN = "where its author offers it: it is none of the files known here"

NVIDIA = "https://nvlabs-fi-cdn.nvidia.com/"
TORCHVISION = "https://download.pytorch.org/models/"
DEEPFACE_MIRROR = "https://huggingface.co/serengil/deepface/resolve/main/"
DRIVE = "https://drive.usercontent.google.com/download?id={}&export=download&confirm=t"


@dataclass(frozen=True)
class Item:
    """One file or folder."""

    path: str  # relative to the project; in ITEMS, where the profiles of this repository have it
    what: str
    urls: tuple[str, ...] = ()  # public addresses of the same file; none: to be had by hand
    sha256: str = ""  # its hex digest or the beginning of it; "": recorded on first use
    page: str = ""  # where a person gets it
    holds: tuple[str, ...] = ()  # subfolders of a folder, none of them empty
    size: int | None = None  # image side of a generator, of no use to a profile of another
    optional: bool = False


def _deepface(path: str, what: str) -> Item:
    name = path.split("/")[-1]
    return Item(f"{OFFICIAL}/{path}", what, (f"{DEEPFACE}{name}", f"{DEEPFACE_MIRROR}{name}"))


ITEMS = (
    Item(f"{OFFICIAL}/550000.pt",
         "StyleGAN2 config-f G and D, FFHQ at 256 px, which the paper's baseline edits (rosinality)",
         (DRIVE.format("1PQutd-JboOCOZqmd95XWxWrO8gGEvRcO"),),
         page="https://github.com/rosinality/stylegan2-pytorch, 'Pretrained Checkpoints': "
         "gdown 1PQutd-JboOCOZqmd95XWxWrO8gGEvRcO", size=256),
    Item(f"{OFFICIAL}/ffhq-res256-mirror-paper256-noaug.pkl",
         "StyleGAN2 G and D of half the channels, FFHQ at 256 px (NVIDIA, non-commercial)",
         (f"{NVIDIA}stylegan2-ada-pytorch/pretrained/transfer-learning-source-nets/"
         "ffhq-res256-mirror-paper256-noaug.pkl",), size=256),
    Item(f"{OFFICIAL}/ffhq.pkl",
         "StyleGAN2 config-f G and D, FFHQ at 1024 px, for PyTorch (NVIDIA, non-commercial)",
         (f"{NVIDIA}stylegan2-ada-pytorch/pretrained/ffhq.pkl",),
         "a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c", size=1024),
    Item(f"{OFFICIAL}/stylegan2-ffhq-config-f.pkl",
         "the same in its original TensorFlow file (NVIDIA, non-commercial)",
         (f"{NVIDIA}stylegan2/networks/stylegan2-ffhq-config-f.pkl",), size=1024),
    Item(f"{OFFICIAL}/vgg19-dcbb9e9d.pth",
         "VGG-19 of the content loss (torchvision)",
         (f"{TORCHVISION}vgg19-dcbb9e9d.pth",),
         "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44"),
    Item(f"{OFFICIAL}/celeba_resnet50.pth",
         "R, the baseline's regressor of 40 attributes; with `regressor: null`, more/judges trains one",
         (DRIVE.format("17Xwr6UBpdkXY70EMpEGJAEX_8QfFvL8-"),),
         page="https://github.com/KelestZ/Latent2im, 'ResNet-50 classifier weights': "
         "gdown 17Xwr6UBpdkXY70EMpEGJAEX_8QfFvL8-"),
    Item(f"{OFFICIAL}/resnet50-0676ba61.pth",
         "ResNet-50, a start for training R and the judges of attributes on CelebA (torchvision)",
         (f"{TORCHVISION}resnet50-0676ba61.pth",),
         "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a"),
    _deepface(EMOTION, "DeepFace's emotions"),
    *(_deepface(path, f"DeepFace's {name}, the judge of identity") for name, path in IDENTITY.items()),
    Item("data/lapa",
         "LaPa, 22,000 faces with 106 landmarks, which train H: train/, val/ and test/ (research use)",
         page="https://github.com/jd-opensource/lapa-dataset", holds=("train", "val", "test")),
    Item("data/jd",
         "JD-landmark, 106 landmarks, instead of LaPa: Training_data/, Test_data/ (on request)",
         page="https://facial-landmarks-localization-challenge.github.io/"),
    Item("data/celeba",
         "CelebA, aligned: Anno/, Eval/ and Img/img_align_celeba/; trains a judge of attributes (agreement)",
         page="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"),
    Item("data/ffhq",
         "FFHQ photographs, in folders 00000/ ... 69000/ (CC BY-NC-SA 4.0)",
         page="https://github.com/NVlabs/ffhq-dataset"),
)  # fmt: skip
"""Digests are given where they are publicly known; torchvision's begin as its file names end."""


def needed(
    profile: str,
    *,
    everything: bool = False,  # also what the profile could name instead
    items: Sequence[Item] = ITEMS,  # what is known of files and folders
    root: Path = ROOT,
) -> list[Item]:
    """What the section `world` of a profile names; [] for one that is not on photographs.

    ValueError for a profile that is unknown or wrong.
    """
    world = load_profile(profile, root=root).world
    if world.kind != "ffhq":
        return []
    known, found = {item.path: item for item in items}, []
    for key, (usual, path) in _places(world).items():
        item = known.pop(usual, Item("", f"what world.{key} of profile {profile} names", page=UNKNOWN))
        found.append(replace(item, path=path, optional=False))
    if world.weights == SMOKE:
        return [replace(item, urls=(), sha256="", page="`python -m pretrain.smoke_ffhq`") for item in found]
    others = [item for item in known.values() if item.size in (None, world.size)] if everything else []
    return found + [replace(item, path=_moved(item.path, world), optional=True) for item in others]


def _places(world: FfhqWorldConfig) -> dict[str, tuple[str, str]]:
    """Key of `world` -> the path in ITEMS and the path here of what it names."""
    files = {
        "generator": world.generator,
        "perceptual": world.perceptual,
        "regressor": world.regressor,
        "identity": IDENTITY.get(world.identity, world.identity),
        "official": EMOTION,
    }
    usual = {key: f"{OFFICIAL}/{name}" for key, name in files.items() if name is not None}
    return {key: (path, _moved(path, world)) for key, path in usual.items()} | {
        "landmark_folder": (f"data/{world.landmark_set}", world.landmark_folder),
        "celeba": ("data/celeba", world.celeba),
    }


def _moved(path: str, world: FfhqWorldConfig) -> str:
    return path.replace(OFFICIAL, world.official, 1) if path.startswith(f"{OFFICIAL}/") else path


class Offline(ConnectionError):
    """Nothing can be reached from here: a name is not resolved, or there is no network."""


def fetch(
    wanted: Iterable[Item],
    *,
    root: Path = ROOT,
    timeout: float = 10.0,  # seconds without an answer
    progress: bool = True,
) -> dict[Item, str]:
    """Download what is public and not there; returns what is still missing, with the reason.

    A host that does not answer is not asked again; without a network no other download is tried.
    """
    missing, silent, offline = {}, set(), False
    for item in dict.fromkeys(wanted):
        hosts = {urlsplit(url).netloc for url in item.urls}
        try:
            if present(item, root):
                continue
            if not item.urls:
                missing[item] = "to be had by hand"
            elif offline or hosts <= silent:
                missing[item] = f"not tried ({'no network' if offline else 'its host did not answer'})"
            else:
                download(item, root / item.path, timeout=timeout, progress=progress, silent=silent)
        except ConnectionError as error:
            offline = isinstance(error, Offline)
            missing[item] = f"not reached ({error})"
        except (OSError, ValueError) as error:
            missing[item] = str(error)
    return missing


def present(item: Item, root: Path = ROOT) -> bool:
    """Whether the file, or the folder with files in it, is there.

    ValueError for another file, and for half a folder. What was recorded of a file that is gone is forgotten.
    """
    path = root / item.path
    if path.is_dir():
        empty = [part for part in item.holds or ("",) if not _holds_files(path / part)]
        if 0 < len(empty) < len(item.holds):
            raise ValueError(f"no file is in {' and '.join(empty)}, expected some in {', '.join(item.holds)}")
        return not empty
    if not path.is_file():
        _record(path).unlink(missing_ok=True)
        return False
    verify(path, path, item.sha256)
    return True


def _holds_files(folder: Path) -> bool:
    below = os.walk(folder, followlinks=True)
    return any(not name.startswith(".") for _, _, names in below for name in names)


def verify(file: Path, path: Path, expected: str = "") -> None:
    """Compare a file with the digest it should have as `path`: the known one, or the one beside it (.sha256).

    Without either, its digest is recorded there for the next time. What was recorded of another file, which
    is gone when `file` is a download, does not count. ValueError for another digest and for a web page.
    """
    with file.open("rb") as stream:
        page = is_page(stream.read(1024))
    found = sha256(file)
    record, again = _record(path), "delete it and fetch it again" if file == path else "it was not kept"
    if page:
        raise ValueError(f"{file} is a web page, expected {path.name}; {again}")
    if not expected and file == path and record.is_file():
        expected = (record.read_text(encoding="utf-8").split() or [""])[0]
        again += f", or delete {record}, which says so, if this is the right file"
    if not found.startswith(expected):
        raise ValueError(f"{file}: sha256 is {found}, expected {expected}; {again}")
    if not expected:
        record.write_text(f"{found}  {path.name}\n", encoding="utf-8")


def _record(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def is_page(start: bytes) -> bool:
    """Whether a file that begins so is HTML."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith((b"<!doctype html", b"<html"))


def download(
    item: Item,
    path: Path,
    *,
    timeout: float = 10.0,
    attempts: int = 5,  # connections per address, as long as each brings something
    progress: bool = True,
    silent: set[str] | None = None,  # hosts that did not answer: not asked again, and added to
) -> None:
    """The file at the first address that gives it, resumed if a part of it is there.

    ConnectionError if no address answers, OSError if none gives the file or the one of the known checksum.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    silent, errors, kinds = set() if silent is None else silent, [], set()
    for url in item.urls:
        if (host := urlsplit(url).netloc) in silent:
            continue
        try:
            _receive_all(url, part, attempts, known=bool(item.sha256), timeout=timeout, progress=progress)
            _etag(part).unlink(missing_ok=True)
            verify(part, path, item.sha256)
            part.replace(path)
            return
        except (OSError, ValueError, HTTPException) as error:
            errors.append(f"{url}: {getattr(error, 'reason', None) or error}")
            kinds.add(kind := _kind(error))
            if kind is not OSError:
                silent.add(host)
            if isinstance(error, ValueError):  # it is another file
                part.unlink(missing_ok=True)
    kind = kinds.pop() if len(kinds) == 1 else OSError if OSError in kinds else ConnectionError
    raise kind("; ".join(errors))


def _kind(error: Exception) -> type[OSError]:
    """What it says of a host: nothing (OSError: it answered), that it does not answer, or that none can."""
    kinds = (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException)
    if not isinstance(error, kinds) or isinstance(error, urllib.error.HTTPError):
        return OSError
    reason = getattr(error, "reason", error)
    nowhere = getattr(reason, "errno", None) in (errno.ENETUNREACH, errno.ENETDOWN)
    return Offline if nowhere or isinstance(reason, socket.gaierror) else ConnectionError


def _receive_all(url: str, part: Path, attempts: int, **options: Any) -> None:
    """`_receive` until the file is complete; OSError if that comes to nothing."""
    for _ in range(attempts):
        before = part.stat().st_size if part.is_file() else 0
        if _receive(url, part, **options):
            return
        if part.stat().st_size <= before:
            raise OSError("the connection ends before the file does")
    raise OSError(f"interrupted {attempts} times; run it again to go on")


def _receive(url: str, part: Path, *, known: bool, timeout: float, progress: bool) -> bool:
    """Append to `part` until the connection ends; whether the file is complete.

    What is there is kept only if the end can be told to belong to it: by a known checksum or the same ETag.
    """
    tag = _etag(part).read_text(encoding="utf-8") if _etag(part).is_file() else ""
    start = part.stat().st_size if part.is_file() and (known or tag) else 0
    request = urllib.request.Request(url, headers={"User-Agent": "hfld", "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        if tag:
            request.add_header("If-Range", tag)
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing lies beyond what we have: the checksum decides
            return True
        raise
    with response:
        if response.headers.get_content_type() == "text/html":
            raise OSError("answered with a web page (text/html), not with the file")
        if response.status != 206:
            start = 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        _etag(part).write_text(response.headers.get("ETag", ""), encoding="utf-8")
        bar = tqdm(
            total=total, initial=start, desc=part.stem, unit="B", unit_scale=True, disable=not progress
        )
        with bar, part.open("ab" if start else "wb") as file:
            while True:
                try:
                    block = response.read(CHUNK)
                except (OSError, HTTPException):  # the connection broke
                    return False
                if not block:
                    return total is None or file.tell() == total
                file.write(block)
                bar.update(len(block))


def _etag(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def listing(missing: Mapping[Item, str], root: Path = ROOT) -> str:
    """Missing items: why, where they come from and where they belong."""
    lines = []
    for item, reason in missing.items():
        lines += [
            f"- {item.what}{' (optional)' if item.optional else ''}: {reason}",
            *(f"    from  {place}" for place in (*item.urls, item.page) if place),
            f"    to    {root / item.path}",
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT, items: Sequence[Item] = ITEMS) -> int:
    """The command line; 0 if everything is there, 1 if something is missing."""
    parser = argparse.ArgumentParser(prog="python -m hfld.photos.fetch", description=__doc__.split("\n")[0])
    parser.add_argument("profiles", nargs="+", help="profiles, such as ffhq256")
    parser.add_argument("--all", action="store_true", help="also what the profiles could name instead")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds to wait for an answer")
    options, wanted = parser.parse_args(arguments), []
    try:
        for name in options.profiles:
            found = needed(name, everything=options.all, items=items, root=root)
            wanted += found
            if not found:
                print(f"{name} is not on photographs: nothing is fetched for it.")
    except ValueError as error:
        parser.error(str(error))
    missing = fetch(wanted, root=root, timeout=options.timeout)
    if missing:
        print(f"Missing:\n{listing(missing, root)}", file=sys.stderr)
        return 1
    if wanted:
        print("Everything is there.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
