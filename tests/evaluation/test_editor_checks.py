"""What more/editors says about an editor, on the toy world."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import toy_editors
import toy_evaluator
from toy_evaluator import ToyEditor
from toy_world import fitted_editors, toy_models

from hfld.attributes import ATTRIBUTES
from hfld.config import load_profile
from hfld.editors import AdaTrans, NoEdit, StyleFlow
from hfld.evaluation.editor_checks import (
    FLAT,
    attributes_of,
    check_targets,
    curve,
    directions_table,
    fitting_profile,
    flattening,
    labels_table,
    report,
)


@pytest.fixture(scope="module")
def evaluator():
    return toy_evaluator.toy_evaluator()


@pytest.fixture(scope="module")
def validation(evaluator):
    return evaluator.latents(32, seed=1, split="validation", judged=False)


@pytest.fixture(scope="module")
def fitted():
    return fitted_editors(toy_models())


def losses(*means, part="flow", scatter=0.0, seed=0):
    """Rows of `watched`: a mean per time, of eight probes that differ."""
    draws = np.random.default_rng(seed)
    rows = [
        {"part": part, "step": step, "probe": probe, "total": mean + probe + scatter * draws.normal()}
        for step, mean in enumerate(means)
        for probe in range(8)
    ]
    return pd.DataFrame(rows)


def gain(*means):
    return flattening(losses(*means)).loc["flow", "gain"]


def test_a_loss_is_flat_when_its_end_brings_little():
    assert gain(10, 8, 6, 4, 2, 0) == pytest.approx(1 / 5)
    assert gain(10, 8, 6, 4, 2, 0) > FLAT
    assert gain(10, 2, 1, 1, 1, 1) == pytest.approx(0)
    assert 0 < gain(-1, -5, -6, -6, -6, -6.1) < FLAT  # likelihoods
    assert gain(10, 2, 1, 1, 1, 2) == pytest.approx(-1 / 8)  # rose at last
    assert gain(1, 2) == 1  # higher than it began
    assert gain(1, 1) == 0
    two = pd.concat([losses(5, 1, 1), losses(5, 4, 3, part="path")])
    assert list(flattening(two).index) == ["flow", "path"]
    assert flattening(losses().reindex(columns=["part", "step", "probe", "total"])).empty


def test_the_error_of_flattening_is_that_of_other_probes():
    found = pd.concat(flattening(losses(10, 4, 1, scatter=0.3, seed=seed)) for seed in range(300))
    assert found["error"].mean() == pytest.approx(found["gain"].std(), rel=0.15)
    assert flattening(losses(10, 4, 1)).loc["flow", "error"] == pytest.approx(0)  # probes fall alike


def test_every_editor_has_a_curve(fitted):
    trained = curve(toy_editors.fitted(StyleFlow))
    assert set(trained["part"]) == {"flow"}
    assert trained["step"].is_monotonic_increasing
    assert set(curve(toy_editors.fitted(AdaTrans))["part"]) == {"density", "path"}
    for editor in fitted.values():
        assert {"part", "step", "total"} <= set(curve(editor))
        assert len(curve(editor)) >= 12
    assert curve(NoEdit()).empty


def test_an_editor_that_moves_its_target_passes(evaluator, validation):
    checks = check_targets(evaluator, validation, ToyEditor(gain=3.0, drag=0), ("Bald",), least=0.3)
    (row,) = checks.to_dict("records")
    assert row["moves"]
    assert (row["factor"], row["reason"]) == (1.0, "")
    assert row["native"] == row["best"] >= 0.3


@pytest.mark.parametrize(
    ("gain", "attribute", "moves", "reason"),
    [
        (0.8, "Bald", True, "at 2 times its own strength"),
        (0.05, "Bald", False, "too weak"),
        (0.0, "Blurry", False, "hardly draws it"),  # nothing in the toy world reads as Blurry
    ],
)
def test_what_moves_too_little_gets_its_reason(evaluator, validation, gain, attribute, moves, reason):
    class One:
        def edit(self, ws, name, strength):
            return ToyEditor(gain=gain, drag=0).edit(ws, "Bald", strength)

    checks = check_targets(evaluator, validation, One(), (attribute,), least=0.3)
    (row,) = checks.to_dict("records")
    assert row["moves"] == moves
    assert reason in row["reason"]


def test_fooling_the_regressor_is_told_apart(evaluator, validation, monkeypatch):
    editor = ToyEditor(gain=3.0, drag=0)
    monkeypatch.setattr(type(evaluator), "mean_change", lambda *_: 0.9)
    monkeypatch.setattr(type(evaluator), "tuned_change", lambda *_: lambda factor: 0.05 * factor)
    (row,) = check_targets(evaluator, validation, editor, ("Bald",), least=0.3).to_dict("records")
    assert row["reason"] == "moves the regressor by 0.90, an independent judge by 0.20 at most"
    assert row["factor"] == 4


def test_a_person_can_list_what_direction_i_does(fitted):
    found = directions_table(fitted["ganspace"], most=2)
    assert len(found) == 12
    first = fitted["ganspace"].describe(0)[0]
    assert found.loc[0, "does"].startswith(f"{first[0]} {first[1]:+.2f}, ")
    labels = labels_table(fitted["ganspace"]).set_index("attribute")
    assert labels.loc["Attractive", "direction"] == fitted["ganspace"].label("Attractive").direction
    assert directions_table(fitted["interfacegan"]).empty


def test_the_report_is_plain_json(evaluator, validation, fitted):
    for editor in (fitted["sefa"], toy_editors.fitted(StyleFlow)):
        checks = check_targets(evaluator, validation, editor, ("Attractive",), least=2.0)
        found = json.loads(json.dumps(report("x", editor, checks, seconds=1.234), allow_nan=False))
        assert found["seconds"] == 1.2
        assert found["failing"].keys() == {"Attractive"}
        assert found["moves"] == []
        assert found["targets"][0]["attribute"] == "Attractive"
    assert [row.keys() for row in found["flattening"]] == [{"part", "gain", "error"}]
    assert [row["step"] for row in found["losses"]] == [0, 24, 48, 72, 96, 120]


def test_networks_learn_the_attributes_of_the_tables():
    profile = load_profile("smoke")
    full = replace(profile, editors=replace(profile.editors, schedule="full"))
    assert fitting_profile(profile).directions.attributes == profile.tables.attributes
    assert fitting_profile(full).directions.attributes == profile.directions.attributes == "all"
    assert attributes_of("all") == ATTRIBUTES
    assert attributes_of(["Male"]) == ("Male",)
