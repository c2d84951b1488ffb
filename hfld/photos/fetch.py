"""What the photographic profiles need from elsewhere: fetched where it is public, named where it is not.

    python -m hfld.photos.fetch ffhq256

What a profile needs is what its section `world` names. Downloads are pooch's: checked, and under their name
only when complete. What is missing in the end is listed with where it comes from and where it belongs.
"""

import argparse
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from tqdm import tqdm

from hfld.config import ROOT, Profile, load_profile
from hfld.images import sha256
from hfld.photos.judges import DEEPFACE, EMOTION, IDENTITY

TIMEOUT = 10.0  # seconds without an answer
CHUNK = 1 << 16  # bytes, the most that an interruption loses
OFFICIAL = "data/official"  # `world.official`, if a profile does not say otherwise
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
    sha256: str = ""  # "": not known
    page: str = ""  # where a person gets it
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
         page="https://github.com/jd-opensource/lapa-dataset"),
    Item("data/jd",
         "JD-landmark, 106 landmarks, instead of LaPa: Training_data/, Test_data/ (on request)",
         page="https://facial-landmarks-localization-challenge.github.io/"),
    Item("data/celeba",
         "CelebA, aligned: Anno/, Eval/ and Img/img_align_celeba/; trains a judge of attributes (agreement)",
         page="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"),
)  # fmt: skip
"""Digests are given where they are publicly known; torchvision's begin as its file names end."""


def needed(
    profile: Profile,
    *,
    everything: bool = False,  # also what the profile could name instead
) -> list[Item]:
    """What the section `world` of a profile names; [] for one that is not on photographs."""
    world = profile.world
    if world.kind != "ffhq":
        return []
    files = {
        "generator": world.generator,
        "perceptual": world.perceptual,
        "regressor": world.regressor,
        "identity": IDENTITY.get(world.identity, world.identity),
        "official": EMOTION,
    }
    places = {key: (f"{OFFICIAL}/{name}", f"{world.official}/{name}") for key, name in files.items() if name}
    places["landmark_folder"] = f"data/{world.landmark_set}", world.landmark_folder
    places["celeba"] = "data/celeba", world.celeba
    known, found = {item.path: item for item in ITEMS}, []
    for key, (usual, path) in places.items():
        item = known.pop(usual, Item("", f"what world.{key} of profile {profile.name} names", page=UNKNOWN))
        found.append(replace(item, path=path, optional=False))
    if world.weights == SMOKE:
        return [replace(item, urls=(), sha256="", page="`python -m pretrain.smoke_ffhq`") for item in found]
    for item in known.values() if everything else ():
        if item.size in (None, world.size):
            path = item.path.replace(f"{OFFICIAL}/", f"{world.official}/")
            found.append(replace(item, path=path, optional=True))
    return found


def fetch(wanted: Iterable[Item], *, root: Path) -> dict[Item, str]:
    """Download what is public and not there; returns what is still missing, with the reason.

    A host that does not answer is not asked again.
    """
    missing: dict[Item, str] = {}
    silent: set[str] = set()
    for item in dict.fromkeys(wanted):
        if present(item, root):
            continue
        errors = []
        for url in item.urls:
            host = urlsplit(url).netloc
            if host in silent:
                errors.append(f"{host}: not tried again")
                continue
            try:
                download(url, root / item.path, digest=item.sha256)
                break
            except (requests.ConnectionError, requests.Timeout) as error:
                silent.add(host)
                errors.append(f"{host}: not reached ({error})")
            except (OSError, ValueError) as error:
                errors.append(f"{host}: {error}")
        else:
            missing[item] = "; ".join(errors) or "to be had by hand"
    return missing


def present(item: Item, root: Path) -> bool:
    """Whether the file, of the known digest, or the folder with files in it, is there."""
    path = root / item.path
    if path.is_dir():
        return any(file.is_file() and not file.name.startswith(".") for file in path.rglob("*"))
    return path.is_file() and item.sha256 in ("", sha256(path))


def download(url: str, path: Path, *, digest: str = "") -> None:
    """The file at an address. OSError if it does not come, ValueError if it has another digest.

    pooch does not resume. Where the digest tells in the end whether the parts fit, a download goes on from
    where the last one stopped.
    """
    part = path.with_name(f"{path.name}.part")

    def receive(url: str, output_file: str, _: object) -> None:
        start = part.stat().st_size if digest and part.is_file() else 0
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
        with requests.get(url, stream=True, timeout=TIMEOUT, headers=headers) as response:
            if response.status_code != requests.codes.range_not_satisfiable:  # else there is no more
                response.raise_for_status()
                if "text/html" in response.headers.get("Content-Type", ""):
                    raise OSError("answered with a web page, not with the file")
                resumed = response.status_code == requests.codes.partial_content
                bar = tqdm(desc=path.name, unit="B", unit_scale=True, initial=start if resumed else 0)
                with part.open("ab" if resumed else "wb") as file, bar:
                    for block in response.iter_content(CHUNK):
                        bar.update(file.write(block))
        part.replace(output_file)

    pooch.retrieve(url, digest or None, fname=path.name, path=path.parent, downloader=receive)


def listing(missing: Mapping[Item, str], root: Path) -> str:
    """Missing items: why, where they come from and where they belong."""
    lines = []
    for item, reason in missing.items():
        lines += [
            f"- {item.what}{' (optional)' if item.optional else ''}: {reason}",
            *(f"    from  {place}" for place in (*item.urls, item.page) if place),
            f"    to    {root / item.path}",
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 if everything is there, 1 if something is missing."""
    parser = argparse.ArgumentParser(prog="python -m hfld.photos.fetch", description=__doc__.split("\n")[0])
    parser.add_argument("profiles", nargs="+", help="profiles, such as ffhq256")
    parser.add_argument("--all", action="store_true", help="also what the profiles could name instead")
    options, wanted = parser.parse_args(arguments), []
    pooch.get_logger().setLevel(logging.WARNING)
    try:
        for name in options.profiles:
            found = needed(load_profile(name), everything=options.all)
            wanted += found
            if not found:
                print(f"{name} is not on photographs: nothing is fetched for it.")
    except ValueError as error:
        parser.error(str(error))
    missing = fetch(wanted, root=ROOT)
    if missing:
        print(f"Missing:\n{listing(missing, ROOT)}", file=sys.stderr)
        return 1
    if wanted:
        print("Everything is there.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
