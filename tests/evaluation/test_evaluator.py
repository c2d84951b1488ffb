from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_evaluator import toy_editors, toy_evaluator, toy_judges
from toy_world import toy_models

from hfld.attributes import ATTRIBUTES, REGIONS, attribute_index
from hfld.evaluation.evaluator import Evaluator, curves, evaluate, reportable
from hfld.evaluation.judges import Judges, Readings, check_independent, exact_head, read, state_hash
from hfld.evaluation.matching import find_factor, match_strengths
from hfld.evaluation.quantities import (
    cosine,
    pair_quantities,
    pixel_errors,
    procrustes,
    same_label,
    total_variation,
)
from hfld.evaluation.rows import estimate, finish, paper_values, rows_of
from hfld.evaluation.stats import resampling_counts

NAMES = ["Bald", "Bags_Under_Eyes"]


@pytest.fixture(scope="module")
def evaluator():
    return toy_evaluator()


@pytest.fixture(scope="module")
def results(evaluator):
    test = evaluator.latents(48, seed=1, split="test")
    validation = evaluator.latents(32, seed=1, split="validation", judged=False)
    return evaluate(evaluator, test, toy_editors(), NAMES, validation=validation, resamples=200)


def cell(rows, attribute, method, quantity, strength="native"):
    found = rows.query(
        "attribute == @attribute and method == @method and quantity == @quantity and strength == @strength"
    )
    assert len(found) == 1
    return found.iloc[0]


def test_judges_must_be_independent():
    models = toy_models()
    judges = toy_judges(models)
    check_independent(judges, models.networks())
    guilty = Judges(**{**judges.named(), "attributes": models.regressor})
    with pytest.raises(ValueError, match="judge 'attributes' is the training network 'regressor'"):
        Evaluator(models, guilty, size=8)
    same = Judges(**{**judges.named(), "tuning": judges.attributes})
    with pytest.raises(ValueError, match="never tunes strengths"):
        check_independent(same, {})
    assert state_hash(models.regressor) != state_hash(judges.attributes)


def test_last_layer_stays_in_float32():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 64), torch.nn.Linear(64, 212))
    images = torch.rand(4, 3, 4, 4)
    context = lambda: torch.autocast("cpu", dtype=torch.bfloat16)  # noqa: E731
    with context(), torch.inference_mode():
        coarse = network(images)
    fine = read(network, images, context)
    assert coarse.dtype == torch.bfloat16
    assert fine.dtype == torch.float32
    assert (fine != fine.bfloat16().float()).float().mean() > 0.9  # no longer on bfloat16's grid
    with exact_head(network):
        pass
    assert not network[2]._forward_hooks


def test_procrustes_removes_a_similarity_and_nothing_else():
    points = np.random.default_rng(0).random((3, 106, 2))
    angle = 0.3
    turn = 1.2 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(procrustes(points @ turn.T + [0.1, -0.2], points), points, atol=1e-9)
    mirrored = points * [-1, 1]
    assert np.abs(procrustes(mirrored, points) - points).max() > 0.05


def readings_of(n=2, **changes):
    base = {
        "scores": np.full((n, 40), 0.2),
        "emotions": np.tile([10.0, 0, 0, 80, 0, 0, 10], (n, 1)),
        "landmarks": np.random.default_rng(0).random((n, 106, 2)),
        "identity": np.tile([1.0, 0.0], (n, 1)),
    }
    return Readings(**{**base, **changes})


def test_quantities_by_hand():
    k, other = attribute_index("Male"), attribute_index("Young")
    scores = np.full((2, 40), 0.2)
    scores[:, k], scores[:, other] = 0.9, 0.1
    emotions = np.tile([10.0, 0, 0, 40, 0, 0, 50], (2, 1))
    zero = readings_of()
    landmarks = zero.landmarks + 0.0
    landmarks[:, list(REGIONS["mouth"])] += [3 / 64, 4 / 64]
    one = readings_of(
        scores=scores, emotions=emotions, landmarks=landmarks, identity=np.tile([1.0, 1.0], (2, 1))
    )
    values = pair_quantities("Male", zero, zero, one, size=64)
    np.testing.assert_allclose(values["target_change"], 0.7)
    np.testing.assert_allclose(values["change:Young"], 0.1)
    np.testing.assert_allclose(values["signed:Young"], -0.1)
    np.testing.assert_allclose(values["other_attributes"], 0.1 / 39)
    np.testing.assert_allclose(values["emotion:happy"], 40)
    np.testing.assert_allclose(values["emotion_tvd"], 40)
    assert values["label_keep"].tolist() == [0, 0]
    assert values["success"].tolist() == [1, 1]
    np.testing.assert_allclose(values["landmark_drift_px:mouth"], 5)
    np.testing.assert_allclose(values["landmark_drift_px"], 5 * 20 / 106)
    np.testing.assert_allclose(values["landmark_drift_px:nose"], 0)
    np.testing.assert_allclose(values["identity_cosine"], 2**-0.5)
    np.testing.assert_allclose(values["landmark_drift_px_from_original"], 2.5 * 20 / 106)


def test_missing_emotions_are_nan_not_kept():
    emotions = np.full((2, 7), np.nan)
    assert np.isnan(same_label(emotions, readings_of().emotions)).all()
    assert np.isnan(total_variation(emotions, emotions)).all()
    np.testing.assert_allclose(cosine(np.ones((1, 3)), -np.ones((1, 3))), -1)


NEEDS = {
    "scores": ("target", "score_at", "success", "signed", "change", "other", "preservation"),
    "emotions": ("emotion", "label_keep"),
    "landmarks": ("landmark",),
    "identity": ("identity",),
}
"""How the quantities begin that need each reading."""


@pytest.mark.parametrize("reading", NEEDS)
@pytest.mark.parametrize("side", ["zero", "one"])
def test_a_failed_reading_drops_the_pair_from_all_that_needs_it(reading, side):
    failed = getattr(readings_of(3), reading).copy()
    failed[1] = np.nan
    pair = {"zero": readings_of(3), "one": readings_of(3), side: readings_of(3, **{reading: failed})}
    values = pair_quantities("Male", readings_of(3), size=64, **pair)
    del values["score_at_1" if side == "zero" else "score_at_0"]  # the other image's own
    assert any(name.startswith(NEEDS[reading]) for name in values)
    for name, value in values.items():
        assert np.isnan(value).tolist() == [False, name.startswith(NEEDS[reading]), False], name


class Detecting(torch.nn.Module):
    """An emotion judge that finds no face where the first pixel is dark, and remembers where."""

    def __init__(self, network):
        super().__init__()
        self.network, self.failed = network, []

    def forward(self, images):
        self.failed.append(images[:, 0, 0, 0] < -0.2)
        return self.network(images).masked_fill(self.failed[-1][:, None], torch.nan)


def test_failed_detections_drop_the_pair_and_are_counted():
    evaluator = toy_evaluator(exact=False)
    detecting = Detecting(evaluator.judges.emotion)
    evaluator = replace(evaluator, judges=Judges(**{**evaluator.judges.named(), "emotion": detecting}))
    test = evaluator.latents(24, seed=1, split="test")
    rows, _ = evaluate(evaluator, test, toy_editors(), ["Bald"], resamples=50)
    original, *edits = torch.cat(detecting.failed).reshape(-1, 24)  # then x0 and x1 of each editor
    baseline, hfld = edits[0] | edits[1], edits[2] | edits[3]
    lost = {"none": original, "baseline": baseline, "hfld": hfld, "difference": baseline | hfld}
    for method, missing in lost.items():
        for quantity in ("emotion_tvd", "emotion:happy", "label_keep"):
            found = cell(rows, "Bald", method, quantity)
            assert 0 < found.dropped == missing.sum() < 24
            assert found.n == 24 - found.dropped
            assert np.isfinite([found.value, found.lo, found.hi]).all()
        assert cell(rows, "Bald", method, "landmark_drift_px").dropped == 0


def test_pixel_errors_do_not_wrap():
    black, white = (np.full((1, 2, 2, 3), value, np.uint8) for value in (0, 255))
    assert pixel_errors(white, black, white, black).tolist() == [0]
    assert pixel_errors(white, black, black, white).tolist() == [510]


def test_ratio_is_the_ratio_of_means_and_joint():
    generator = np.random.default_rng(0)
    signed = generator.normal(size=(60, 40))
    values = {f"signed:{name}": signed[:, j] for j, name in enumerate(ATTRIBUTES)}
    values |= {f"change:{name}": np.abs(signed[:, j]) for j, name in enumerate(ATTRIBUTES)}
    names, estimates = estimate(values, "Male", resampling_counts(60, resamples=50))
    at = names.index
    k = attribute_index("Male")
    assert estimates.value[at("ratio:Male")] == 1
    assert (estimates.draws[:, at("ratio:Male")] == 1).all()
    expected = np.abs(signed[:, 39]).mean() / np.abs(signed[:, k]).mean()
    np.testing.assert_allclose(estimates.value[at("ratio:Young")], expected)
    expected = abs(signed[:, 39].mean()) / abs(signed[:, k].mean())
    np.testing.assert_allclose(estimates.value[at("ratio_abs_mean:Young")], expected)


def test_find_factor():
    seen = []

    def change(factor):
        seen.append(factor)
        return np.tanh(2 * factor)

    limits = {"tolerance": 1e-3, "cap": 4.0, "evaluations": 8}
    factor, reached = find_factor(change, native=np.tanh(2), goal=0.5, **limits)
    assert abs(reached - 0.5) <= 1e-3
    assert factor == pytest.approx(np.arctanh(0.5) / 2, abs=1e-3)
    assert len(seen) <= 8
    factor, _ = find_factor(lambda f: -0.1 * f, native=-0.1, goal=0.25, **limits)
    assert factor == pytest.approx(-2.5, abs=0.02)  # a direction without a sign is turned
    factor, reached = find_factor(lambda f: 0.01 * f, native=0.01, goal=0.5, **limits)
    assert (factor, reached) == (4.0, 0.04)  # out of reach: the closest
    peaked = {1.0: 0.5, 2.0: 0.04, 0.5: 0.825, 0.25: 0.4}
    factor, reached = find_factor(
        lambda f: np.interp(f, [0, *sorted(peaked)], [0, *(peaked[key] for key in sorted(peaked))]),
        native=0.5, goal=0.573, **limits,
    )  # fmt: skip
    assert 0.25 < factor < 0.5  # past its peak: the smaller of the two factors
    assert abs(reached - 0.573) <= 1e-3
    steep = lambda f: 1 / (1 + np.exp(-40 * (f - 0.4))) - 1 / (1 + np.exp(16))  # noqa: E731
    _, reached = find_factor(steep, native=steep(1), goal=0.57, **limits | {"evaluations": 16})
    assert abs(reached - 0.57) <= 1e-3


def test_matching_reports_failure():
    changes = {"baseline": lambda f: 0.6 * f, "hfld": lambda f: 0.3 * f, "random": lambda f: 1e-3 * f}
    found = match_strengths(changes, attribute="Male", reference=("baseline", "hfld"))
    assert found["hfld"].factor == 1
    assert found["baseline"].factor == pytest.approx(0.5, abs=0.02)
    assert found["random"].failed
    assert "closest change" in found["random"].reason
    stuck = match_strengths(
        {"baseline": lambda f: 0.0, "hfld": lambda f: f}, attribute="Male", reference=("baseline", "hfld")
    )
    assert stuck["hfld"].failed
    assert "does not move" in stuck["hfld"].reason
    with pytest.raises(ValueError, match="none of the reference methods"):
        match_strengths({"sefa": lambda f: f}, attribute="Male", reference=("baseline", "hfld"))


def test_matched_methods_reach_the_same_change(results):
    rows, matches = results
    for attribute in NAMES:
        weak, strong = (
            cell(rows, attribute, m, "target_change", "matched").value for m in ("hfld", "baseline")
        )
        assert weak == pytest.approx(strong, abs=0.05)
        assert weak > 0.2
        native = cell(rows, attribute, "baseline", "target_change").value
        assert native > strong  # baseline is the stronger one, and was scaled down
    table = matches.set_index(["attribute", "method"])
    assert table.loc[("Bald", "hfld"), "factor"] == 1
    assert table.loc[("Bald", "baseline"), "factor"] < 1
    assert table.loc[("Bald", "random"), "factor"] < 0
    assert (table["test_residual"].abs() < 0.06)[~table["failed"]].all()
    assert table.loc[("Bags_Under_Eyes", "random"), "failed"]


def test_rows_have_the_mandatory_methods_and_columns(results):
    rows, _ = results
    assert list(rows.columns) == [
        *("strength", "attribute", "method", "quantity", "value", "lo", "hi", "n", "dropped", "p", "p_holm"),
        "paper",
    ]
    assert set(rows.method) == {
        *("baseline", "hfld", "random", "none", "oracle", "floor", "difference", "relative")
    }
    known = rows.dropna(subset=["value"])
    assert (known.lo <= known.hi).all()
    assert set(rows.strength) == {"native", "matched"}
    assert (rows.n + rows.dropped == 48).all()


def test_no_edit_changes_nothing_and_the_oracle_is_exact(results):
    rows, _ = results
    for quantity in ("target_change", "emotion_tvd", "landmark_drift_px"):
        assert cell(rows, "Bald", "none", quantity).value == 0
    assert cell(rows, "Bald", "none", "label_keep").value == 1
    for method in ("oracle", "floor"):
        assert cell(rows, "Bald", method, "target_change").value > 0.8
        assert cell(rows, "Bald", method, "counterfactual_landmark_px").value < 0.05
        assert cell(rows, "Bald", method, "counterfactual_pixel").value < 0.5
    assert cell(rows, "Bald", "baseline", "counterfactual_pixel").value > 1


def test_difference_is_paired_and_has_a_holm_family(results):
    rows, _ = results
    for quantity in ("emotion_tvd", "landmark_drift_px"):
        a, b = (cell(rows, "Bald", method, quantity, "matched").value for method in ("baseline", "hfld"))
        found = cell(rows, "Bald", "difference", quantity, "matched")
        assert found.value == pytest.approx(b - a)
        assert found.hi < 0
        assert found.p <= found.p_holm < 0.05
        assert cell(rows, "Bald", "relative", quantity, "matched").value == pytest.approx(100 * (b - a) / a)


def test_hidden_attributes_are_not_scored(results):
    rows, _ = results
    found = cell(rows, "Bald", "baseline", "ratio:Bangs")  # Bald = 1 (coordinate at 2) hides Bangs everywhere
    assert found.n == 0
    assert found.dropped == 48
    assert np.isnan(found.value)
    assert 0 < cell(rows, "Bags_Under_Eyes", "baseline", "ratio:Bangs").n < 48


def test_paper_column(results):
    rows, _ = results
    assert cell(rows, "Bald", "baseline", "ratio:Smiling").paper == 0.32
    assert cell(rows, "Bald", "hfld", "emotion:happy", "matched").paper == 16.56
    assert np.isnan(cell(rows, "Bald", "random", "emotion:happy").paper)
    paper = paper_values()
    assert len(paper) == 94
    assert not paper.duplicated(["attribute", "method", "quantity"]).any()
    happy = paper.query("attribute == 'Black_Hair' and quantity == 'emotion:happy'").set_index("method").value
    assert round(1 - happy.hfld / happy.baseline, 2) == 0.49  # the paper's headline of 49 %


def test_same_seed_same_rows(evaluator, results):
    test = evaluator.latents(48, seed=1, split="test")
    again, _ = evaluate(evaluator, test, toy_editors(), NAMES[:1], resamples=200)
    first = results[0].query("attribute == 'Bald' and strength == 'native'")
    columns = ["method", "quantity", "value", "lo", "hi", "n"]
    assert again[columns].equals(first[columns].reset_index(drop=True))


def test_overlapping_latents_and_unknown_names_are_refused(evaluator):
    test = evaluator.latents(8, seed=1, split="test")
    with pytest.raises(ValueError, match="overlap"):
        evaluate(evaluator, test, toy_editors(), NAMES, validation=test[:4])
    with pytest.raises(ValueError, match="'Bold'; the nearest is 'Bald'"):
        evaluate(evaluator, test, toy_editors(), ["Bold"])


def test_latents_that_cannot_be_judged_are_named(evaluator):
    with pytest.raises(ValueError, match="n: 0 latents"):
        evaluator.latents(0, seed=1, split="test")
    unjudged = evaluator.latents(3, seed=1, split="test", judged=False)
    with pytest.raises(ValueError, match="judged=True"):
        evaluate(evaluator, unjudged, {}, ["Male"])
    assert len(unjudged[1:2]) == 1 and torch.equal(unjudged[1:2].ws, unjudged.ws[1:2])
    assert len(repr(unjudged)) < 200


def test_reportable_needs_an_oracle_that_moves_the_judge(results):
    rows, _ = results
    names, table = reportable(rows)
    assert names == NAMES
    assert table.reportable.all()
    names, table = reportable(rows, threshold=0.99)
    assert names == []
    assert "not more than 0.99" in table.reason.iloc[0]


def test_photographs_have_no_oracle():
    evaluator = toy_evaluator(exact=False)
    test = evaluator.latents(12, seed=1, split="test")
    rows, matches = evaluate(evaluator, test, toy_editors(), ["Bald"], resamples=20)
    assert set(rows.method) == {"baseline", "hfld", "random", "none", "difference", "relative"}
    assert not rows.quantity.str.startswith("counterfactual").any()
    assert matches.empty
    assert reportable(rows)[0] == ["Bald"]


def test_curves_rise_with_the_strength(evaluator):
    test = evaluator.latents(16, seed=1, split="test")
    found = curves(evaluator, test, toy_editors(), ["Bald"], factors=(0.5, 1.0), resamples=20)
    drift = found.query("method == 'baseline' and quantity == 'landmark_drift_px'").set_index("factor").value
    assert drift[1.0] > drift[0.5] > 0


def test_rows_drop_a_latent_from_both_methods():
    generator = np.random.default_rng(0)
    values = {f"{kind}:{name}": generator.random(9) for name in ATTRIBUTES for kind in ("signed", "change")}
    first, second = ({**values, "emotion_tvd": generator.random(9)} for _ in range(2))
    second["emotion_tvd"][0] = np.nan
    counts = resampling_counts(9, resamples=20)
    rows = finish(
        rows_of({"baseline": first, "hfld": second}, attribute="Male", strength="native", counts=counts)
    )
    found = cell(rows, "Male", "difference", "emotion_tvd")
    assert found.dropped == 1
    assert found.value == pytest.approx((second["emotion_tvd"] - first["emotion_tvd"])[1:].mean())


def test_portrait_world_knows_its_truth():
    from hfld.portraits.parameters import decode, sample
    from hfld.portraits.world import PortraitWorld

    world, z = PortraitWorld(size=64, workers=1), sample(3, 5)
    truth = world.truth(world.counterfactual(z, "Bald", 1.0))
    assert truth.images.shape == (3, 64, 64, 3)
    assert truth.landmarks.shape == (3, 106, 2)
    assert truth.labels[:, attribute_index("Bald")].all()
    assert ((truth.strengths > 0.5) == truth.labels).all()
    assert not truth.visible[:, attribute_index("Bangs")].any()
    np.testing.assert_allclose(truth.emotions, decode(z).emotions, atol=1e-3)  # an edit keeps the expression
    np.testing.assert_allclose(truth.emotions.sum(1), 100, atol=1e-3)
