import threading
import types

import pytest
import torch

from hfld.attributes import ATTRIBUTES
from hfld.studio.latest_queue import LatestQueue, Stage
from hfld.studio.state import History, Source, State

START = State(source=Source.of_seed(1), editor="hfld")


@pytest.fixture
def clock(monkeypatch):
    """Seconds; a test moves them."""
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr("hfld.studio.state.time", types.SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_edits_have_one_order_whatever_was_moved_first():
    one = START.with_target("Young", 0.2).with_target("Bald", 0.9)
    other = START.with_target("Bald", 0.9).with_target("Young", 0.2)
    assert list(one.targets) == list(other.targets) == ["Bald", "Young"]
    assert (one.active, other.active) == ("Bald", "Young")


def test_held_attributes_outlive_reset_all():
    state = START.with_target("Young", 0.2).with_target("Bald", 0.9).holding("Bald", True)
    assert state.without_targets().targets == {"Bald": 0.9}
    assert state.without_targets().active == "Bald"
    assert state.with_target("Young", 0.3).without_targets().active is None  # nothing is left to be shown
    assert state.holding("Bald", False).without_targets().targets == {}
    assert state.without_target("Bald").targets == {"Young": 0.2}


def test_latents_are_told_apart_by_their_values():
    ws = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    assert Source.of_latent(ws) == Source.of_latent(ws[0].clone())
    assert Source.of_latent(ws) != Source.of_latent(ws + 1e-3)
    assert Source.of_latent(ws) != Source.of_seed(1) != Source.of_seed(2)


@pytest.mark.parametrize("seed", [-1, 2**31, 1.0, "1", True])
def test_wrong_seeds_are_named(seed):
    with pytest.raises(ValueError, match="seed must be"):
        Source.of_seed(seed)


def test_wrong_states_are_named():
    with pytest.raises(ValueError, match="target of Young"):
        START.with_target("Young", 1.2)
    with pytest.raises(ValueError, match="target of Young"):
        START.with_target("Young", float("nan"))
    with pytest.raises(ValueError, match="nearest is 'Young'"):
        START.with_target("Yuong", 0.2)
    with pytest.raises(ValueError, match=r"\[1, L, w_dim\]"):
        Source.of_latent(torch.zeros(2, 4, 3))
    with pytest.raises(ValueError, match="not finite"):
        Source.of_latent(torch.full((1, 4, 3), torch.inf))


def test_undo_and_redo_walk_the_same_states():
    history = History(START)
    states = [START.with_target(name, 0.5) for name in ATTRIBUTES[:4]]
    for state in states:
        history.push(state)
    assert [history.undo() for _ in range(5)] == [*states[2::-1], START, START]
    assert not history.can_undo and history.can_redo
    assert [history.redo() for _ in range(5)] == [*states, states[-1]]
    assert history.can_undo and not history.can_redo


def test_a_new_edit_forgets_what_could_be_redone():
    history = History(START)
    history.push(START.with_target("Young", 0.1))
    history.undo()
    history.push(START.with_target("Bald", 0.1))
    assert not history.can_redo
    assert history.undo() == START


def test_a_drag_is_one_step_and_a_second_drag_another(clock):
    history = History(START)
    for i in range(20):
        clock.now += 0.2
        history.push(START.with_target("Young", i / 20), "target Young")
    clock.now += 5
    last = START.with_target("Young", 1.0)
    history.push(last, "target Young")
    assert history.undo() == START.with_target("Young", 19 / 20)
    assert history.undo() == START
    assert not history.can_undo


def test_another_slider_begins_a_step_at_once(clock):
    history = History(START)
    one = START.with_target("Young", 0.5)
    history.push(one, "target Young")
    history.push(one.with_target("Bald", 0.5), "target Bald")
    assert history.undo() == one
    # What follows an undo is a new step, however quick.
    history.push(one.with_target("Bald", 0.7), "target Bald")
    assert history.undo() == one


def test_history_is_bounded_and_ignores_what_changes_nothing(monkeypatch):
    monkeypatch.setattr("hfld.studio.state.MAX_STEPS", 3)
    history = History(START)
    history.push(START)
    assert not history.can_undo
    for i in range(10):
        history.push(START.with_target("Young", i / 10))
    steps = 0
    while history.can_undo:
        history.undo()
        steps += 1
    assert steps == 3


class Work:
    """A stage that records what it delivered, and can be made to wait."""

    def __init__(self) -> None:
        self.begun, self.delivered, self.errors = [], [], []
        self.started, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def __call__(self, job):
        self.begun.append(job)
        self.started.set()
        assert self.gate.wait(10)
        if job == "bad":
            raise ValueError("no such face")
        return job

    def deliver(self, job, result) -> None:
        self.delivered.append(result)

    def fail(self, error) -> None:
        self.errors.append(str(error))


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def queue(work):
    later = Stage(lambda job: f"gauges {job}", work.deliver, after=0.01)
    queue = LatestQueue([Stage(work, work.deliver), later], work.fail)
    yield queue
    work.gate.set()
    queue.close()


def test_the_newest_job_wins_and_the_hand_never_waits(queue, work):
    work.gate.clear()
    for job in range(100):
        queue.submit(job)  # returns although the worker stands still
        if job == 0:
            assert work.started.wait(10)
    work.gate.set()
    assert queue.wait(10)
    assert work.begun == [0, 99]  # 98 positions of the slider were never drawn
    assert work.delivered == [0, 99, "gauges 99"]


def test_gauges_follow_when_the_hand_rests(queue, work):
    queue.submit("a")
    assert queue.wait(10)
    queue.submit("b")
    assert queue.wait(10)
    assert work.delivered == ["a", "gauges a", "b", "gauges b"]


def test_an_error_is_reported_and_the_queue_lives_on(queue, work):
    queue.submit("bad")
    assert queue.wait(10)
    queue.submit("good")
    assert queue.wait(10)
    assert work.errors == ["no such face"]
    assert work.delivered == ["good", "gauges good"]


def test_a_closed_queue_refuses_work(queue):
    queue.close()
    with pytest.raises(ValueError, match="closed"):
        queue.submit(1)
