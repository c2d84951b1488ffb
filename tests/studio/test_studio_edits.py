from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from toy_evaluator import ToyTruth
from toy_studio import NAMES, toy_editor, toy_engine
from toy_world import ROWS, SIDE, W_DIM, toy_models

from hfld.attributes import ATTRIBUTES, attribute_index
from hfld.editors import LinearEditor
from hfld.networks.stylegan2 import Generator
from hfld.studio import phrases
from hfld.studio.engine import Engine, Face, within_layers
from hfld.studio.gauges import measure_floor, read_gauges, read_judges
from hfld.studio.session import Session
from hfld.studio.state import Source, State
from hfld.studio.strengths import MAX_CORRECTIONS, MAX_STRENGTH, TOLERANCE, solve_strengths

ARCHED = State(source=Source.of_seed(8), editor="hfld").with_target("Arched_Eyebrows", 0.9)


@pytest.fixture(scope="module")
def engine():
    return toy_engine()


def test_no_edit_returns_the_original_bit_for_bit(engine):
    state = State(source=Source.of_seed(3), editor="hfld")
    original = engine.original(state.source)
    assert torch.equal(engine.result(state).ws, original.ws)
    assert (engine.result(state).image == original.image).all()
    assert engine.original(Source.of_seed(4)).image.tobytes() != original.image.tobytes()


def test_a_previews_strength_is_the_missing_score_until_a_better_one_is_known():
    engine = toy_engine()
    original = engine.original(ARCHED.source)
    missing = 0.9 - float(original.scores[attribute_index("Arched_Eyebrows")])
    change = engine.quick(ARCHED) - original.ws
    expected = torch.zeros(W_DIM)
    expected[1] = 2.0 * missing
    torch.testing.assert_close(change[0], expected.expand(ROWS, -1), atol=1e-6, rtol=0)
    exact = engine.result(ARCHED).ws
    torch.testing.assert_close(engine.quick(ARCHED), exact)
    assert torch.equal(
        toy_engine().result(ARCHED).ws, exact
    )  # what is saved does not depend on what was seen
    assert engine.result(ARCHED).scores[1] > original.scores[1]


def weak(**changes) -> LinearEditor:
    """Near one half, its native strength brings half of the score that was asked for."""
    return toy_editor(gain=0.5 / (1.5 * 0.25), **changes)


@pytest.mark.parametrize("target", [0.1, 0.5, 0.8, 1.0])
def test_editors_of_unequal_gain_reach_the_same_target(target):
    engine = toy_engine(editors={"hfld": weak(), "baseline": toy_editor(drag=0.5)})
    state = ARCHED.with_target("Arched_Eyebrows", target)
    state = State(**vars(state) | {"second": "baseline"})
    scores = {name: engine.result(state, name).scores[1] for name in engine.editors}
    assert scores == pytest.approx({"hfld": target, "baseline": target}, abs=0.05)
    native = engine.face(toy_engine(editors={"hfld": weak()}).quick(state)).scores[1]
    assert target == 0.1 or abs(native - target) > 0.1  # uncorrected it stops short
    assert phrases.unreached(engine, state, {name: engine.result(state, name) for name in scores}) == ""


def test_several_targets_are_reached_at_once_and_few_pictures_are_drawn(monkeypatch):
    T = weak().T.clone()
    T[1, :, 0] = 0.5  # the second edit undoes a part of the first
    engine, drawn = toy_engine(editors={"hfld": LinearEditor(T, NAMES)}), []
    state = ARCHED.with_target("5_o_Clock_Shadow", 0.3)
    engine.original(state.source)
    face = engine.face
    monkeypatch.setattr(engine, "face", lambda *given: drawn.append(1) or face(*given))
    assert engine.result(state).scores[:2] == pytest.approx([0.3, 0.9], abs=0.05)
    assert len(drawn) <= 1 + MAX_CORRECTIONS
    assert engine.result(state) is engine.result(state) and len(drawn) <= 1 + MAX_CORRECTIONS


def test_a_target_out_of_reach_is_said():
    engine = toy_engine(
        editors={"hfld": toy_editor(gain=0.05), "baseline": LinearEditor(weak().T[:1], NAMES[:1])}
    )
    state = State(**vars(ARCHED) | {"second": "baseline"})
    faces = {name: engine.result(state, name) for name in engine.editors}
    score = faces["hfld"].scores[1]
    assert score < 0.85
    assert engine.original(state.source).scores[1] < score  # as near as it comes
    assert phrases.unreached(engine, state, faces) == (
        f"HFLD brings Arched Eyebrows to {score:.2f} on this face, not to the 0.90 that was asked for. "
        "baseline has no direction for Arched Eyebrows and leaves it out."
    )


def test_an_edit_that_moves_the_wrong_way_is_not_made_worse():
    engine = toy_engine(editors={"hfld": toy_editor(gain=-1.0)})
    native = engine.face(engine.quick(ARCHED)).scores[1]
    assert engine.result(ARCHED).scores[1] >= native - 1e-6


def test_a_score_that_cannot_be_read_still_gives_a_face():
    scores = np.full(40, np.nan, np.float32)
    face, strengths = solve_strengths(
        lambda _: Face(torch.zeros(1), None, scores), scores, {NAMES[0]: 1.0}, {NAMES[0]: 0.5}
    )
    assert face.scores is scores and strengths == {NAMES[0]: 0.5}


def test_edits_add_up_and_unknown_ones_are_left_out(engine):
    engine = toy_engine()
    both = ARCHED.with_target("Attractive", 0.1)
    parts = [engine.quick(ARCHED), engine.quick(ARCHED.without_targets().with_target("Attractive", 0.1))]
    original = engine.original(ARCHED.source).ws
    torch.testing.assert_close(engine.quick(both) - original, sum(parts) - 2 * original)
    assert engine.known("hfld") == NAMES
    assert torch.equal(engine.quick(both.with_target("Young", 1.0)), engine.quick(both))
    assert torch.equal(engine.result(both.with_target("Young", 1.0)).ws, engine.result(both).ws)


def test_layers_confine_an_edit(engine):
    engine = toy_engine()
    whole, part = engine.quick(ARCHED), engine.quick(State(**vars(ARCHED) | {"layers": (1, 2)}))
    original = engine.original(ARCHED.source).ws
    assert torch.equal(part[:, 1:3], whole[:, 1:3])
    assert torch.equal(part[:, [0, 3]], original[:, [0, 3]])
    assert torch.equal(within_layers(original, whole, None), whole)
    exact = engine.result(State(**vars(ARCHED) | {"layers": (1, 2)})).ws
    assert torch.equal(exact[:, [0, 3]], original[:, [0, 3]]) and not torch.equal(exact, original)


def test_a_held_score_stays():
    """Attribute 1's direction also moves coordinate 0, which is attribute 0."""
    T = toy_editor().T.clone()
    T[1, :, 0] = 1.5
    engine = toy_engine(editors={"hfld": LinearEditor(T, NAMES)})
    before = engine.original(ARCHED.source).scores[0]
    free = engine.result(ARCHED)
    held = engine.result(ARCHED.holding(NAMES[0], True))
    assert abs(free.scores[0] - before) > 0.1
    assert abs(held.scores[0] - before) < 0.3 * abs(free.scores[0] - before)
    assert held.scores[1] == pytest.approx(free.scores[1], abs=0.04)


class Still:
    """Wraps an editor and takes coordinate 11, which moves the landmarks, out of its edits."""

    def __init__(self, editor) -> None:
        self.editor = editor

    def edit(self, ws, attribute, strength):
        edited = self.editor.edit(ws, attribute, strength)
        with torch.enable_grad():  # as locks do that use the landmarks' Jacobian
            x = edited.clone().requires_grad_()
            torch.autograd.grad(x.square().sum(), x)
        edited[..., 11] = ws[..., 11]
        return edited


def test_the_expression_lock_wraps_the_editor():
    engine = toy_engine(lock_expression=Still)
    state = State(**vars(ARCHED) | {"editor": "baseline"})
    original = engine.original(state.source).ws
    assert (engine.result(state).ws - original)[..., 11].abs().max() > 0.1
    locked = engine.result(State(**vars(state) | {"expression_lock": True})).ws
    assert torch.equal(locked[..., 11], original[..., 11])
    assert torch.equal(engine.quick(State(**vars(state) | {"expression_lock": True})), engine.quick(state))
    assert not torch.equal(locked, original)
    with pytest.raises(ValueError, match="landmarks cannot be held in this session"):
        toy_engine().check(State(**vars(state) | {"expression_lock": True}))


def test_a_trajectory_ends_where_the_slider_does(engine):
    both = replace(ARCHED, second="baseline").with_target("Attractive", 0.8)
    shares = []
    rows = Session(engine).trajectories(both, 3, tell=shares.append)
    assert list(rows) == ["hfld", "baseline"] and len(rows["hfld"]) == 3
    np.testing.assert_allclose(shares, np.arange(1, 7) / 6)
    for target, image in ((0.0, rows["hfld"][0]), (1.0, rows["hfld"][-1])):
        assert (image == engine.result(ARCHED.with_target("Attractive", target)).image).all()


def test_states_that_do_not_fit_the_session_are_named(engine):
    with pytest.raises(ValueError, match="nearest is 'hfld'"):
        engine.check(State(source=Source.of_seed(1), editor="hfdl"))
    with pytest.raises(ValueError, match=f"layers 0 to {ROWS - 1}"):
        engine.check(State(source=Source.of_seed(1), editor="hfld", layers=(0, ROWS)))
    with pytest.raises(ValueError, match="made with another generator"):
        engine.check(State(source=Source.of_latent(torch.zeros(1, ROWS, W_DIM + 1)), editor="hfld"))
    with pytest.raises(ValueError, match="none given"):
        toy_engine(editors={})


def gauges_of(engine, state, floor=None):
    pictures = [engine.original(state.source).image, engine.result(state).image]
    before, after = (read_judges(engine, image[None]) for image in pictures)
    return read_gauges(state.targets, before, after, size=SIDE, floor=floor)


def test_gauges_see_what_an_edit_did_and_nothing_where_nothing_was_done(engine):
    still = gauges_of(engine, ARCHED.without_targets())
    assert still.targets == ()
    assert [gauge.after for gauge in still.drift] == [0.0] * 6
    assert still.emotion_change.after == 0.0
    assert still.identity.after == pytest.approx(1.0)
    assert {gauge.before == gauge.after for gauge in still.side_effects} == {True}

    clean, dragging = (gauges_of(engine, State(**vars(ARCHED) | {"editor": e})) for e in engine.editors)
    assert clean.targets[0].name == "Arched_Eyebrows"
    assert clean.targets[0].after > clean.targets[0].before
    assert "Arched_Eyebrows" not in [gauge.name for gauge in clean.side_effects]
    assert len(clean.side_effects) == 5 and len(clean.emotions) == 7
    drift = {name: {g.name: g.after for g in gauges.drift} for name, gauges in
             (("clean", clean), ("dragging", dragging))}  # fmt: skip
    assert drift["dragging"]["mouth"] > 10 * drift["clean"]["mouth"]
    assert drift["dragging"]["nose"] == pytest.approx(0, abs=1e-5)
    assert dragging.emotion_change.after > 5 * clean.emotion_change.after
    assert sum(gauge.after for gauge in dragging.emotions) == pytest.approx(100, abs=1e-3)


def test_side_effects_come_largest_first():
    T = toy_editor().T.clone()
    T[1, :, 2], T[1, :, 3] = 0.6, -1.2
    gauges = gauges_of(toy_engine(editors={"hfld": LinearEditor(T, NAMES)}), ARCHED)
    assert [gauge.name for gauge in gauges.side_effects[:2]] == [ATTRIBUTES[3], ATTRIBUTES[2]]
    assert gauges.side_effects[0].after < gauges.side_effects[0].before


def test_lights_compare_with_exact_edits():
    models = toy_models()
    engine = toy_engine(models=models, world=ToyTruth(models))
    state = ARCHED.with_target("Arched_Eyebrows", 1.0)
    floor = measure_floor(engine, state.targets)
    assert floor["scores"][1] > 0.5  # the exact edit goes from end to end
    assert floor["scores"][2] < 0.05
    clean = gauges_of(engine, state, floor)
    dragging = gauges_of(engine, State(**vars(state) | {"editor": "baseline"}), floor)
    assert {gauge.light for gauge in clean.drift} == {"green"}
    assert {gauge.name: gauge.light for gauge in dragging.drift}["mouth"] == "red"
    assert dragging.emotion_change.light == "red"
    assert set(dragging.floor) == {"all", "contour", "brows", "nose", "eyes", "mouth", "emotion", "identity"}
    assert gauges_of(engine, state).drift[0].light == ""


def test_without_exact_edits_the_floor_is_the_generators_noise(engine):
    floor = measure_floor(engine, {})
    assert floor["all"] == pytest.approx(0, abs=1e-4)  # the toy generator has no noise


def test_previews_are_small_and_show_the_same_edit():
    torch.manual_seed(0)
    generator = Generator(
        size=64, z_dim=12, w_dim=12, mapping_layers=1, channels=dict.fromkeys((4, 8, 16, 32, 64), 8)
    )
    models = replace(toy_models(), generator=generator, regressor=Constant(), landmarks=None)
    T = torch.randn(1, 10, 12, generator=torch.Generator().manual_seed(1))
    editors = {"hfld": LinearEditor(T, NAMES[:1])}
    session = Session(Engine(models=models, editors=editors, preview=16))
    session.set_target(NAMES[0], 1.0)
    preview = session.previews(session.state)["hfld"]
    ws = session.engine.result(session.state).ws
    assert preview.shape == (16, 16, 3)
    assert (preview == session.engine.picture(ws, 16)[0]).all()
    assert (preview != session.engine.picture(session.engine.original(session.state.source).ws, 16)[0]).any()


class Constant(nn.Module):
    """Reads one half everywhere."""

    def forward(self, images):
        return torch.full((len(images), 40), 0.5)


def test_strengths_stay_where_pictures_hold_together():
    found = []
    scores = np.full(40, 0.5, np.float32)  # nothing moves them
    solve_strengths(
        lambda s: found.append(s) or Face(torch.zeros(1), None, scores), scores, {NAMES[0]: 1.0}, {}
    )
    assert max(abs(strength) for one in found for strength in one.values()) == MAX_STRENGTH


@pytest.mark.parametrize("goal", [0.1, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize(("steepness", "middle"), [(25.0, 0.4), (25.0, 2.6), (4.0, 1.0), (1.5, -0.5)])
def test_scores_that_jump_are_met(goal, steepness, middle):
    """As Bald's in the portraits: next to nothing, then all at once."""

    def scores(strength):
        return np.full(40, 1 / (1 + np.exp(-steepness * (strength - middle))), np.float32)

    start = scores(0.0)
    name = NAMES[0]
    tries = []
    face, strengths = solve_strengths(
        lambda s: tries.append(s) or Face(torch.zeros(1), None, scores(s[name])),
        start,
        {name: goal},
        {name: goal - float(start[0])},
    )
    assert abs(face.scores[0] - goal) <= TOLERANCE
    assert len(tries) <= 1 + MAX_CORRECTIONS
    np.testing.assert_array_equal(face.scores, scores(strengths[name]))


def test_a_score_that_another_edit_moves_is_followed():
    """The second edit takes the first attribute's crossing away from where it was met."""
    first, second = (attribute_index(name) for name in NAMES[:2])

    def draw(strengths):
        scores = np.zeros(40, np.float32)
        a, b = (strengths[name] for name in NAMES[:2])
        scores[first] = 1 / (1 + np.exp(-12 * (a - 0.8 + 0.7 * b)))
        scores[second] = 1 / (1 + np.exp(-3 * (b - 0.5 + 0.3 * a)))
        return Face(torch.zeros(1), None, scores)

    goals = {NAMES[0]: 0.6, NAMES[1]: 0.7}
    face, _ = solve_strengths(draw, draw(dict.fromkeys(NAMES, 0.0)).scores, goals, goals)
    np.testing.assert_allclose(face.scores[[first, second]], [0.6, 0.7], atol=0.03)
