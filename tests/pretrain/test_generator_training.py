import argparse
import json
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from hfld.checkpoints import load_metadata, load_network, save_network
from hfld.config import ROOT
from hfld.networks.reader import Reader
from hfld.networks.stylegan2 import Generator
from hfld.portraits.expression import ACTION_UNITS, emotion_percentages
from pretrain import generator as script
from pretrain.muon import Muon, orthogonal
from pretrain.paired import TUTOR_PARTS, emotion_logits, tutor_loss
from pretrain.training_state import TrainingState

SHAPE = {"size": 16, "z_dim": 5, "w_dim": 6, "mapping_layers": 2, "channels": {4: 4, 8: 4, 16: 4}}


def test_orthogonal_keeps_the_singular_vectors():
    matrix = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    u, _, vt = torch.linalg.svd(matrix, full_matrices=False)
    for m, expected in ((matrix, u @ vt), (matrix.T, (u @ vt).T)):
        values = torch.linalg.svdvals(orthogonal(m).float())
        assert values.min() > 0.6
        assert values.max() < 1.3
        cosine = torch.cosine_similarity(orthogonal(m).float().flatten(), expected.flatten(), dim=0)
        assert cosine > 0.97


def test_muon_moves_small_directions_as_far_as_large_ones():
    weight = torch.nn.Parameter(torch.zeros(2, 2))
    weight.grad = torch.diag(torch.tensor([100.0, 0.5]))
    Muon([weight], lr=0.1).step()
    moved = -weight.detach().diagonal()
    assert (moved > 0).all()
    assert moved.max() / moved.min() < 2
    assert weight.detach().fliplr().diagonal().abs().max() < 1e-6


@pytest.fixture
def tutor():
    torch.manual_seed(0)
    return Reader(size=16, outputs=sum(TUTOR_PARTS), width=2, hidden=8).eval().requires_grad_(False)


def test_tutor_loss_is_zero_at_equality_and_pulls_towards_the_target(tutor):
    draws = torch.Generator().manual_seed(1)
    target = torch.rand(4, 3, 16, 16, generator=draws) * 2 - 1
    other = (torch.rand(4, 3, 16, 16, generator=draws) * 2 - 1).requires_grad_()
    equal = tutor_loss(tutor, target, target)
    for key, loss in tutor_loss(tutor, other, target).items():
        assert float(equal[key]) == pytest.approx(0, abs=1e-6)
        (gradient,) = torch.autograd.grad(loss, other, retain_graph=True)
        assert loss.item() > 0
        with torch.no_grad():
            assert tutor_loss(tutor, other - 1e-2 * gradient / gradient.norm(), target)[key] < loss


def test_emotion_logits_are_those_of_the_renderer():
    units = np.random.default_rng(0).uniform(size=(20, len(ACTION_UNITS)))
    found = emotion_logits(torch.from_numpy(units)).softmax(dim=1).numpy()
    np.testing.assert_allclose(100 * found, emotion_percentages(units), atol=1e-3)


def test_inner_layers_of_the_mapping_network_have_their_own_width():
    network = Generator(**{**SHAPE, "mapping_layers": 3}, mapping_features=9)
    assert [tuple(layer.weight.shape) for layer in network.mapping.layers] == [(9, 5), (9, 9), (6, 9)]
    assert network(torch.zeros(2, 5)).shape == (2, 3, 16, 16)


@pytest.fixture
def world(tmp_path, tutor):
    """A few noise pictures, a tutor, an earlier generator; and the arguments of a run."""
    draws = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    np.save(tmp_path / "set" / "z.npy", draws.standard_normal((40, 5)).astype(np.float32))
    np.save(tmp_path / "set" / "images.npy", draws.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8))
    arguments = {"size": 16, "outputs": sum(TUTOR_PARTS), "width": 2, "hidden": 8}
    save_network(tmp_path / "tutor.safetensors", tutor, arguments, {})
    torch.manual_seed(3)
    old = {**SHAPE, "normalize_z": False, "mapping_lr": 1.0}
    save_network(tmp_path / "old.safetensors", Generator(**old), old, {})
    section = yaml.safe_load((ROOT / "pretrain" / "params.yaml").read_text())["generator"]
    config = {**section, **SHAPE, "mapping_features": 8, "stages": {16: 1.0}, "batch": 4, "warmup": 1}
    config |= {"validation": 12, "phase": "paired", "minutes": 0.02, "fp32": True, "note": "a note"}
    config |= {"log_seconds": 0.2, "save_seconds": 0.2}
    paths = {"data": [str(tmp_path / "set")], "run": str(tmp_path / "run"), "start": None}
    return config, {**paths, "tutor": str(tmp_path / "tutor.safetensors")}, tmp_path


def test_a_run_learns_exports_and_continues(world, monkeypatch):
    config, paths, folder = world
    (folder / "run").mkdir()
    precisions = []
    monkeypatch.setattr(script, "autocast", lambda *given: precisions.append(given) or nullcontext)
    script.train(0, 1, config, paths)
    assert precisions == [("fp32", "cpu")]
    first = load_network(folder / "run" / "generator.safetensors")
    saved = torch.load(folder / "run" / "checkpoint.pt", weights_only=True)
    assert json.loads(saved["config"])["tutor"] == config["tutor"]
    assert first(torch.zeros(1, 5)).shape == (1, 3, 16, 16)
    assert load_metadata(folder / "run" / "generator.safetensors")["note"] == "a note"
    longer = saved["counters"]["seconds"] / 60 + 0.02
    script.train(0, 1, {**config, "minutes": longer}, paths)
    again = torch.load(folder / "run" / "checkpoint.pt", weights_only=True)
    assert again["counters"]["step"] > saved["counters"]["step"]


def test_gradients_of_a_step_are_its_own(world, monkeypatch):
    """Muon's gradients once piled up, because only Adam's were cleared."""
    config, paths, folder = world
    (folder / "run").mkdir()
    seen = []

    def record(self, closure=None):
        seen.append([p.grad.clone() for group in self.param_groups for p in group["params"]])

    monkeypatch.setattr(Muon, "step", record)  # nothing that Muon trains moves
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self, closure=None: None)
    monkeypatch.setattr(script.Portraits, "indices", lambda self, step, batch, seed: np.arange(batch))
    script.train(0, 1, config, paths)
    assert len(seen) > 2
    for first, later in zip(seen[0], seen[2], strict=True):
        torch.testing.assert_close(first, later)


def test_a_run_starts_from_the_weights_of_another(world):
    config, paths, folder = world
    state = TrainingState({**config, "mapping_features": None}, "cpu")
    state.start_from(folder / "old.safetensors")
    for key, value in load_network(folder / "old.safetensors").state_dict().items():
        assert torch.equal(value, state.g.state_dict()[key])
    config["phase"] = "adversarial"
    (folder / "run").mkdir()
    script.train(0, 1, config, paths)
    trained = torch.load(folder / "run" / "checkpoint.pt", weights_only=True)["parts"]
    state = TrainingState(config, "cpu")
    state.start_from(folder / "run" / "checkpoint.pt")
    for network, name in ((state.g, "average"), (state.average, "average"), (state.d, "discriminator")):
        for key, value in network.state_dict().items():
            assert torch.equal(value, trained[name][key])
    d = load_network(folder / "run" / "discriminator.safetensors")
    assert d(torch.zeros(1, 3, 16, 16)).shape == (1, 1)


def test_a_checkpoint_of_another_run_is_refused(world):
    config, paths, folder = world
    (folder / "run").mkdir()
    inputs = {**config, "data": paths["data"], "start": None}
    TrainingState(config, "cpu").save(folder / "run" / "checkpoint.pt", inputs)
    TrainingState(config, "cpu").load(
        folder / "run" / "checkpoint.pt", {**inputs, "minutes": 9, "note": "", "log_seconds": 1}
    )
    with pytest.raises(ValueError, match=r"Different: lr: 0\.0025 there, 0\.1 asked; start: None there, 'x"):
        script.train(0, 1, {**config, "lr": 0.1}, {**paths, "start": "x.pt"})
    with pytest.raises(ValueError, match="Different: data: "):
        script.train(0, 1, config, {**paths, "data": 2 * paths["data"]})


def test_nan_leaves_the_last_good_checkpoint(world, monkeypatch):
    config, paths, folder = world
    run = TrainingState(config, "cpu")
    run.save(folder / "kept.pt", config)
    before = (folder / "kept.pt").read_bytes()
    with torch.no_grad():
        run.average.synthesis.constant.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match=r"average\.synthesis\.constant is not finite"):
        run.save(folder / "kept.pt", config)
    assert (folder / "kept.pt").read_bytes() == before
    (folder / "run").mkdir()
    monkeypatch.setattr(script.Training, "validate", lambda _: pytest.fail("logged, not yet tested"))
    nan = {"pixel": torch.tensor(float("nan"), requires_grad=True)}
    monkeypatch.setattr(script, "reconstruction_loss", lambda *_: dict(nan))
    with pytest.raises(FloatingPointError, match=r"diverged at step 0: .*pixel"):
        script.train(0, 1, config, paths)
    assert not (folder / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize("size", [64, 128])
def test_the_size_comes_from_the_world(size, tmp_path):
    text = (ROOT / "pretrain" / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("size: 64", f"size: {size}"))
    options = {"params": tmp_path / "params.yaml", "phase": "paired", "minutes": 1, "fp32": False, "note": ""}
    options |= {"log_seconds": 1, "save_seconds": 1}
    config = script.read_config(argparse.Namespace(**options, set=["lr=0.5"]))
    assert (config["size"], config["lr"], list(config["stages"])[-1]) == (size, 0.5, size)
    assert script.read_config(argparse.Namespace(**options, set=["size=32"]))["stages"] == {16: 0.1, 32: 0.2}
    with pytest.raises(ValueError, match="unknown key of the section generator 'lrr'; the nearest is 'lr'"):
        script.read_config(argparse.Namespace(**options, set=["lrr=0.5"]))


def test_gradients_are_averaged_in_place():
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    network(torch.ones(1, 2)).sum().backward()
    network[1].bias.grad = None  # as of what a small picture does not pass
    before = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    script.average_gradients(network, SimpleNamespace(size=2, mean=lambda value: value / 2))
    after = [p.grad for p in network.parameters() if p.grad is not None]
    for old, new in zip(before, after, strict=True):
        assert torch.equal(new, old / 2)
