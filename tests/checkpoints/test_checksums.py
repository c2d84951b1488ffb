"""sha256 of weight files: what the caller, the name, the folder's record and `fetch` say is compared."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hfld.checkpoints import checksums, load, save, sha256
from hfld.config import load_profile
from hfld.networks.resnet import ResNet
from hfld.networks.vgg import VGG19Features
from hfld.photos import official
from hfld.photos.fetch import Item


def test_checksums_are_recorded_and_compared(tmp_path):
    path, record = tmp_path / "b.npy", tmp_path / checksums.RECORD
    np.save(path, np.ones((1, 4)))
    digest = sha256(path)
    load(path, digest=digest)
    assert json.loads(record.read_text()) == {"b.npy": digest}
    load(path, digest=digest[:8])
    with pytest.raises(
        ValueError, match=rf"b\.npy has sha256 {digest}, but the caller says 00ff: fetch the file"
    ):
        load(path, digest="00ff")
    np.save(path, np.zeros((1, 4)))
    with pytest.raises(
        ValueError, match=rf"b\.npy has sha256 .*checksums\.json says {digest}: fetch .* correct"
    ):
        load(path)
    assert json.loads(record.read_text()) == {"b.npy": digest}
    record.write_text("{")
    with pytest.raises(ValueError, match=r"checksums\.json is damaged .*delete it"):
        load(path)


def test_digits_in_torchvisions_names_are_compared(tmp_path):
    torch.save(ResNet(depth=18, width=4, outputs=3).state_dict(), tmp_path / "x.pth")
    digest = sha256(tmp_path / "x.pth")
    good, bad = tmp_path / f"resnet18-{digest[:8]}.pth", tmp_path / "resnet18-f37072fd.pth"
    for path in (good, bad):
        path.write_bytes((tmp_path / "x.pth").read_bytes())
    load(good)
    with pytest.raises(ValueError, match="but its name says f37072fd"):
        load(bad)


def test_our_own_files_are_compared_but_not_recorded(tmp_path):
    path = tmp_path / "own.safetensors"
    save(path, {"a": torch.ones(2)}, {})
    load(path)
    load(path, digest=sha256(path))
    with pytest.raises(ValueError, match="but the caller says"):
        load(path, digest="0" * 64)
    assert [p.name for p in tmp_path.iterdir()] == ["own.safetensors"]


def test_what_fetch_knows_of_a_file_is_compared_when_it_is_imported(tmp_path, monkeypatch):
    profile = replace(load_profile("smoke-ffhq"), root=tmp_path)
    item = Item("data/official/vgg19.pth", "VGG-19", ("ffhq256",), sha256="0" * 64)
    monkeypatch.setattr(official, "ITEMS", (item,))

    def write(folder):
        (tmp_path / folder).mkdir(parents=True)
        torch.save(VGG19Features(width=1).state_dict(), tmp_path / folder / "vgg19.pth")
        source, target = tmp_path / folder / "vgg19.pth", tmp_path / "perceptual.safetensors"
        return official._convert(source, target, part=None, kind="VGG19Features", profile=profile)

    assert write(profile.world.official).is_file()  # a file of that name, but in another place
    with pytest.raises(ValueError, match=r"vgg19\.pth has sha256 \w+, but the caller says 0000"):
        write("data/official")


def test_damaged_files_are_not_recorded(tmp_path):
    np.save(tmp_path / "b.npy", np.ones((1, 4)))
    content = (tmp_path / "b.npy").read_bytes()
    (tmp_path / "b.npy").write_bytes(content[:-1])
    with pytest.raises(ValueError, match=r"b\.npy is damaged.*make data"):
        load(tmp_path / "b.npy")
    (tmp_path / "b.npy").write_bytes(content)
    load(tmp_path / "b.npy")
