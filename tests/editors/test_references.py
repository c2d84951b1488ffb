"""Checkpoints in the references' layouts become editors: files of random numbers at toy size."""

import pickle

import pytest
import reference_states
import torch
from reference_states import ROWS, C, D
from torch import nn

from hfld.editors import AdaTrans, SDFlow, StyleFlow, editor_file, make_editor
from hfld.editors.reference_keys import trajectory_from_reference
from hfld.editors.references import (
    adatrans_from_reference,
    flow_of_reference,
    sdflow_from_reference,
    styleflow_from_reference,
)
from hfld.networks.resnet import ResNet
from hfld.networks.trajectory import Trajectory

NAMES = ("Eyeglasses", "Male", "Young")


class Models:
    """Pictures of latents, and their scores."""

    device, hashes = "cpu", {}

    def images(self, ws):
        return ws.mean(dim=1).repeat(1, 3 * 16 * 4)[:, : 3 * 16 * 16].reshape(-1, 3, 16, 16).sigmoid()

    def score(self, ws):
        return ws.mean(dim=1).repeat(1, 10).sigmoid()

    def chunk(self, most):
        return most


@pytest.fixture
def files(tmp_path):
    """name -> file; numbers are saved as the references do, in float32 and through DataParallel."""
    torch.manual_seed(0)
    estimator = ResNet(depth=34, width=4, outputs=C).eval()
    states = {
        "flow": reference_states.flow_state(),
        "density": reference_states.density_state(),
        "trajectory": {f"module.{k}": v for k, v in reference_states.trajectory_state().items()},
        "encoder": {f"backbone.{k}": v for k, v in estimator.state_dict().items()},
    }
    found = {}
    for name, state in states.items():
        found[name] = tmp_path / name
        single = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        torch.save(single, found[name])
    return found


@pytest.fixture
def ws():
    return torch.randn(3, ROWS, D, generator=torch.Generator().manual_seed(1))


def test_styleflow_edits_with_the_references_flow(files, ws, tmp_path):
    target = editor_file(tmp_path, "styleflow")
    editor = styleflow_from_reference(files["flow"], target, attributes=NAMES, rows=ROWS, models=Models())
    assert isinstance(editor, StyleFlow)
    flow = flow_of_reference(files["flow"])
    condition = Models().score(ws)[:, editor.columns]
    moved = condition.clone()
    moved[:, 1] += 1.5 * 0.5  # the reference's factor for the gender
    expected = flow.inverse(flow(ws, condition), moved)
    torch.testing.assert_close(editor.edit(ws, "Male", 0.5), expected, atol=1e-4, rtol=1e-4)
    again = make_editor("styleflow", weights=tmp_path, models=Models())
    assert torch.equal(again.edit(ws, "Male", 0.5), editor.edit(ws, "Male", 0.5))
    assert not torch.allclose(editor.edit(ws, "Male", 0.5), ws)


def test_sdflow_reads_pictures_with_the_references_estimator(files, ws, tmp_path):
    target = editor_file(tmp_path, "sdflow")
    editor = sdflow_from_reference(files["flow"], files["encoder"], target, rows=ROWS, models=Models())
    assert isinstance(editor, SDFlow)
    estimator = ResNet(depth=34, width=4, outputs=C, sigmoid=True).eval()
    state = torch.load(files["encoder"], weights_only=True)
    estimator.load_state_dict({k.removeprefix("backbone."): v for k, v in state.items()})
    with torch.no_grad():
        condition = estimator(Models().images(ws))
        torch.testing.assert_close(editor.condition(ws), condition)
        flow = flow_of_reference(files["flow"])
        moved = condition + torch.tensor([0.0, 0.5, 0.0])
        expected = flow.inverse(flow(ws, condition), moved)
    torch.testing.assert_close(editor.edit(ws, "Male", 0.5), expected, atol=1e-4, rtol=1e-4)


def test_adatrans_walks_the_references_path(files, ws, tmp_path):
    target = editor_file(tmp_path, "adatrans")
    editor = adatrans_from_reference(files["trajectory"], target, density=files["density"], models=Models())
    assert isinstance(editor, AdaTrans)
    assert (editor.shape, editor.config.blocks, editor.config.hidden) == ((ROWS, D), 2, 5)
    condition = Models().score(ws)[:, editor.columns]
    condition[:, 1] = 1
    network = Trajectory(rows=ROWS, w_dim=D, condition=C, hidden=5, blocks=2).eval()
    state = torch.load(files["trajectory"], weights_only=True)
    network.load_state_dict(trajectory_from_reference(state))
    with torch.no_grad():
        path = ws + network(ws, condition, 10)  # the reference's number of steps
    torch.testing.assert_close(editor.edit(ws, "Male", 1.0), path[-1])
    assert editor.log_density(ws).isfinite().all()
    bare = adatrans_from_reference(files["trajectory"], target, models=Models())
    torch.testing.assert_close(bare.edit(ws, "Male", 1.0), path[-1])
    assert bare.log_density(ws).isnan().all()  # nobody said how likely anything is


def test_the_condition_must_be_named(files, tmp_path):
    with pytest.raises(
        ValueError, match=r"attributes must name the 3 numbers of the condition in .*flow, not 2"
    ):
        styleflow_from_reference(files["flow"], tmp_path / "x", attributes=NAMES[:2])
    with pytest.raises(ValueError, match="nearest"):
        adatrans_from_reference(files["trajectory"], tmp_path / "x", attributes=("Male", "Young", "Glasses"))
    assert not (tmp_path / "x").exists()


def test_other_files_are_refused_by_name(files, tmp_path):
    with pytest.raises(FileNotFoundError, match="gone is missing"):
        flow_of_reference(tmp_path / "gone")
    with pytest.raises(ValueError, match="density is no checkpoint of this reference: unknown key"):
        flow_of_reference(files["density"])
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "linear")
    with pytest.raises(ValueError, match="linear is no checkpoint"):
        adatrans_from_reference(tmp_path / "linear", tmp_path / "x")
    state = torch.load(files["flow"], weights_only=True)
    del state["chain.0.weight"]
    torch.save(state, tmp_path / "part")
    with pytest.raises(ValueError, match="do not hold all of StyleFlow"):
        styleflow_from_reference(tmp_path / "part", tmp_path / "x", attributes=NAMES)
    assert not (tmp_path / "x").exists()


def test_a_hostile_file_is_refused_and_runs_nothing(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    (tmp_path / "hostile").write_bytes(pickle.dumps({"chain.0.weight": Hostile()}))
    with pytest.raises(ValueError, match="hostile is no checkpoint of this reference"):
        flow_of_reference(tmp_path / "hostile")
    assert not (tmp_path / "touched").exists()
