"""What the photographic profiles need from elsewhere: fetched where it is public, named where it is not.

    python -m hfld.fetch ffhq256

Downloads resume where they stopped, are checked, and get their name only when complete. What is missing in
the end is listed with where it comes from and where it belongs; without a network that is at once.
"""

import argparse
import hashlib
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from tqdm import tqdm

from hfld.attributes import index_of
from hfld.config import ROOT

CHUNK = 1 << 20
NVIDIA = "https://nvlabs-fi-cdn.nvidia.com/"
TORCHVISION = "https://download.pytorch.org/models/"
DEEPFACE = "https://github.com/serengil/deepface_models/releases/download/v1.0/"
DEEPFACE_MIRROR = "https://huggingface.co/serengil/deepface/resolve/main/"


@dataclass(frozen=True)
class Item:
    """One file or folder."""

    path: str  # relative to the project
    what: str
    profiles: tuple[str, ...]
    urls: tuple[str, ...] = ()  # public addresses of the same file; none: to be had by hand
    sha256: str = ""  # its hex digest or the beginning of it; "": recorded on first use
    page: str = ""  # where a person gets it
    optional: bool = False


FFHQ = ("ffhq256", "ffhq1024")
ITEMS = (
    Item(
        "data/official/ffhq-res256-mirror-paper256-noaug.pkl",
        "StyleGAN2 G and D, FFHQ at 256 px (NVIDIA, non-commercial)",
        ("ffhq256",),
        (f"{NVIDIA}stylegan2-ada-pytorch/pretrained/transfer-learning-source-nets/"
         "ffhq-res256-mirror-paper256-noaug.pkl",),
    ),
    Item(
        "data/official/550000.pt",
        "StyleGAN2 G and D, FFHQ at 256 px, that the paper's baseline edits (rosinality)",
        ("ffhq256",),
        page="https://github.com/rosinality/stylegan2-pytorch, its shared drive: "
        "gdown 1PQutd-JboOCOZqmd95XWxWrO8gGEvRcO",
        optional=True,
    ),
    Item(
        "data/official/ffhq.pkl",
        "StyleGAN2 config-f G and D, FFHQ at 1024 px, for PyTorch (NVIDIA, non-commercial)",
        ("ffhq1024",),
        (f"{NVIDIA}stylegan2-ada-pytorch/pretrained/ffhq.pkl",),
        "a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c",
    ),
    Item(
        "data/official/stylegan2-ffhq-config-f.pkl",
        "the same in its original TensorFlow file (NVIDIA, non-commercial)",
        ("ffhq1024",),
        (f"{NVIDIA}stylegan2/networks/stylegan2-ffhq-config-f.pkl",),
        optional=True,
    ),
    Item(
        "data/official/vgg19-dcbb9e9d.pth",
        "VGG-19 of the content loss (torchvision)",
        FFHQ,
        (f"{TORCHVISION}vgg19-dcbb9e9d.pth",),
        "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    ),
    Item(
        "data/official/resnet18-f37072fd.pth",
        "ResNet-18, a start for training H (torchvision)",
        FFHQ,
        (f"{TORCHVISION}resnet18-f37072fd.pth",),
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        optional=True,
    ),
    Item(
        "data/official/resnet50-0676ba61.pth",
        "ResNet-50, a start for training R and a judge on CelebA (torchvision)",
        FFHQ,
        (f"{TORCHVISION}resnet50-0676ba61.pth",),
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        optional=True,
    ),
    Item(
        "data/official/.deepface/weights/facial_expression_model_weights.pth",
        "DeepFace's emotions",
        FFHQ,
        tuple(f"{place}facial_expression_model_weights.pth" for place in (DEEPFACE, DEEPFACE_MIRROR)),
    ),
    Item(
        "data/official/.deepface/weights/arcface_weights.pth",
        "DeepFace's ArcFace, the judge of identity",
        FFHQ,
        tuple(f"{place}arcface_weights.pth" for place in (DEEPFACE, DEEPFACE_MIRROR)),
    ),
    Item(
        "data/official/celeba_resnet50.pth",
        "R, the baseline's regressor of 40 attributes",
        FFHQ,
        page="https://github.com/KelestZ/Latent2im, 'ResNet-50 classifier weights' on its shared drive: "
        "gdown 17Xwr6UBpdkXY70EMpEGJAEX_8QfFvL8-",
    ),
    Item(
        "data/lapa",
        "LaPa, 22,000 faces with 106 landmarks, which train H: train/, val/ and test/ (research use)",
        FFHQ,
        page="https://github.com/jd-opensource/lapa-dataset",
    ),
    Item(
        "data/jd",
        "JD-landmark, 106 landmarks, instead of LaPa: Training_data/, Test_data/ (on request)",
        FFHQ,
        page="https://facial-landmarks-localization-challenge.github.io/",
        optional=True,
    ),
    Item(
        "data/celeba",
        "CelebA, aligned: Anno/, Eval/ and Img/img_align_celeba/; trains a judge of attributes (agreement)",
        FFHQ,
        page="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    ),
    Item(
        "data/ffhq",
        "FFHQ photographs, in folders 00000/ ... 69000/ (CC BY-NC-SA 4.0)",
        FFHQ,
        page="https://github.com/NVlabs/ffhq-dataset",
        optional=True,
    ),
)  # fmt: skip
"""Digests are given where they are publicly known; torchvision's begin as its file names end."""


def needed(profile: str, *, everything: bool = False, items: Sequence[Item] = ITEMS) -> list[Item]:
    """What a profile needs; with `everything` also what is optional. ValueError for an unknown profile."""
    known = dict.fromkeys(name for item in items for name in item.profiles)
    index_of(profile, (*known, *(path.stem for path in (ROOT / "profiles").glob("*.yaml"))), "profile")
    return [item for item in items if profile in item.profiles and (everything or not item.optional)]


def fetch(
    profiles: Iterable[str],
    *,
    root: Path = ROOT,
    items: Sequence[Item] = ITEMS,
    everything: bool = False,  # optional files too
    timeout: float = 10.0,  # seconds without an answer
    progress: bool = True,
) -> dict[Item, str]:
    """Download what is public and not there; returns what is still missing, with the reason.

    Once nothing answers, no other download is tried.
    """
    wanted = dict.fromkeys(
        item for name in profiles for item in needed(name, everything=everything, items=items)
    )
    missing, offline = {}, False
    for item in wanted:
        try:
            if present(item, root):
                continue
            if not item.urls:
                missing[item] = "to be had by hand"
            elif offline:
                missing[item] = "not tried"
            else:
                download(item, root / item.path, timeout=timeout, progress=progress)
        except ConnectionError as error:
            offline = True
            missing[item] = f"not reached ({error})"
        except (OSError, ValueError) as error:
            missing[item] = str(error)
    return missing


def present(item: Item, root: Path = ROOT) -> bool:
    """Whether the file or the folder (not empty) is there; ValueError for a file with a wrong checksum."""
    path = root / item.path
    if path.is_dir():
        return any(path.iterdir())
    if not path.is_file():
        return False
    verify(path, path, item.sha256)
    return True


def verify(file: Path, path: Path, expected: str = "") -> None:
    """Compare a file with the digest it should have as `path`: the known one, or the one beside it (.sha256).

    Without either, its digest is recorded there for the next time.
    """
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    record = path.with_name(path.name + ".sha256")
    expected = expected or (record.read_text(encoding="utf-8").split()[0] if record.is_file() else "")
    if not found.startswith(expected):
        raise ValueError(f"{file}: sha256 is {found}, expected {expected}; delete it and fetch it again")
    if not expected:
        record.write_text(f"{found}  {path.name}\n", encoding="utf-8")


def download(
    item: Item,
    path: Path,
    *,
    timeout: float = 10.0,
    attempts: int = 5,  # connections per address, as long as each brings something
    progress: bool = True,
) -> None:
    """The file at the first address that gives it, resumed if a part of it is there.

    ConnectionError if no address answers, OSError if none gives the file, ValueError for a wrong checksum.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    errors, answered = [], False
    for url in item.urls:
        try:
            for _ in range(attempts):
                before = part.stat().st_size if part.is_file() else 0
                if _receive(url, part, known=bool(item.sha256), timeout=timeout, progress=progress):
                    break
                answered = True
                if part.stat().st_size <= before:
                    raise OSError("the connection ends before the file does")
            else:
                raise OSError(f"interrupted {attempts} times; run it again to go on")
            break
        except (OSError, HTTPException) as error:
            answered |= isinstance(error, urllib.error.HTTPError)
            errors.append(f"{url}: {getattr(error, 'reason', None) or error}")
    else:
        raise (OSError if answered else ConnectionError)("; ".join(errors))
    _etag(part).unlink(missing_ok=True)
    try:
        verify(part, path, item.sha256)
    except ValueError:
        part.unlink()
        raise
    part.replace(path)


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
            f"    from  {' or '.join(item.urls) or item.page}",
            f"    to    {root / item.path}",
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None, *, root: Path = ROOT, items: Sequence[Item] = ITEMS) -> int:
    """The command line; 0 if everything is there, 1 if something is missing."""
    parser = argparse.ArgumentParser(prog="python -m hfld.fetch", description=__doc__.split("\n")[0])
    parser.add_argument("profiles", nargs="+", help="profiles, such as ffhq256")
    parser.add_argument("--all", action="store_true", help="optional files too")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds to wait for an answer")
    options = parser.parse_args(arguments)
    try:
        missing = fetch(
            options.profiles, root=root, items=items, everything=options.all, timeout=options.timeout
        )
    except ValueError as error:
        parser.error(str(error))
    if missing:
        print(f"Missing:\n{listing(missing, root)}", file=sys.stderr)
        return 1
    print("Everything is there.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
