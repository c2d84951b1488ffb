from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from toy_evaluator import toy_evaluator
from toy_world import CONFIG

from hfld.config import load_profile
from hfld.editors import LinearEditor
from hfld.evaluation.sweeps import (
    CURVE_QUANTITIES,
    DOUBLED,
    agreement,
    choose_weight,
    evaluate_trainings,
    further_training,
    kept_change,
    over_trainings,
    spread,
    sweep_landmark_weight,
    train_variants,
    variants,
    weights_around,
)
from hfld.losses import weight_for_pixel

SHORT = replace(CONFIG, steps=60, lr=0.05, batch=16)
NAMES = ("Attractive", "5_o_Clock_Shadow")


@pytest.fixture(scope="module")
def evaluator():
    return toy_evaluator(exact=False)


def test_a_heavier_landmark_term_moves_less(tmp_path, evaluator):
    validation = evaluator.latents(16, seed=1, split="validation")
    # H of the toy world follows coordinate 0, which is the shadow's own: the weight stops that edit.
    config = replace(SHORT, lambda_landmark=weight_for_pixel(300.0))
    rows = sweep_landmark_weight(config, evaluator, validation, NAMES, run_dir=tmp_path, progress=False)
    assert set(rows["quantity"]) == {"target_change", "landmark_drift_px", "emotion_tvd"}
    assert set(rows["per_pixel"]) == {0.0, 30.0, 100.0, 300.0, 1000.0}
    change = rows[(rows["quantity"] == "target_change") & (rows["attribute"] == "5_o_Clock_Shadow")]
    values = change.set_index("per_pixel")["value"]
    assert values[1000.0] < 0.5 * values[0.0]
    assert (rows["n"] == 16).all()
    np.testing.assert_allclose(rows["weight"], [weight_for_pixel(value) for value in rows["per_pixel"]])


def test_variants_differ_in_the_seed_or_in_the_steps_alone():
    configs = variants(SHORT, seeds=(1, 2))
    assert list(configs) == ["seed 1", "seed 2", DOUBLED]
    assert replace(configs["seed 2"], seed=1) == configs["seed 1"] == replace(SHORT, seed=1)
    assert replace(configs["twice the steps"], steps=SHORT.steps) == configs["seed 1"]


def test_trainings_are_repeated_and_their_spread_is_told(tmp_path, evaluator):
    test = evaluator.latents(16, seed=1, split="test")
    validation = evaluator.latents(8, seed=1, split="validation", judged=False)
    configs = variants(SHORT, seeds=(1, 2))
    trainings = train_variants(configs, evaluator.models, run_dir=tmp_path, progress=False)
    rows = evaluate_trainings(trainings, evaluator, test, validation, NAMES[:1], resamples=50)
    assert set(rows["variant"]) == {"seed 1", "seed 2", DOUBLED}
    told = spread(rows)
    assert (told["trainings"] == 2).all()
    assert set(told["strength"]) == {"native", "matched"}
    chosen = (rows["method"] == "difference") & (rows["quantity"] == "landmark_drift_px")
    values = rows[chosen & (rows["strength"] == "native")].set_index("variant")["value"]
    told = told[(told["strength"] == "native") & (told["quantity"] == "landmark_drift_px")].iloc[0]
    assert told["mean"] == pytest.approx((values["seed 1"] + values["seed 2"]) / 2)
    assert told["doubled"] == values[DOUBLED]
    assert told["doubled_inside"] == (told["least"] <= told["doubled"] <= told["most"])
    assert told["lo"] < told["mean"] < told["hi"]


def test_agreement_is_between_different_seeds():
    one, other = torch.eye(2)
    directions = {"seed 1": one, "seed 2": other, "seed 3": one + other, DOUBLED: 3 * one}
    trainings = {
        name: {"baseline": LinearEditor(direction[None, None], ["Male"])}
        for name, direction in directions.items()
    }
    (row,) = agreement(trainings, ["Male"]).to_dict("records")
    assert (row["method"], row["attribute"]) == ("baseline", "Male")
    assert row["cosine"] == pytest.approx((0 + 2 * 0.5**0.5) / 3)
    assert row["doubled"] == pytest.approx((0 + 0.5**0.5) / 2)
    del trainings[DOUBLED]
    assert "doubled" not in agreement(trainings, ["Male"])


@pytest.mark.parametrize(("between", "latents"), [(1.0, 0.1), (1.0, 1.0), (0.1, 1.0)])
def test_intervals_cover_both_sources_of_chance(between, latents):
    """Trainings differ by `between` and share the error of the latents."""
    draws = np.random.default_rng(0)
    trainings = between * draws.normal(size=(2000, 4))
    shared = latents * draws.normal(size=(2000, 1))
    seen = trainings + shared
    intervals = np.array([over_trainings(row[:3], latents) for row in seen])
    covered = (intervals[:, 0] <= 0) & (intervals[:, 1] >= 0)
    assert 0.93 < covered.mean() < 0.99
    intervals = np.array([further_training(row[:3]) for row in seen])
    covered = (intervals[:, 0] <= seen[:, 3]) & (seen[:, 3] <= intervals[:, 1])
    assert 0.93 < covered.mean() < 0.97
    assert np.ptp(over_trainings(np.ones(3), latents)) == pytest.approx(2 * 1.96 * latents, rel=1e-3)


def test_a_sweep_lies_around_the_profiles_own_weight():
    for name, expected in (("portraits", [0, 0.03, 0.1, 0.3, 1]), ("ffhq256", [0, 0.3, 1, 3, 10])):
        assert weights_around(load_profile(name).directions) == expected


def test_the_rule_takes_the_heaviest_weight_before_the_edit_is_lost():
    changes = {0.0: (0.6, 0.4), 0.1: (0.5, 0.4), 0.3: (0.5, 0.3), 1.0: (0.2, 0.3), 3.0: (0.6, 0.4)}
    rows = pd.DataFrame(
        [
            {"per_pixel": weight, "attribute": f"A{i}", "quantity": quantity, "value": value}
            for weight, values in changes.items()
            for i, value in enumerate(values)
            for quantity in CURVE_QUANTITIES
        ]
    )
    np.testing.assert_allclose(kept_change(rows)["A0"], np.divide([0.6, 0.5, 0.5, 0.2, 0.6], 0.6))
    np.testing.assert_allclose(kept_change(rows)["A1"], [1.0, 1.0, 0.75, 0.75, 1.0])
    assert choose_weight(rows) == 0.3  # 1.0 lost one edit, 3.0 comes after it
    assert choose_weight(rows, keep=0.8) == 0.1
    with pytest.raises(ValueError, match="none is 0, the baseline"):
        choose_weight(rows[rows["per_pixel"] > 0])
