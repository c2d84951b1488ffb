from dataclasses import replace

import pytest
import torch
from toy_world import toy_models

from hfld.checkpoints import save_network
from hfld.config import load_profile
from hfld.evaluation.judges import Judges
from hfld.models import Models, autocast
from hfld.networks.resnet import ResNet
from hfld.networks.stylegan2 import Discriminator, Generator
from hfld.networks.vgg import VGG19Features

CHANNELS = {4: 8, 8: 8, 16: 4}


@pytest.fixture
def folder(tmp_path):
    shape = {"size": 16, "channels": CHANNELS}
    reader = {"depth": 18, "width": 4, "stem": "small"}
    kinds = {
        "generator": (
            Generator,
            {**shape, "z_dim": 6, "w_dim": 8, "mapping_layers": 1, "normalize_z": False},
        ),
        "discriminator": (Discriminator, shape),
        "regressor": (ResNet, {**reader, "outputs": 40, "sigmoid": True}),
        "perceptual": (VGG19Features, {"width": 4}),
        "landmarks": (ResNet, {**reader, "outputs": 212}),
    }
    for name, (kind, arguments) in kinds.items():
        save_network(tmp_path / f"{name}.safetensors", kind(**arguments), arguments, {})
    return tmp_path


def test_loaded_frozen_and_hashed(folder):
    models = Models.load(folder, landmarks=folder / "landmarks.safetensors")
    assert models.hashes.keys() == models.networks().keys()
    assert all(len(value) == 64 for value in models.hashes.values())
    ws = models.ws(models.latents(3, seed=0, split="test"))
    assert ws.shape == (3, 6, 8)
    images = models.images(ws)
    assert torch.equal(images, models.images(ws))  # the noise is fixed
    assert models.points(images).shape == (3, 106, 2)
    scores = models.score(ws, batch=2)
    assert scores.shape == (3, 40)
    torch.testing.assert_close(scores, models.regressor(images), rtol=1e-4, atol=1e-5)
    assert not any(p.requires_grad for network in models.networks().values() for p in network.parameters())


def test_a_missing_file_names_its_command(folder):
    with pytest.raises(FileNotFoundError, match="make repro"):
        Models.load(folder, landmarks=folder / "gone" / "landmarks.safetensors")
    (folder / "regressor.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="make data"):
        Models.load(folder)


@pytest.mark.parametrize("kind", [Models, Judges])
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("portraits", "make data"),
        ("smoke", "python -m pretrain.smoke"),
        ("ffhq256", "make photographs PROFILES=ffhq256"),
    ],
)
def test_a_missing_folder_names_its_profiles_command(kind, name, command, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"`{command}`"):
        kind.of(replace(load_profile(name), root=tmp_path))


def test_landmarks_are_optional_until_asked_for():
    models = toy_models(landmarks=False)
    assert "landmarks" not in models.networks()
    with pytest.raises(ValueError, match="01_landmarks"):
        models.points(torch.zeros(1, 3, 8, 8))


def test_precision_is_a_choice():
    with autocast("bf16")():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    for precision in ("fp32", "auto"):
        with autocast(precision)():
            torch.ones(2, 2) @ torch.ones(2, 2)
    with autocast("fp32")():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with pytest.raises(ValueError, match="precision"):
        autocast("half")
