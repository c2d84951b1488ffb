"""What the editor draws when: quick pictures, exact ones, gauges, the trajectory only where it is seen."""

import threading

import numpy as np
import pytest
import torch
from toy_evaluator import ToyTruth
from toy_studio import toy_engine
from toy_world import toy_models

from hfld.attributes import ATTRIBUTES
from hfld.studio.latest_queue import LatestQueue, Overtaken, Stage
from hfld.studio.markup import LEGEND, STYLE
from hfld.studio.session import Session
from hfld.studio.widget.arrangement import GAP, MARGIN
from hfld.studio.widget.editor import LOCK_LEFT_OUT, LatentEditor
from hfld.studio.widget.sliders import called

SLACK = 20.0  # seconds that a busy machine may take


@pytest.fixture
def editor(tmp_path):
    models = toy_models()
    engine = toy_engine(models=models, world=ToyTruth(models), lock_expression=lambda editor: editor)
    made = LatentEditor(engine, seed=8, folder=tmp_path)
    assert made.queue.wait(SLACK)
    yield made
    made.close()


def move(editor, value: float) -> None:
    editor.attributes.rows["Arched_Eyebrows"].slider.set_state({"value": value})
    assert editor.queue.wait(SLACK)
    assert "alert" not in editor.message.value


def test_the_trajectory_is_made_when_its_tab_is_shown(editor):
    editor.tabs.selected_index = 3
    move(editor, 0.9)
    assert "<img" not in editor.trajectory.value
    picture = editor.edited.value
    editor.tabs.selected_index = 0
    assert editor.queue.wait(SLACK)
    assert editor.trajectory.value.count("<img") == 14
    assert LOCK_LEFT_OUT not in editor.trajectory.value
    assert editor.edited.value == picture
    editor.lock.set_state({"value": True})
    assert editor.queue.wait(SLACK)
    assert LOCK_LEFT_OUT in editor.trajectory.value


def test_the_floor_comes_before_the_trajectory(editor, monkeypatch):
    order, session = [], editor.session
    gauges, trajectories = session.gauges, session.trajectories
    monkeypatch.setattr(
        session, "gauges", lambda *a, floor=False: order.append(f"floor {floor}") or gauges(*a, floor=floor)
    )
    monkeypatch.setattr(
        session, "trajectories", lambda *a, **k: order.append("trajectory") or trajectories(*a, **k)
    )
    move(editor, 0.7)
    assert order == ["floor False", "floor True", "trajectory"]


def test_while_a_slider_is_dragged_neither_lock_nor_corrections_run(editor):
    engine, seen = editor.session.engine, []
    engine.lock_expression = lambda inner: seen.append("lock") or inner
    state = editor.session.state.with_target("Arched_Eyebrows", 0.9)
    locked = type(state)(**vars(state) | {"expression_lock": True, "held": frozenset({"Attractive"})})
    previews = editor.session.previews(locked)
    assert seen == []
    for name in engine.editors:
        expected = engine.picture(engine.quick(state, name))[0]
        np.testing.assert_array_equal(previews[name], expected)
    editor.session.trajectories(locked, lock=False)
    assert seen == []
    editor.session.trajectories(locked)
    assert "lock" in seen


def test_an_overtaken_trajectory_ends_between_pictures():
    session = Session(toy_engine(), second="baseline")
    session.set_target("Attractive", 0.9)
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Overtaken):
        session.trajectories(session.state, stop=stop)
    assert len(asked) == 4  # three pictures; then neither a fourth nor the second editor's first
    with pytest.raises(Overtaken):
        session.faces(session.state, stop=lambda: True)
    assert list(session.faces(session.state)) == ["original", "hfld", "baseline"]  # nothing half made is kept
    assert list(session.faces(session.state, stop=lambda: True)) == [
        "original",
        "hfld",
        "baseline",
    ]  # at hand


def test_a_stage_hears_that_it_is_overtaken():
    begun, go, heard = threading.Event(), threading.Event(), []

    def work(job):
        heard.append((job, "before", queue.overtaken()))
        if job == 1:
            begun.set()
            assert go.wait(SLACK)
        heard.append((job, "after", queue.overtaken()))
        if queue.overtaken():
            raise Overtaken  # no error

    queue = LatestQueue([Stage(work, lambda job, result: None)], heard.append)
    queue.submit(1)
    assert begun.wait(SLACK)
    queue.submit(2)
    go.set()
    assert queue.wait(SLACK)
    queue.close()
    assert heard == [(1, "before", False), (1, "after", True), (2, "before", False), (2, "after", False)]


def test_landmarks_ask_one_judge_and_the_original_once(monkeypatch):
    session = Session(toy_engine())
    judges, asked = session.engine.judges, []
    judges.landmarks.register_forward_hook(lambda *_: asked.append("landmarks"))
    for name, judge in judges.named().items():
        if name != "landmarks":
            judge.register_forward_hook(lambda *_, name=name: asked.append(name))
    source = session.state.source
    first = session.original_points(source)
    assert first.shape == (106, 2) and session.original_points(source) is first
    assert asked == ["landmarks"]
    x = torch.from_numpy(session.engine.original(source).image).permute(2, 0, 1)[None] / 127.5 - 1
    expected = judges.measure(x.float()).landmarks[0]
    np.testing.assert_allclose(first, expected, atol=1e-6)


def pixels(layout: str) -> int:
    """The basis of a flex layout such as "1 1 340px"."""
    return int(layout.split()[-1].removesuffix("px"))


def test_sliders_and_pictures_stand_side_by_side_from_760_px(editor):
    left, right = editor.children[-1].children
    assert f"gap: {GAP}px" in STYLE
    assert pixels(left.layout.flex) + pixels(right.layout.flex) + GAP + 2 * MARGIN <= 760
    assert pixels(left.layout.min_width) <= pixels(left.layout.flex)
    pictures = (editor.original, editor.edited, editor.compared)
    needed = sum(pixels(picture.layout.min_width) + MARGIN for picture in pictures) + 2 * 10
    assert needed <= pixels(right.layout.flex)
    assert editor.layers.layout.max_width == "98%"


def test_words_that_need_it_are_explained_and_the_two_scores_named(editor):
    right = editor.children[-1].children[1]
    legend = next(child.value for child in right.children if getattr(child, "value", "") == LEGEND)
    for word in ("HFLD", "baseline", "floor", "hold", "orange", "blue"):
        assert word in legend
    move(editor, 0.9)
    assert "the judge's score" in editor.gauges.value
    heads = [
        child.value for child in editor.attributes.children if "hfld-columns" in getattr(child, "value", "")
    ]
    assert "score" in heads[0]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("smile", {"Smiling"}),
        ("old", {"Young", "Gray_Hair"}),
        ("female", {"Male"}),
        ("blonde", {"Blond_Hair"}),
        ("man", {"Male"}),
        ("Gray_H", {"Gray_Hair"}),
        ("wings", set()),
    ],
)
def test_people_find_attributes_by_their_own_words(text, names):
    assert {name for name in ATTRIBUTES if called(name, text)} == names
