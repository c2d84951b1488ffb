"""The layout, driven as a browser drives it: by the state that a front end sends."""

import base64
import io
import statistics
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from toy_evaluator import ToyTruth
from toy_studio import NAMES, toy_editor, toy_engine
from toy_world import toy_models

from hfld.attributes import GROUPS
from hfld.config import load_profile
from hfld.editors import LinearEditor
from hfld.models import Models
from hfld.networks.resnet import ResNet
from hfld.networks.stylegan2 import Generator
from hfld.photos.own_photo import open_photo
from hfld.studio.engine import Engine
from hfld.studio.state import Source
from hfld.studio.widget.editor import LatentEditor

SLACK = 20.0  # seconds that a busy machine may take


@pytest.fixture
def editor(tmp_path):
    models = toy_models()
    made = LatentEditor(toy_engine(models=models, world=ToyTruth(models)), seed=8, folder=tmp_path)
    assert made.queue.wait(SLACK)
    yield made
    made.close()


def send(widget, value) -> None:
    """What a front end sends when a person has changed a control."""
    widget.set_state({"value": value})


def choose(dropdown, value) -> None:
    dropdown.set_state({"index": [option[1] for option in dropdown.options].index(value)})


def slider(editor, name="Arched_Eyebrows"):
    return editor.attributes.rows[name].slider


def settled(editor) -> None:
    assert editor.queue.wait(SLACK)
    assert "alert" not in editor.message.value


def test_it_opens_with_the_face_its_gauges_and_no_edit(editor):
    assert 'alt="the unedited face, seed 8"' in editor.original.value
    assert "edited by HFLD: no edit" in editor.edited.value
    assert "edited by baseline: no edit" in editor.compared.value
    assert "Landmark drift" in editor.gauges.value
    assert editor.session.state.targets == {}
    assert editor.undo.disabled and editor.redo.disabled
    assert list(editor.attributes.rows) == list(NAMES)
    assert "Young" in editor.attributes.note.value


def test_sliders_start_at_the_score_and_values_are_rounded_as_a_browser_does(editor):
    score = editor.session.score("Arched_Eyebrows")
    assert slider(editor).value == round(score, 2)
    send(slider(editor), round(score, 2))  # the echo of a front end
    assert editor.session.state.targets == {}


def test_moving_a_slider_changes_both_pictures_and_the_gauges(editor):
    before = editor.original.value, editor.edited.value, editor.compared.value
    send(slider(editor), 0.9)
    settled(editor)
    assert editor.original.value == before[0]
    assert editor.edited.value != before[1]
    assert editor.compared.value != before[2]
    assert "Arched Eyebrows towards 0.90" in editor.edited.value
    assert "Target reached" in editor.gauges.value and "Largest side effects" in editor.gauges.value
    assert "floor" in editor.gauges.value and "hfld-red" in editor.gauges.value
    assert editor.trajectory.value.count("<img") == 14
    assert float(editor.attributes.rows["Arched_Eyebrows"].score.value) > 0.3


def test_a_target_that_is_not_reached_is_said_in_plain_words():
    editors = {"hfld": toy_editor(gain=0.05), "baseline": toy_editor()}
    editor = LatentEditor(toy_engine(editors=editors), seed=8)
    send(slider(editor), 0.9)
    settled(editor)
    said = editor.unreached.value
    send(slider(editor), slider(editor).value - 0.9 + round(editor.session.score("Arched_Eyebrows"), 2))
    settled(editor)
    editor.close()
    assert "HFLD brings Arched Eyebrows to" in said and "baseline" not in said
    assert "brings" not in editor.unreached.value


def test_a_drag_is_undone_at_once(editor):
    start, picture = slider(editor).value, editor.edited.value
    for value in (0.3, 0.5, 0.7, 0.9):
        send(slider(editor), value)
    settled(editor)
    editor.undo.click()
    settled(editor)
    assert editor.session.state.targets == {}
    assert slider(editor).value == start
    assert editor.edited.value == picture
    assert editor.undo.disabled
    editor.redo.click()
    settled(editor)
    assert slider(editor).value == 0.9


def test_hold_and_reset(editor):
    send(slider(editor), 0.9)
    send(slider(editor, "Attractive"), 0.9)
    send(editor.attributes.rows["Attractive"].hold, True)
    editor.reset.click()
    settled(editor)
    assert editor.session.state.targets == {"Attractive": 0.9}
    assert editor.attributes.rows["Arched_Eyebrows"].reset.disabled
    editor.attributes.rows["Attractive"].reset.click()
    assert editor.session.state.targets == {}
    assert editor.attributes.rows["Attractive"].hold.value


def test_another_seed_moves_the_sliders_to_its_scores(editor):
    send(slider(editor), 0.9)
    send(editor.seed, 5)
    settled(editor)
    assert editor.session.state.source.seed == 5
    assert slider(editor).value == 0.9  # the edit stays
    assert slider(editor, "Attractive").value == round(editor.session.score("Attractive"), 2)
    editor.dice.click()
    settled(editor)
    assert editor.seed.value == editor.session.state.source.seed != 5


def test_the_search_shows_what_matches(editor):
    send(editor.attributes.search, "eyebrow")
    shown = [n for n, row in editor.attributes.rows.items() if row.box.layout.display != "none"]
    assert shown == ["Arched_Eyebrows"]
    send(editor.attributes.search, "eyes and")  # a group's name
    shown = {n for n, row in editor.attributes.rows.items() if row.box.layout.display != "none"}
    assert shown == set(NAMES) & set(GROUPS["eyes and brows"])
    send(editor.attributes.search, "")
    assert all(row.box.layout.display != "none" for row in editor.attributes.rows.values())
    send(editor.attributes.search, "Hairless")  # another word for it
    shown = [n for n, row in editor.attributes.rows.items() if row.box.layout.display != "none"]
    assert shown == ["Bald"] and editor.attributes.nothing.value == ""
    send(editor.attributes.search, "<wings>")
    assert "Nothing here is called “&lt;wings&gt;”" in editor.attributes.nothing.value
    send(editor.attributes.search, "older")
    assert "no editor here has a direction for Young" in editor.attributes.nothing.value


def test_views(editor):
    send(slider(editor), 0.9)
    settled(editor)
    seen = {editor.edited.value}
    for toggle, value in ((editor.show_difference, True), (editor.show_landmarks, True),
                          (editor.show_difference, False)):  # fmt: skip
        send(toggle, value)
        settled(editor)
        seen.add(editor.edited.value)
    assert len(seen) == 4
    choose(editor.second, None)
    settled(editor)
    assert editor.compared.layout.display == "none"
    assert "baseline" not in editor.gauges.value


def test_only_what_the_editor_knows_can_be_moved():
    small = LinearEditor(toy_editor().T[:2], NAMES[:2])
    editor = LatentEditor(toy_engine(editors={"hfld": toy_editor(), "small": small}))
    choose(editor.editor, "small")
    settled(editor)
    enabled = [name for name, row in editor.attributes.rows.items() if not row.slider.disabled]
    editor.close()
    assert enabled == list(NAMES[:2])


def test_snapshots_and_gallery(editor):
    send(slider(editor), 0.9)
    settled(editor)
    editor.snapshot.click()
    editor.reset.click()
    settled(editor)
    editor.snapshots.children[0].children[1].click()
    settled(editor)
    assert slider(editor).value == 0.9
    save(editor, "face")
    editor.tabs.selected_index = 1
    assert [entry.children[1].description for entry in editor.faces.children][-2:] == [
        "seed 8",
        "seed8_hfld_Arched_Eyebrows90",
    ]
    editor.faces.children[2].children[1].click()
    assert editor.session.state.source.seed == 3
    editor.faces.children[-1].children[1].click()
    settled(editor)
    assert editor.session.state.source.seed == 8


def test_a_broken_file_does_not_empty_the_gallery(editor, tmp_path, monkeypatch):
    whole = png(np.random.default_rng(0).integers(0, 256, (300, 600, 3), np.uint8))
    (tmp_path / "whole.png").write_bytes(whole)
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none.png").write_bytes(b"no picture")
    editor.tabs.selected_index = 1
    labels = [entry.children[1].description for entry in editor.faces.children]
    assert labels == [*(f"seed {i}" for i in range(1, 9)), "whole"]
    sent = editor.faces.children[-1].children[0].value.split("base64,")[1].split('"')[0]
    assert Image.open(io.BytesIO(base64.b64decode(sent))).size == (192, 96)
    editor.tabs.selected_index = 0
    monkeypatch.setattr(editor.session, "gallery", lambda *arguments: 1 / 0)
    editor.tabs.selected_index = 1
    assert 'role="alert"' in editor.message.value and "ZeroDivisionError" in editor.message.value


def upload(editor, name: str, content: bytes) -> None:
    choose_file(editor.upload, name, content)


def choose_file(control, name: str, content: bytes) -> None:
    send(control, [{"name": name, "type": "", "size": len(content), "content": memoryview(content),
                          "last_modified": 0}])  # fmt: skip


def save(editor, kind: str) -> None:
    editor.saves.buttons[kind].click()
    assert editor.saves.exports.wait(SLACK)


def test_a_film_is_made_behind_the_sliders_and_can_be_cancelled(editor, tmp_path):
    begun, go = threading.Event(), threading.Event()

    def rest(seconds):
        begun.set()
        assert go.wait(SLACK)

    editor.saves.exports._rest = rest
    send(slider(editor), 0.9)
    settled(editor)
    editor.saves.buttons["gif"].click()
    editor.saves.buttons["mp4"].click()
    assert begun.wait(SLACK)
    assert "<progress" in editor.saves.progress.value and "GIF, 1 more" in editor.saves.progress.value
    assert shown(editor.saves.cancel)
    before = editor.edited.value
    send(slider(editor), 0.3)
    settled(editor)
    assert editor.edited.value != before  # meanwhile
    editor.saves.cancel.click()
    go.set()
    assert editor.saves.exports.wait(SLACK)
    assert not list(tmp_path.iterdir()) and editor.saves.progress.value == ""
    assert not shown(editor.saves.cancel)


def test_what_cannot_be_saved_is_said(editor):
    for kind, words in (("mp4", "move a slider first"), ("gif", "move a slider first")):
        save(editor, kind)
        assert 'role="alert"' in editor.message.value and words in editor.message.value
    save(editor, "face")
    assert "saved seed8_hfld.png" in editor.message.value and "alert" not in editor.message.value


def test_overlays_are_drawn_behind(editor, monkeypatch):
    threads, points = [], editor.session.points
    monkeypatch.setattr(
        editor.session, "points", lambda image: threads.append(threading.current_thread()) or points(image)
    )
    send(editor.show_landmarks, True)
    settled(editor)
    assert threads and threading.main_thread() not in threads


def test_saved_files_open_again(editor, tmp_path, monkeypatch):
    monkeypatch.setattr("hfld.studio.session.EXPORT_SIDE", 32)
    send(slider(editor), 0.9)
    settled(editor)
    picture, state = editor.edited.value, editor.session.state
    for button in editor.saves.buttons.values():
        button.click()
    assert editor.saves.exports.wait(3 * SLACK)
    assert editor.message.value.count("saved") and "alert" not in editor.message.value
    names = {path.suffix for path in tmp_path.iterdir()}
    assert names == {".png", ".json", ".safetensors", ".gif", ".mp4"}
    assert "download=" in editor.saves.saved.value
    editor.reset.click()
    path = next(tmp_path.glob("*.json"))
    upload(editor, path.name, path.read_bytes())
    assert "pixel for pixel" in editor.message.value
    assert editor.upload.value == ()
    settled(editor)
    assert editor.session.state == state
    assert editor.edited.value == picture


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("face.json", b"{", "not a recipe"),
        ("me.jpg", b"no picture", "no picture"),
        ("face.safetensors", b"no latent", "damaged"),
    ],
)
def test_errors_are_shown_in_plain_words_and_change_nothing(editor, name, content, words):
    state = editor.session.state
    upload(editor, name, content)
    assert 'role="alert"' in editor.message.value and words in editor.message.value
    assert editor.session.state == state
    send(slider(editor), 0.9)
    settled(editor)
    assert editor.message.value == ""


def test_what_fails_while_drawing_is_shown_too(editor):
    send(slider(editor), 0.9)
    settled(editor)
    editor.session.engine.editors["hfld"].edit = None
    send(slider(editor), 0.1)
    assert editor.queue.wait(SLACK)
    assert "TypeError" in editor.message.value


@pytest.fixture
def opener(tmp_path):
    """An editor that opens photos, and a portrait to open."""
    models = toy_models()
    config = replace(load_profile("smoke").inversion, samples=32, steps=40, tuning_steps=8)
    engine = toy_engine(models=models, world=ToyTruth(models), inversion=config)
    made = LatentEditor(engine, seed=8, folder=tmp_path)
    assert made.queue.wait(SLACK)
    yield made, png(engine.picture(0.5 * engine.original(Source.of_seed(41)).ws)[0])
    made.close()


def test_a_photo_becomes_the_face_that_is_edited(opener, tmp_path):
    editor, portrait = opener
    turn = np.linspace(0, np.pi, 106)
    editor.session.points = lambda image: 0.5 + 0.2 * np.stack([-np.cos(turn), np.sin(turn)], axis=1)
    before = editor.original.value
    assert "its face is turned upright" in editor.photo.view.value
    upload(editor, "me.png", portrait)
    assert editor.tabs.children[editor.tabs.selected_index] is editor.photo
    assert editor.photo.searches.wait(6 * SLACK)
    settled(editor)
    assert editor.session.state.source.label == "photo me"
    assert editor.original.value != before and "photo me" in editor.original.value
    assert (
        "identity" in editor.photo.view.value and "your photo with the edited face" in editor.photo.view.value
    )
    assert shown(editor.photo.finished) and not shown(editor.photo.searching)
    view = editor.photo.view.value
    send(slider(editor), 0.9)
    settled(editor)
    assert editor.photo.view.value != view  # the edit is in the photo
    assert "untick" not in editor.photo.view.value
    send(slider(editor, "Bald"), 0.9)
    settled(editor)
    assert "Not all of Bald lies in the face: untick" in editor.photo.view.value
    view = editor.photo.view.value
    send(editor.photo.oval, False)
    settled(editor)
    assert editor.photo.view.value != view and "untick" not in editor.photo.view.value
    editor.photo.save.click()
    assert editor.saves.exports.wait(SLACK)
    (path,) = tmp_path.glob("*_pasted.png")
    assert f"saved {path.name}" in editor.message.value
    while not editor.undo.disabled:
        editor.undo.click()
    settled(editor)
    assert editor.original.value == before
    assert not shown(editor.photo.finished)


def test_the_fit_of_a_photo_is_sharpened_and_taken_back(opener):
    editor, portrait = opener
    assert not shown(editor.photo.finished)
    upload(editor, "me.png", portrait)
    assert editor.photo.searches.wait(6 * SLACK)
    settled(editor)
    assert shown(editor.photo.sharpen) and not shown(editor.photo.plain)
    send(slider(editor), 0.9)
    settled(editor)
    before = editor.original.value
    editor.photo.sharpen.click()
    assert shown(editor.photo.searching) and not shown(editor.photo.finished)
    assert editor.photo.searches.wait(6 * SLACK)
    settled(editor)
    assert editor.session.state.source.tuned and editor.session.state.targets == {"Arched_Eyebrows": 0.9}
    assert editor.original.value != before and "adapted to this photo" in editor.photo.view.value
    assert shown(editor.photo.plain) and not shown(editor.photo.sharpen)
    editor.photo.plain.click()
    settled(editor)
    assert editor.original.value == before and shown(editor.photo.sharpen)
    editor.undo.click()
    settled(editor)
    assert editor.session.state.source.tuned


def test_sliders_work_while_a_photo_is_searched_and_it_can_be_cancelled(opener):
    editor, portrait = opener
    begun, go = threading.Event(), threading.Event()

    def rest(seconds):
        begun.set()
        assert go.wait(SLACK)

    editor.photo._rest = rest
    state = editor.session.state
    choose_file(editor.photo.upload, "me.png", portrait)
    assert begun.wait(SLACK)
    assert "<progress" in editor.photo.view.value and shown(editor.photo.searching)
    picture = editor.edited.value
    send(slider(editor), 0.9)
    settled(editor)
    assert editor.edited.value != picture
    assert "<progress" in editor.photo.view.value  # still there
    editor.photo.cancel.click()
    go.set()
    assert editor.photo.searches.wait(6 * SLACK)
    settled(editor)
    assert editor.session.state.source == state.source
    assert not shown(editor.photo.searching) and "<progress" not in editor.photo.view.value
    assert editor.photo.upload.value == ()


def test_a_picture_without_a_face_is_said_in_the_widget_and_can_be_taken_whole(opener):
    editor, _ = opener
    state = editor.session.state
    upload(editor, "wall.png", png(np.full((90, 120, 3), 128, np.uint8)))
    assert editor.photo.searches.wait(6 * SLACK) and editor.queue.wait(SLACK)
    assert 'role="alert"' in editor.message.value and "no face was found" in editor.message.value
    assert editor.session.state == state and not shown(editor.photo.searching)
    send(editor.photo.aligned, True)
    assert editor.photo.searches.wait(6 * SLACK)
    settled(editor)
    assert editor.session.state.source.label == "photo wall"


def test_of_several_faces_another_can_be_chosen(opener, monkeypatch):
    editor, portrait = opener
    asked = []

    def opened(content, *, face=0, **options):
        photo = open_photo(content, aligned=True)
        asked.append(face)
        return replace(photo, picture=np.tile(photo.picture, (1, 2, 1)), faces=(None, None))

    monkeypatch.setattr("hfld.studio.own_face.open_photo", opened)
    assert not shown(editor.photo.face)
    upload(editor, "we.png", portrait)
    assert editor.photo.searches.wait(6 * SLACK)
    settled(editor)
    assert shown(editor.photo.face) and len(editor.photo.face.options) == 2
    choose(editor.photo.face, 1)
    assert editor.photo.searches.wait(6 * SLACK)
    settled(editor)
    assert asked[-1] == 1


def png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return buffer.getvalue()


def shown(widget) -> bool:
    return widget.layout.display != "none"


def test_missing_weights_name_the_command(tmp_path):
    profile = replace(load_profile("smoke"), root=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"python -m pretrain\.smoke"):
        LatentEditor(profile)


def test_a_picture_follows_the_hand():
    """From the front end's event to both new pictures: the goal is 150 ms on quiet cores.

    Networks of the published sizes, untrained. Counted is processor time: neighbours do not stretch it.
    """
    channels = {4: 192, 8: 192, 16: 128, 32: 96, 64: 48}
    generator = Generator(size=64, z_dim=80, w_dim=256, mapping_layers=4, channels=channels)
    regressor = ResNet(depth=50, width=16, stem="half", outputs=40, pool=4, sigmoid=True)
    T = torch.randn(1, 10, 256, generator=torch.Generator().manual_seed(1))
    editors = {name: LinearEditor(T, NAMES[:1]) for name in ("hfld", "baseline")}
    editor = LatentEditor(Engine(models=Models(generator=generator, regressor=regressor), editors=editors))
    settled(editor)
    drawn, spent = threading.Event(), []
    editor.compared.observe(lambda change: drawn.set(), names="value")
    for i in range(7):
        drawn.clear()
        start = time.process_time()
        send(slider(editor, NAMES[0]), 0.2 + i / 10)
        assert drawn.wait(SLACK)
        spent.append(time.process_time() - start)
    editor.close()
    assert statistics.median(spent) < 0.3
