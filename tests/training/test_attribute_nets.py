import numpy as np
import pytest
import torch

from hfld.attributes import ATTRIBUTES, attribute_index
from hfld.checkpoints import load_network, save_network
from hfld.networks.resnet import ResNet
from hfld.training import attribute_nets
from hfld.training.attribute_nets import (
    AttributeTraining,
    attribute_report,
    read_attributes,
    train_attributes,
)

SMALL = AttributeTraining(depth=18, width=4, stem="half", steps=6, batch=8, precision="fp32")
BALD, MALE = attribute_index("Bald"), attribute_index("Male")


def pictures(n, seed=0, side=32):
    """Bald pictures are bright above, Male ones bright below; all others are chance."""
    rng = np.random.default_rng(seed)
    labels = rng.random((n, 40)) < 0.3
    images = rng.integers(40, 90, (n, side, side, 3), dtype=np.uint8)
    images[labels[:, BALD], : side // 2] += 100
    images[labels[:, MALE], side // 2 :] += 100
    return images, labels


def test_it_learns_what_can_be_seen(tmp_path):
    images, labels = pictures(192)
    settings = AttributeTraining(**{**vars(SMALL), "steps": 40, "batch": 32, "lr": 1e-2})
    trained = train_attributes(images, labels, settings, run_dir=tmp_path, progress=False)
    held, truth = pictures(128, seed=1)
    report = attribute_report(read_attributes(trained.network, held), truth)
    assert report["Bald"]["auc"] > 0.95
    assert report["Male"]["auc"] > 0.95
    assert abs(report["Young"]["auc"] - 0.5) < 0.2
    path = tmp_path / "regressor.safetensors"
    save_network(path, trained.network, trained.arguments, trained.metadata)
    again = read_attributes(load_network(path), held)
    np.testing.assert_allclose(again, read_attributes(trained.network, held), atol=0.02)
    assert again.min() >= 0 and again.max() <= 1


def test_resumed_is_uninterrupted(tmp_path, monkeypatch):
    images, labels = pictures(32)
    whole = train_attributes(images, labels, SMALL, run_dir=tmp_path / "whole", progress=False)
    train = attribute_nets.train
    monkeypatch.setattr(attribute_nets, "train", lambda **a: train(**{**a, "max_seconds": 0.0}))
    for _ in range(SMALL.steps):  # each call does one step
        parts = train_attributes(images, labels, SMALL, run_dir=tmp_path / "parts", progress=False)
    for a, b in zip(whole.network.state_dict().values(), parts.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_it_starts_from_the_frequencies_and_from_given_weights():
    share = torch.linspace(0.1, 0.9, 40)
    arguments = {"depth": 18, "width": 4, "outputs": 40, "stem": "half", "sigmoid": True}
    given = ResNet(**{**arguments, "outputs": 1000}).state_dict()
    network = attribute_nets._initialised(arguments, given, share=share, seed=1)
    assert torch.allclose(network.fc.bias.sigmoid(), share)
    assert torch.equal(network.layer1[0].conv1.weight, given["layer1.0.conv1.weight"])
    assert network.fc.weight.abs().max() < given["fc.weight"].abs().max()


def test_augmentation_is_mild_and_keeps_colour():
    images = torch.full((32, 3, 16, 16), -0.2)
    images[:, 0] = 0.6
    changed = attribute_nets.augment(images, torch.Generator().manual_seed(0))
    assert 0 < (changed - images).abs().mean() < 0.15
    assert (changed[:, 0].mean(dim=(1, 2)) - changed[:, 1].mean(dim=(1, 2))).min() > 0.5


def test_report_by_hand():
    scores, labels = np.full((4, 40), 0.4), np.zeros((4, 40), bool)
    labels[:2, BALD] = True
    scores[:, BALD] = [0.9, 0.3, 0.3, 0.1]
    report = attribute_report(scores, labels)
    assert set(report) == set(ATTRIBUTES)
    assert report["Bald"] == {"auc": 0.875, "accuracy": 0.75, "positive": 0.5}
    assert np.isnan(report["Male"]["auc"])
    assert report["Male"]["accuracy"] == 1


def test_wrong_shapes_are_named(tmp_path):
    images, labels = pictures(8)
    with pytest.raises(ValueError, match=r"labels \[N, 40\]; got \(8, 32, 32, 3\) and \(8, 39\)"):
        train_attributes(images, labels[:, :39], SMALL, run_dir=tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"equal \[N, 40\], not \(8, 39\)"):
        attribute_report(np.zeros((8, 39)), labels)
