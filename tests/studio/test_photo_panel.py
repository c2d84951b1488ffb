"""The photo panel when things come at the wrong time: never left busy, and never idle while it works."""

import threading
from dataclasses import replace

import pytest
from test_widgets import SLACK, choose_file, png, send, settled, shown, slider
from toy_evaluator import ToyTruth
from toy_studio import toy_engine
from toy_world import toy_models

from hfld.config import load_profile
from hfld.studio.state import Source
from hfld.studio.widget.editor import LatentEditor


@pytest.fixture
def editor(tmp_path):
    models = toy_models()
    config = replace(load_profile("smoke").inversion, samples=32, steps=20, tuning_steps=8)
    engine = toy_engine(models=models, world=ToyTruth(models), inversion=config)
    made = LatentEditor(engine, seed=8, folder=tmp_path)
    assert made.queue.wait(SLACK)
    yield made
    made.close()


@pytest.fixture
def portrait(editor) -> bytes:
    engine = editor.session.engine
    return png(engine.picture(0.5 * engine.original(Source.of_seed(41)).ws)[0])


def found(editor, portrait) -> None:
    choose_file(editor.photo.upload, "me.png", portrait)
    assert editor.photo.searches.wait(6 * SLACK)
    assert editor.queue.wait(SLACK)


def test_a_second_click_before_the_buttons_have_gone(editor, portrait):
    found(editor, portrait)
    editor.photo.sharpen.click()
    editor.photo.sharpen.click()
    editor.photo.plain.click()
    assert editor.photo.searches.wait(6 * SLACK)
    settled(editor)
    assert editor.session.state.source.tuned
    own = editor.photo._own
    editor.photo.plain.click()
    editor.photo.plain.click()
    settled(editor)
    assert editor.session.own_face(editor.session.state) is own.plain


@pytest.mark.parametrize("how", ["fails", "is cancelled", "finds"])
def test_where_nothing_can_be_drawn_the_panel_still_ends(editor, portrait, how):
    begun, go = threading.Event(), threading.Event()

    def rest(seconds):
        begun.set()
        assert go.wait(SLACK)

    send(slider(editor), 0.9)
    settled(editor)
    editor.photo._rest = rest

    def broken(*args, **options):
        raise RuntimeError("nothing can be drawn")

    editor.session.faces = editor.session.previews = broken
    choose_file(editor.photo.upload, "me.png", b"nothing" if how == "fails" else portrait)
    if how != "fails":
        assert begun.wait(SLACK) and shown(editor.photo.searching)
    if how == "is cancelled":
        editor.photo.cancel.click()
    go.set()
    assert editor.photo.searches.wait(6 * SLACK) and editor.queue.wait(SLACK)
    assert not shown(editor.photo.searching) and "<progress" not in editor.photo.view.value


def test_a_face_that_cannot_be_used_is_said_and_the_panel_shows_the_edited_one(editor, portrait):
    def refused(own):
        raise ValueError("this face does not fit")

    editor.session.use = refused
    found(editor, portrait)
    assert "this face does not fit" in editor.message.value
    assert not shown(editor.photo.searching) and not shown(editor.photo.finished)
    assert "its face is turned upright" in editor.photo.view.value


def test_late_news_of_an_older_search_does_not_end_the_newer(editor, portrait):
    begun, go, late = threading.Event(), threading.Event(), []

    def rest(seconds):
        begun.set()
        assert go.wait(SLACK)

    editor.photo._rest = rest
    tell = editor.photo.searches._tell
    editor.photo.searches._tell = lambda now: (late.append(now), tell(now))
    choose_file(editor.photo.upload, "me.png", portrait)
    assert begun.wait(SLACK)
    editor.photo.show(None, None)  # the sliders' pictures are drawn meanwhile
    assert shown(editor.photo.searching) and "<progress" in editor.photo.view.value
    editor.photo.cancel.click()
    tell_after = editor.photo.view.value
    editor.photo._tell(late[0])  # it was on its way when somebody cancelled
    assert editor.photo.view.value == tell_after and "<progress" not in tell_after
    go.set()
    assert editor.photo.searches.wait(6 * SLACK)
    settled(editor)
