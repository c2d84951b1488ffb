import numpy as np
import pytest
import torch

from hfld.attributes import ATTRIBUTES, EMOTIONS
from hfld.checkpoints import load_metadata, load_network
from hfld.networks.emotion import EmotionNet
from hfld.networks.reader import Reader
from hfld.portraits.dataset import PortraitSet
from hfld.portraits.parameters import sample
from pretrain import judges, perceptual, reading, regressor

SIZE = 16
COMMON = {"width": 2, "steps": 3, "batch": 4, "lr": 1.0e-3, "weight_decay": 0.01, "seed": 1, "warmup": 1}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Settings of a toy size, and noise in place of portraits."""
    names = ("regressor", "perceptual", *judges.JUDGES)
    sections = {name: {**COMMON, "data": "toy"} for name in names}
    sections["regressor"] |= {"depth": 18}
    sections["judge_landmarks"] |= {"shift": 1.0}
    world = {"size": SIZE, "cache": "sets", "runs": str(tmp_path / "runs"), "out": str(tmp_path / "out")}
    portraits = {"toy": {"n": 20, "seed": 5, "mode": "independent"}}
    path = tmp_path / "params.yaml"
    path.write_text(
        str({"world": world, "portraits": portraits, **sections})
    )  # YAML reads JSON-like mappings
    rng = np.random.default_rng(0)
    data = PortraitSet(
        z=sample(20, 5, mode="independent"),
        images=rng.integers(0, 256, (20, SIZE, SIZE, 3), dtype=np.uint8),
        landmarks=rng.random((20, 106, 2), dtype=np.float32),
    )
    monkeypatch.setattr(reading, "portraits", lambda **arguments: data)
    return reading.Job(
        reading.Settings(path), threads=1, progress=False, max_seconds=None, chosen=tuple(judges.JUDGES)
    )


def test_every_net_is_trained_saved_and_loaded(job):
    judges.main(job)
    regressor.main(job)
    perceptual.main(job)
    images = torch.rand(3, 3, SIZE, SIZE) * 2 - 1
    outputs = {name: load_network(job.out / f"{name}.safetensors")(images) for name in judges.JUDGES}
    assert {name: value.shape[1] for name, value in outputs.items()} == {
        name: count for name, (count, _) in judges.JUDGES.items()
    }
    assert torch.allclose(outputs["judge_emotion"].sum(dim=1), torch.full((3,), 100.0), atol=1e-3)
    assert 0 < outputs["judge_attributes"].min() < outputs["judge_attributes"].max() < 1
    assert load_network(job.out / "regressor.safetensors")(images).shape == (3, len(ATTRIBUTES))
    assert len(load_network(job.out / "perceptual.safetensors")(images)) == 4
    facts = load_metadata(job.out / "judge_landmarks.safetensors")
    assert facts["portraits"]["mode"] == "independent"
    assert facts["recipe"]["shift"] == 1.0


def test_a_finished_net_is_saved_again_unchanged(job):
    judges.main(job)
    before = {path.name: path.read_bytes() for path in job.out.iterdir()}
    judges.main(job)
    assert before == {path.name: path.read_bytes() for path in job.out.iterdir()}


def test_coordinates_fold_into_the_net():
    torch.manual_seed(0)
    net = Reader(size=16, outputs=212, width=2, hidden=8).eval()
    landmarks = np.random.default_rng(0).random((30, 106, 2), dtype=np.float32)
    head, images = judges.Coordinates(net, landmarks), torch.rand(4, 3, 16, 16)
    expected = head(images)
    head.fold()
    assert torch.allclose(net(images), expected, atol=1e-5)
    assert (net(images).mean() - landmarks.mean()).abs() < 0.3


def test_norms_fold_into_the_net():
    torch.manual_seed(0)
    net = EmotionNet(width=4)
    normed = judges.Normed(net)
    for _ in range(3):
        normed(torch.rand(8, 3, 64, 64))  # statistics of its own
    for norm in normed.norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        torch.nn.init.uniform_(norm.bias, -1, 1)
    normed.eval()
    images = torch.rand(4, 3, 64, 64)
    expected = normed(images)
    assert not torch.allclose(expected, EmotionNet.logits(EmotionNet(width=4).eval(), images), atol=1e-3)
    normed.fold()
    assert torch.allclose(net.logits(images), expected, atol=1e-4)
    assert net(images).shape == (4, len(EMOTIONS))


def test_wrong_settings_are_named(job, tmp_path):
    with pytest.raises(
        ValueError, match="unknown section 'judge_atributes'; the nearest is 'judge_attributes'"
    ):
        job.settings.recipe("judge_atributes")
    with pytest.raises(ValueError, match="unknown portrait set 'toys'; the nearest is 'toy'"):
        job.settings.rendered("toys")
    job.settings.sections["regressor"]["widht"] = 3
    with pytest.raises(ValueError, match="unknown key 'widht'; the nearest is 'width'"):
        job.settings.recipe("regressor")
