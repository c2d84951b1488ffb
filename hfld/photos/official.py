"""Official files -> data/<profile>/: what the stages of a profile on photographs read.

    python -m hfld.photos.official ffhq256

Each network becomes a file of our own under the name that the stages know, with the sha256 of its source;
no code from a file is run. R and the judges that are trained here come from notebooks/more/judges.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hfld.checkpoints import load, save, save_network
from hfld.config import Profile, load_profile
from hfld.photos.fetch import ITEMS
from hfld.photos.judges import IDENTITY, load_emotion, load_identity


def import_official(profile: Profile) -> list[Path]:
    """Write the networks of `profile` that are had from elsewhere; returns their files.

    Raises FileNotFoundError for a file that is not there, ValueError for one that is something else.
    """
    world, folder = profile.world, profile.paths.world
    if world.kind != "ffhq":
        raise ValueError(f"profile: {profile.name!r} has no official files, only those on photographs do")
    official = profile.root / world.official
    wanted = [
        ("generator", official / world.generator, "generator", "Generator"),
        ("discriminator", official / world.generator, "discriminator", "Discriminator"),
        ("perceptual", official / world.perceptual, None, "VGG19Features"),
    ]
    if world.regressor is not None:
        wanted.append(("regressor", official / world.regressor, None, "ResNet"))
    if world.identity not in IDENTITY:
        wanted.append(("judge_identity", official / world.identity, None, None))
    made = [
        _convert(source, folder / f"{name}.safetensors", part=part, kind=kind, profile=profile)
        for name, source, part, kind in wanted
    ]
    judges = {"judge_emotion": (load_emotion(official), {})}
    if world.identity in IDENTITY:
        judges["judge_identity"] = load_identity(official, model=world.identity), {"model": world.identity}
    for name, (network, arguments) in judges.items():
        made.append(folder / f"{name}.safetensors")
        save_network(made[-1], network, arguments, {"source": "DeepFace"}, half=False)
    return made


def _convert(source: Path, path: Path, *, part: str | None, kind: str | None, profile: Profile) -> Path:
    """One network of an official file, its tensors as they are."""
    digests = {profile.root / item.path: item.sha256 for item in ITEMS if item.sha256}
    checkpoint = load(source, digest=digests.get(source))
    parts = checkpoint.parts
    chosen = parts.get(part) if part else next(iter(parts.values()), None)
    if chosen is None or (kind is not None and chosen.network != kind):
        found = ", ".join(f"{name} ({known.network})" for name, known in parts.items()) or "no network"
        reason = checkpoint.unread.get(part, f"holds {found}")
        raise ValueError(f"{source}: {reason}, expected {part or 'a'} {kind or 'network'}")
    size = chosen.arguments.get("size", profile.world.size)
    if chosen.network in ("Generator", "Discriminator") and size != profile.world.size:
        raise ValueError(
            f"{source}: draws {size} px, expected world.size {profile.world.size} of profile {profile.name}"
        )
    known = {key: checkpoint.metadata[key] for key in ("format", "sha256") if key in checkpoint.metadata}
    metadata = {"source": source.name, **known, "network": chosen.network, "arguments": chosen.arguments}
    save(path, chosen.state, metadata)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 if a file is missing or another than expected."""
    parser = argparse.ArgumentParser(
        prog="python -m hfld.photos.official", description=__doc__.split("\n")[0]
    )
    parser.add_argument("profiles", nargs="+", help="profiles on photographs, such as ffhq256")
    for name in parser.parse_args(arguments).profiles:
        try:
            made = import_official(load_profile(name))
        except (FileNotFoundError, ImportError, ValueError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        print(f"{name}: " + ", ".join(path.name for path in made) + f" in {made[0].parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
