"""From a picture file to a face of the editor: words, threads, and the way back into the photo."""

import io
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from toy_evaluator import ToyTruth
from toy_studio import toy_engine
from toy_world import SIDE, toy_models

from hfld.config import load_profile
from hfld.photos.alignment import center_quad
from hfld.photos.own_photo import Photo
from hfld.photos.synthetic import MARKS
from hfld.studio import own_face as module
from hfld.studio import recipes
from hfld.studio.own_face import OwnFaces, Search, find_own_face, summary
from hfld.studio.session import Session
from hfld.studio.state import Source

WAIT = 120.0  # seconds that a busy machine may take
CONFIG = replace(load_profile("smoke").inversion, samples=32, steps=40)


@pytest.fixture(scope="module")
def engine():
    models = toy_models()
    return toy_engine(models=models, world=ToyTruth(models), inversion=CONFIG)


def encoded(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def portrait(engine) -> bytes:
    """A picture of the generator's size and world."""
    ws = 0.5 * engine.original(Source.of_seed(41)).ws
    return encoded(engine.picture(ws)[0])


@pytest.fixture(scope="module")
def stranger() -> bytes:
    return encoded(np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), np.uint8))


def test_a_portrait_is_found(engine, portrait):
    seen = []
    own = find_own_face(engine, Search("me.png", portrait), tell=seen.append)
    assert own.name == "me" and not own.found.stranger
    assert np.abs(own.image.astype(int) - own.square).mean() < 5
    assert own.fidelity.identity > 0.9
    assert summary(engine, own) == "Taken as an aligned face."
    assert seen[0].image is None and seen[0].square.shape == (SIDE, SIDE, 3)
    assert [round(found.share * CONFIG.steps) for found in seen[1:]] == list(range(CONFIG.steps + 1))


def test_a_photograph_gets_the_nearest_portrait_and_is_told_so(engine, stranger):
    own = find_own_face(engine, Search("me.png", stranger))
    assert own.found.stranger and own.fidelity is None
    assert summary(engine, own) == (
        "Taken as an aligned face. The picture is a photograph, and this world draws portraits. "
        "This is the nearest of 32 portraits: not a likeness, but a face to edit."
    )
    photographs = replace(engine, world=None)
    assert "This generator draws no such pictures. This is the nearest of 32 of its faces" in summary(
        photographs, own
    )


@pytest.mark.parametrize("how", ["taken", "cancelled"])
def test_a_search_can_be_ended(engine, portrait, how):
    search = Search("me.png", portrait)
    steps = []

    def tell(found):
        steps.append(found.share)
        if len(steps) == 4:
            getattr(search, how).set()

    own = find_own_face(engine, search, tell=tell)
    assert len(steps) <= 5
    assert (own is None) == (how == "cancelled")
    if own is not None:
        near = replace(own, found=replace(own.found, terms={"perceptual": 0.1}))
        assert summary(engine, near) == "Taken as an aligned face. Taken before the search had ended."


def test_a_photograph_taken_at_once_is_told_what_this_world_draws(engine, stranger):
    search = Search("me.png", stranger)
    search.taken.set()
    own = find_own_face(engine, search)
    assert not own.found.stranger and not own.found.complete
    assert summary(engine, own).endswith(
        "Taken before the search had ended. It is not like the picture yet. This world draws portraits: "
        "if yours is a photograph, no search makes a likeness of it."
    )


def test_what_cannot_be_opened_is_said(engine, portrait):
    with pytest.raises(ValueError, match="not a readable picture"):
        find_own_face(engine, Search("me.png", b"nothing"))
    gray = encoded(np.full((90, 120, 3), 128, np.uint8))
    with pytest.raises(ValueError, match="no face was found in this picture of 120 x 90 px"):
        find_own_face(engine, Search("me.png", gray))
    assert find_own_face(engine, Search("me.png", gray, aligned=True)) is not None
    with pytest.raises(ValueError, match="does not open photos"):
        find_own_face(replace(engine, inversion=None), Search("me.png", portrait))


def test_each_world_has_its_own_frame(engine, monkeypatch):
    asked = []

    def opened(content, *, aligned=False, **options):
        asked.append(options)
        picture = np.zeros((20, 30, 3), np.uint8)
        return Photo(picture, (), center_quad(20, 30), "opened")

    monkeypatch.setattr(module, "open_photo", opened)
    for world in (engine.world, None):
        find_own_face(
            replace(engine, world=world, inversion=replace(CONFIG, steps=0)), Search("me", b"", face=2)
        )
    assert asked[1] == {"face": 2, "world": "portraits"}
    assert asked[3] == {"face": 2, "landmarks": engine.models.landmarks}  # FFHQ's, refined by H


def test_searches_run_behind_and_the_newest_counts(engine, portrait, stranger):
    found, failed, begun, go = [], [], threading.Event(), threading.Event()

    def tell(now):
        begun.set()
        assert go.wait(WAIT)

    faces = OwnFaces(engine, tell=tell, found=found.append, failed=failed.append)
    faces.open("old.png", portrait)
    assert begun.wait(WAIT) and not found  # it is held up in its thread; this one goes on
    faces.open("new.png", portrait)
    go.set()
    assert faces.wait(WAIT)
    assert [own.name for own in found] == ["new"]
    faces.open("bad.png", b"nothing")
    assert faces.wait(WAIT)
    assert len(found) == 1 and "not a readable picture" in str(failed[0])
    faces.open("gone.png", portrait)
    faces.cancel()
    assert faces.wait(WAIT) and len(found) == 1
    assert faces.again()
    assert faces.wait(WAIT) and found[-1].name == "gone"
    faces.close()


@pytest.fixture(scope="module")
def own(engine, portrait):
    """The found face, in the middle of a larger photo."""
    found = find_own_face(engine, Search("my photo.jpg", portrait))
    picture = np.full((40, 60, 3), 200, np.uint8)
    return replace(found, photo=Photo(picture, (), center_quad(40, 60), "one face was found"))


def test_the_found_face_is_edited_saved_and_loaded_to_the_same_pixels(engine, own):
    session = Session(engine, second="baseline")
    session.set_target("Attractive", 0.9)
    session.use(own)
    assert session.state.targets == {} and session.state.source.label == "photo my-photo"
    assert session.own_face(session.state) is own
    session.set_target("Attractive", 0.8)
    state, image = session.state, engine.result(session.state).image
    files = dict(session.files("face"))
    fresh = Session(engine)
    name = next(name for name in files if name.endswith(".json"))
    assert fresh.load(name, files[name]).endswith("pixel for pixel")
    assert fresh.state == state and fresh.state.source.label == "photo my-photo"
    assert (engine.result(fresh.state).image == image).all()
    session.undo()
    session.undo()
    assert session.own_face(session.state) is None
    session.redo()
    assert session.own_face(session.state) is own


def test_two_photos_with_the_same_nearest_face_are_told_apart(engine, own):
    other = replace(own, photo=replace(own.photo, picture=np.full((40, 60, 3), 90, np.uint8)))
    moved = replace(own, photo=replace(own.photo, quad=center_quad(30, 50)))  # another face of the picture
    session, sources = Session(engine), []
    for face in (own, other, moved):
        session.use(face)
        sources.append(session.state.source)
        assert session.own_face(session.state) is face
    assert len(set(sources)) == 3 and len({source.key for source in sources}) == 3
    session.undo()
    assert session.own_face(session.state) is other
    loaded = recipes.state_of(engine, recipes.recipe(engine, session.state))
    assert session.own_face(loaded) is other


def test_the_edit_goes_back_into_the_photo_and_is_marked(engine, own):
    session = Session(engine)
    with pytest.raises(ValueError, match="open one first"):
        list(session.files("photo"))
    session.use(own)
    session.set_target("Attractive", 0.9)
    ((name, content),) = session.files("photo")
    assert name.endswith("_pasted.png")
    with Image.open(io.BytesIO(content)) as picture:
        pasted = np.asarray(picture)
        assert picture.text["Comment"] == MARKS["composite"]
    fresh = Session(engine)
    assert fresh.load(name, content).endswith("pixel for pixel")
    assert fresh.state == session.state
    inside = np.zeros((40, 60), bool)
    inside[:, 10:50] = True
    assert (pasted[~inside] == 200).all() and (pasted[5:35, 15:45] != 200).any()
    face = session.engine.result(session.state).image
    np.testing.assert_array_equal(
        pasted[17:23, 27:33].mean((0, 1)).round(-1), face[3:5, 3:5].mean((0, 1)).round(-1)
    )
    turn = np.linspace(0, np.pi, 106)
    session.points = lambda image: 0.5 + 0.2 * np.stack([-np.cos(turn), np.sin(turn)], axis=1)  # a small face
    oval = session.pasted(session.state)
    assert (oval[5:10] == 200).all() and (oval[20, 30] != 200).any()
    small = session.pasted(session.state, oval=False, preview=True)
    assert small.shape == (40, 60, 3)  # smaller than the screen's


def test_large_photos_are_shown_small(own):
    picture = np.zeros((1000, 2000, 3), np.uint8)
    large = replace(own, photo=Photo(picture, (), center_quad(1000, 2000), ""))
    assert large.preview.picture.shape == (210, 420, 3)
    np.testing.assert_allclose(large.preview.quad.corners, center_quad(210, 420).corners)


def test_names_of_photos_are_safe_file_names():
    source = Source.of_latent(torch.zeros(1, 2, 3), "../../me & you é.tar")
    assert source.name == "me-you-é-tar"
    assert source == Source.of_latent(torch.zeros(1, 2, 3))
