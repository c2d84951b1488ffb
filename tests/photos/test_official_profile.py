"""A profile on photographs: official files to the networks of the stages, its pictures, its judges."""

import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hfld.checkpoints import load, load_metadata, load_network, sha256
from hfld.config import load_profile
from hfld.evaluation.judges import Judges
from hfld.models import Models, pick_device
from hfld.networks import deepface
from hfld.networks.resized import Resized, resized
from hfld.photos.judges import as_deepface, load_emotion
from hfld.photos.official import import_official, main
from hfld.photos.photo_set import PhotoSet
from hfld.training import landmark_data as pictures
from hfld.training.augment import portrait_augmentation
from hfld.training.photo_judges import ATTRIBUTE_ROLES, roles, train_role
from pretrain.smoke_ffhq import make_files


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """smoke-ffhq in a folder of its own, with its random official files and data sets."""
    profile = replace(load_profile("smoke-ffhq"), root=tmp_path_factory.mktemp("photographs"))
    make_files(profile)
    import_official(profile)
    return profile


def changed(profile, **world):
    return replace(profile, world=replace(profile.world, **world))


def test_networks_are_those_of_the_official_files(profile):
    official, world = profile.root / profile.world.official, profile.paths.world
    for name in ("generator", "discriminator"):
        ours = load_network(world / f"{name}.safetensors")
        theirs = load_network(official / "550000.pt", part=name)
        x = torch.randn(2, ours.z_dim) if name == "generator" else torch.rand(2, 3, 256, 256)
        with torch.no_grad():
            torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)
    metadata = load_metadata(world / "generator.safetensors")
    assert (metadata["source"], metadata["format"]) == ("550000.pt", "rosinality")
    assert metadata["sha256"] == sha256(official / "550000.pt")
    faces = torch.rand(2, 3, 256, 256) * 2 - 1
    judges = Judges(**{name: nn.Identity() for name in ("attributes", "tuning", "landmarks", "identity")},
                    emotion=load_network(world / "judge_emotion.safetensors"))  # fmt: skip
    torch.testing.assert_close(
        judges.emotion(faces), as_deepface(load_emotion(official))(faces), rtol=0, atol=1e-4
    )
    assert load(world / "regressor.safetensors").parts["network"].arguments["sigmoid"] is False


def test_wrong_files_are_named(profile, capsys):
    with pytest.raises(FileNotFoundError, match=r"gone\.pt is missing; `make fetch`"):
        import_official(changed(profile, generator="gone.pt"))
    with pytest.raises(ValueError, match=r"vgg19\.pth: holds network \(VGG19Features\), expected a ResNet"):
        import_official(changed(profile, regressor="vgg19.pth"))
    with pytest.raises(ValueError, match=r"550000\.pt: draws 256 px, expected world.size 1024"):
        import_official(changed(profile, size=1024))
    with pytest.raises(ValueError, match="'smoke' has no official files"):
        import_official(load_profile("smoke"))
    assert main(["ffhq256"]) == 1
    assert "550000.pt is missing" in capsys.readouterr().err


def test_h_and_its_judge_share_no_photo(profile):
    ours, theirs = pictures.landmark_faces(profile), pictures.landmark_faces(profile, judge=True)
    assert ours.training.images.shape == theirs.training.images.shape == (8, 256, 256, 3)
    same = (ours.training.images[:, None] == theirs.training.images[None]).all(axis=(2, 3, 4))
    assert not same.any()
    assert np.array_equal(ours.validation.images, theirs.validation.images)
    assert np.array_equal(ours.validation.landmarks, theirs.validation.landmarks)
    few = replace(profile, landmarks=replace(profile.landmarks, images=3, validation_images=2))
    faces = pictures.landmark_faces(few)
    assert (len(faces.training.images), len(faces.validation.landmarks)) == (3, 2)
    assert ours.augmentation is not portrait_augmentation


def test_faces_of_one_photo_are_on_one_side():
    names = [f"{photo}_{k}.jpg" for photo in range(100, 140) for k in range(1 + photo % 3)]
    photos = PhotoSet(tuple(map(Path, names)), np.arange(2.0 * len(names)).reshape(-1, 1, 2))
    ours, theirs = (pictures.half(photos, judge=judge) for judge in (False, True))
    assert {*ours.files} | {*theirs.files} == {*photos.files}
    sides = [{path.stem.split("_")[0] for path in part.files} for part in (ours, theirs)]
    assert not sides[0] & sides[1]
    assert len(sides[0]) == len(sides[1]) == 20
    assert ours.landmarks[2, 0, 0] == 2 * names.index(ours.files[2].name)


def test_portraits_are_rendered_as_the_profile_says(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(pictures, "portraits", lambda *a, **k: asked.append((a, k)))
    settings = load_profile("portraits")
    faces = pictures.landmark_faces(settings)
    cache = {"size": 64, "cache_dir": settings.paths.runs / "portraits"}
    config = settings.landmarks
    assert asked == [((config.images, 1), cache), ((config.validation_images, 2), cache)]
    assert faces.augmentation is portrait_augmentation


def test_what_nobody_hands_out_is_trained(profile):
    assert list(roles(profile)) == ["judge_attributes", "judge_attributes_tuning", "judge_landmarks"]
    assert list(roles(changed(profile, regressor=None))) == [*ATTRIBUTE_ROLES, "judge_landmarks"]
    with pytest.raises(ValueError, match="'smoke' is not on photographs"):
        roles(load_profile("smoke"))


@pytest.mark.slow
def test_attribute_judges_and_a_judge_of_landmarks_are_trained(profile):
    trained = {role: train_role(profile, role) for role in roles(profile)}
    digests = {trained[role][0].metadata["data"] for role in trained}
    assert len(digests) == 3  # each from photos of its own
    for role in ("judge_attributes", "judge_attributes_tuning"):
        network = load_network(profile.paths.world / f"{role}.safetensors")
        scores = network(torch.rand(2, 3, 256, 256))
        assert scores.shape == (2, 40)
        assert 0 < scores.min() < scores.max() < 1
        assert set(trained[role][1]["Bald"]) == {"auc", "accuracy", "positive"}
    assert trained["judge_landmarks"][1]["n"] == 4
    judges = Judges.of(profile)
    readings = judges.measure(torch.rand(2, 3, 512, 512) * 2 - 1)  # larger than the networks' 256
    assert readings.landmarks.shape == (2, 106, 2)
    assert readings.identity.shape == (2, 16)
    np.testing.assert_allclose(readings.emotions.sum(axis=1), 100, atol=1e-3)


class Side(nn.Module):
    def forward(self, x):
        return x.mean(dim=(1, 2, 3)), x.shape[-1]


def test_networks_look_at_their_own_size():
    x = torch.rand(2, 3, 64, 64, requires_grad=True)
    network = Resized(Side(), size=16)
    mean, side = network(x)
    assert side == 16
    torch.testing.assert_close(mean, x.mean(dim=(1, 2, 3)), atol=5e-3, rtol=0)
    mean.sum().backward()
    assert (x.grad != 0).all()  # antialiased: every pixel counts
    assert network(x[:, :, :16, :16])[1] == 16
    assert resized(network, None) is network


def test_fewer_large_pictures_at_a_time():
    networks = {"regressor": nn.Identity()}
    for size, count in ((64, 64), (256, 64), (1024, 4)):
        generator = nn.Identity()
        generator.size = size
        assert Models(generator, **networks).chunk(64) == count
    assert Models(generator, **networks).chunk(8) == 1


def test_devices():
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_deepface_identity_takes_bgr(monkeypatch):
    source = types.ModuleType("arcface")
    source.base_model = nn.Flatten
    monkeypatch.setitem(sys.modules, "deepface.models.facial_recognition.pytorch.ArcFace", source)
    monkeypatch.setattr(deepface.importlib, "import_module", sys.modules.get)
    x = torch.rand(2, 3, 4, 4) * 2 - 1
    embedding = deepface.DeepFaceIdentity(model="ArcFace")(x).unflatten(1, (3, 4, 4))
    torch.testing.assert_close(embedding[:, 0], (x[:, 2] + 1) / 2)
    with pytest.raises(ValueError, match="the nearest is 'ArcFace'"):
        deepface.DeepFaceIdentity(model="Arcface")
