import functools

import numpy as np
import pytest
import torch

from hfld.attributes import REGIONS
from hfld.checkpoints import load_network, save_network
from hfld.config import LandmarksConfig
from hfld.landmarks import cumulative_error, landmark_report, normalized_errors, predict
from hfld.training import augment
from hfld.training import landmarks as training
from hfld.training.landmarks import train_landmarks

CONFIG = LandmarksConfig(
    images=64,
    validation_images=32,
    width=4,
    stem="half",
    steps=6,
    batch=8,
    lr=3e-3,
    precision="fp32",
    seed=1,
)


def spots(n, *, side=32, seed=0):
    """A dark picture with one white square; all landmarks sit around it, mirror-symmetrically."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(4, side - 10, size=(n, 2))
    images = np.zeros((n, side, side, 3), np.uint8)
    for image, (x, y) in zip(images, corners, strict=True):
        image[y : y + 6, x : x + 6] = 255
    centre = (corners + 3.0) / side
    true = np.repeat(centre[:, None], 106, axis=1)
    true[:, 66, 0] -= 0.1
    true[:, 79, 0] += 0.1
    return images, true.astype(np.float32)


def face(n=4, seed=0):
    true = np.random.default_rng(seed).uniform(0.2, 0.8, size=(n, 106, 2))
    true[:, 66], true[:, 79] = (0.3, 0.4), (0.7, 0.4)  # 0.4 between the outer corners of the eyes
    return true


def test_errors_are_in_units_of_the_eye_distance():
    true = face()
    pred = true + np.array([0.012, 0.016])  # 0.02 away, a twentieth of 0.4
    np.testing.assert_allclose(normalized_errors(pred, true), 0.05, rtol=1e-6)
    report = landmark_report(pred, true)
    assert report["nme"] == pytest.approx(0.05)
    assert report["distance_px256"] == pytest.approx(0.02 * 256)
    assert report["failure_rate"] == 0
    assert report["auc"] == pytest.approx(0.5, abs=0.01)  # a step at half of the limit
    assert landmark_report(true, true)["auc"] == 1


def test_regions_and_failures_are_told_apart():
    true = face()
    pred = true.copy()
    pred[:, list(REGIONS["mouth"]), 0] += 0.1
    pred[0, :, 1] += 0.4
    report = landmark_report(pred, true)
    assert report["failure_rate"] == 0.25
    assert report["nme_mouth"] > report["nme_nose"] > 0
    assert landmark_report(pred[1:], true[1:])["nme_nose"] == 0
    assert landmark_report(pred[1:], true[1:])["nme_mouth"] == pytest.approx(0.25)


def test_the_curve_counts_faces():
    curve = cumulative_error(np.array([0.01, 0.03, 0.2]), limit=0.1, points=11)
    assert curve["share"][0] == 0
    assert curve["share"][-1] == pytest.approx(2 / 3)
    assert curve["share"][2] == pytest.approx(1 / 3)
    assert (np.diff(curve["share"]) >= 0).all()


def test_it_learns_where_things_are(tmp_path):
    images, true = spots(256)
    held_images, held = spots(64, seed=1)
    config = LandmarksConfig(**{**vars(CONFIG), "steps": 150, "batch": 32, "width": 8, "lr": 1e-2})
    trained = train_landmarks(images, true, config, run_dir=tmp_path, progress=False)
    error = landmark_report(predict(trained.network, held_images), held)["distance_px256"]
    guess = landmark_report(np.broadcast_to(true.mean(axis=0), held.shape), held)["distance_px256"]
    assert error < 0.35 * guess
    assert trained.history[-1]["smooth_l1_px"] < trained.history[0]["smooth_l1_px"]


def test_it_trains_with_the_augmentation_for_photographs(tmp_path):
    images, true = spots(32)
    trained = train_landmarks(
        images, true, CONFIG, run_dir=tmp_path, augmentation=augment.augment, progress=False
    )
    plain = train_landmarks(images, true, CONFIG, run_dir=tmp_path, progress=False)  # not that run resumed
    assert trained.metadata["augmentation"] == "augment"
    assert plain.metadata["augmentation"] == "portrait_augmentation"
    assert not torch.equal(trained.network.conv1.weight, plain.network.conv1.weight)


def test_it_starts_from_the_mean_face_and_a_seed(tmp_path):
    _, true = spots(16)
    mean = torch.as_tensor(true.mean(axis=0))
    arguments = {"depth": 18, "width": 4, "outputs": 212, "stem": "half"}
    first, same, other = (training._initialised(arguments, mean=mean, seed=s) for s in (1, 1, 2))
    assert torch.equal(first.fc.bias, mean.flatten())
    assert torch.equal(first.conv1.weight, same.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


def test_resumed_is_uninterrupted(tmp_path, monkeypatch):
    images, true = spots(32)
    whole = train_landmarks(images, true, CONFIG, run_dir=tmp_path / "whole", progress=False)
    monkeypatch.setattr(training, "train", functools.partial(training.train, max_seconds=0.0))
    for _ in range(CONFIG.steps):  # each call does one step
        parts = train_landmarks(images, true, CONFIG, run_dir=tmp_path / "parts", progress=False)
    for a, b in zip(whole.network.state_dict().values(), parts.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert parts.history == whole.history


def test_saved_and_loaded(tmp_path):
    images, true = spots(16)
    trained = train_landmarks(images, true, CONFIG, run_dir=tmp_path, progress=False)
    path = tmp_path / "landmarks.safetensors"
    save_network(path, trained.network, trained.arguments, trained.metadata)
    np.testing.assert_allclose(
        predict(load_network(path), images), predict(trained.network, images), atol=2e-3
    )


def test_wrong_shapes_are_named(tmp_path):
    images, true = spots(8)
    with pytest.raises(ValueError, match="landmarks"):
        train_landmarks(images, true[:, :68], CONFIG, run_dir=tmp_path, progress=False)
    with pytest.raises(ValueError, match="pred and true"):
        normalized_errors(true, true[:4])
