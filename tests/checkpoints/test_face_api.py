"""face-api's files, with random weights, against a slow reading of the same numbers; hostile manifests."""

import json

import numpy as np
import pytest
import torch
from official.face_api import (
    Weights,
    dense_net,
    dense_weights,
    identity,
    identity_weights,
    xception,
    xception_weights,
)

from hfld.checkpoints import load, load_network, save_network
from hfld.networks.face_api import FaceApiDense, FaceApiIdentity, FaceApiXception


def faces(side):
    return np.random.default_rng(1).integers(0, 256, size=(2, side, side, 3)).astype(float)


def tensor(images):
    return torch.from_numpy(images / 127.5 - 1).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("outputs", [7, 136])
def test_dense_network(outputs, tmp_path):
    weights, images = dense_weights(outputs=outputs), faces(112)
    network = load_network(weights.write(tmp_path))
    assert isinstance(network, FaceApiDense)
    np.testing.assert_allclose(network(tensor(images)), dense_net(weights, images), atol=1e-4)


def test_age_and_gender(tmp_path):
    weights, images = xception_weights(), faces(112)
    network = load_network(weights.write(tmp_path))
    assert isinstance(network, FaceApiXception)
    age, gender = network(tensor(images))
    expected = xception(weights, images)
    np.testing.assert_allclose(age, expected[0][:, 0], atol=1e-4)
    np.testing.assert_allclose(gender, expected[1], atol=1e-4)


def test_identity(tmp_path):
    weights, images = identity_weights(), faces(150)
    network = load_network(weights.write(tmp_path))
    assert isinstance(network, FaceApiIdentity)
    np.testing.assert_allclose(network(tensor(images)), identity(weights, images), atol=1e-4)


def test_it_becomes_a_file_of_our_own(tmp_path):
    path = dense_weights().write(tmp_path)
    network, part = load_network(path), load(path).parts["network"]
    save_network(tmp_path / "net.safetensors", network, part.arguments, {}, half=False)
    x = tensor(faces(112))
    assert torch.equal(load_network(tmp_path / "net.safetensors")(x), network(x))


def test_the_wrong_side_is_named(tmp_path):
    network = load_network(dense_weights().write(tmp_path))
    with pytest.raises(ValueError, match=r"got \[1, 3, 64, 64\], expected \[N, 3, 112, 112\]"):
        network(torch.zeros(1, 3, 64, 64))


def edited(folder, change):
    path = dense_weights().write(folder)
    manifest = json.loads(path.read_text())
    change(manifest[0])
    path.write_text(json.dumps(manifest))
    return path


def shape(value):
    return lambda group: group["weights"][0].update(shape=value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda g: g.update(paths=["../secret"]), "'../secret', expected the name of a file beside"),
        (lambda g: g.update(paths=["/etc/passwd"]), "expected the name of a file beside"),
        (lambda g: g.update(paths=[["a"]]), "expected the name of a file beside"),
        (lambda g: g["paths"].pop(), "is beyond the"),
        (shape([1 << 40, 1 << 40]), "is beyond the"),
        (shape([-3, -3, 3, 2]), "is beyond the"),
        (shape([0]), "is beyond the"),
        (shape([3, 3, 3, 1]), "belong to no tensor"),
        (lambda g: g["weights"][0].update(quantization={"dtype": "object"}), "object, expected one of"),
        (lambda g: g["weights"][0].update(name="surprise"), "begins with surprise, none that is known"),
        (lambda g: g["weights"][1].update(name="dense9/other"), "dense9/other is not known"),
    ],
)
def test_hostile_manifests_are_refused(change, reason, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret").write_bytes(b"what nobody should see")
    with pytest.raises(ValueError, match=reason):
        load(edited(folder, change))


def test_other_networks_of_the_package_are_refused(tmp_path):
    weights = Weights()
    weights.conv("conv0", 3, 3, 2)
    with pytest.raises(ValueError, match="begins with conv0/filters"):
        load(weights.write(tmp_path))
