"""What the editor takes from a profile's files: networks, editors, the expression lock, hashes."""

from dataclasses import replace

import pytest
import torch
from toy_evaluator import toy_judges
from toy_studio import toy_editor
from toy_world import toy_models

from hfld.checkpoints import sha256
from hfld.config import load_profile
from hfld.editors import ExpressionLock, LinearEditor
from hfld.evaluation.judges import Judges
from hfld.models import Models
from hfld.studio import engine as module
from hfld.studio.engine import Engine, offered
from hfld.studio.state import Source, State

MOVED = State(source=Source.of_seed(8), editor="hfld").with_target("Arched_Eyebrows", 0.9)


class Made:
    """What was loaded, and with which networks."""

    def __init__(self) -> None:
        self.models: dict[str, Models | None] = {}

    def editor(self, name, *, weights, seed=0, models=None) -> LinearEditor:
        self.models[name] = models
        return toy_editor(drag=0.5)


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """A profile in an empty folder, whose networks are the toy world's."""
    made = Made()

    def load(folder, *, landmarks=None, **options):
        models = toy_models(landmarks=landmarks is not None)
        models.hashes = {name: f"{name} of a file" for name in models.networks()}
        return models

    monkeypatch.setattr(Models, "load", load)
    monkeypatch.setattr(Judges, "of", lambda profile: toy_judges(toy_models()))
    monkeypatch.setattr(module, "world_of", lambda profile: None)
    monkeypatch.setattr(module, "make_editor", made.editor)
    profile = replace(load_profile("smoke"), root=tmp_path)
    profile.paths.weights.mkdir(parents=True)
    return profile, made


def test_the_lock_is_offered_where_h_is_trained(profile):
    profile, _ = profile
    engine = Engine.from_profile(profile, ["hfld"])
    assert engine.lock_expression is None and "landmarks" not in engine.weights
    (profile.paths.weights / "landmarks.safetensors").write_bytes(b"H")
    engine = Engine.from_profile(profile, ["hfld"])
    assert engine.weights["landmarks"] == "landmarks of a file"
    lock = engine.lock_expression(engine.editors["hfld"])
    assert isinstance(lock, ExpressionLock)
    assert lock.steps == profile.benchmark.lock_steps
    free = engine.result(MOVED)
    locked = engine.result(replace(MOVED, expression_lock=True))
    points = [engine.models.points(engine.models.images(ws)) for ws in
              (engine.original(MOVED.source).ws, free.ws, locked.ws)]  # fmt: skip
    assert (points[2] - points[0]).abs().max() < 0.2 * (points[1] - points[0]).abs().max()
    assert not torch.equal(locked.ws, engine.original(MOVED.source).ws)


def test_editors_that_read_images_get_the_networks_and_their_files_are_hashed(profile):
    profile, made = profile
    for file in ("directions_hfld", "editor_adatrans"):
        (profile.paths.weights / f"{file}.safetensors").write_bytes(file.encode())
    engine = Engine.from_profile(profile, ["hfld", "adatrans"])
    assert made.models["adatrans"] is engine.models
    for file, name in (("directions_hfld", "hfld"), ("editor_adatrans", "adatrans")):
        assert engine.weights[name] == sha256(profile.paths.weights / f"{file}.safetensors")


def test_all_editors_whose_files_exist_are_offered_hfld_and_baseline_first(profile):
    profile, _ = profile
    assert offered(profile) == ("hfld", "baseline")  # what makes them is said when they are missing
    for file in ("editor_interfacegan", "directions_hfld_w", "directions_baseline", "editor_sdflow_hfld"):
        (profile.paths.weights / f"{file}.safetensors").write_bytes(b"")
    names = offered(profile)
    assert names[:2] == ("hfld", "baseline")
    assert sorted(names[2:]) == ["hfld_w", "interfacegan", "sdflow_hfld"]
