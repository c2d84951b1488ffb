"""A generator that is tuned to one's own photo: edited, undone, saved, and never mistaken for the other."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_evaluator import ToyTruth
from toy_studio import toy_engine
from toy_world import SIDE, toy_models

from hfld.config import load_profile
from hfld.images import to_tensor
from hfld.inversion import invert
from hfld.photos.alignment import center_quad
from hfld.photos.own_photo import Photo
from hfld.studio import engine as engine_module
from hfld.studio import own_face as module
from hfld.studio import recipes
from hfld.studio.own_face import OwnFace, OwnFaces, Sharpening, sharpen, summary
from hfld.studio.session import Session

WAIT = 120.0  # seconds that a busy machine may take
CONFIG = replace(load_profile("smoke").inversion, samples=32, steps=20, tuning_steps=20, stranger=None)


@pytest.fixture
def engine():
    models = toy_models()
    return toy_engine(models=models, world=ToyTruth(models), inversion=CONFIG)


def opened(engine, seed: int = 3) -> OwnFace:
    """A photo that this generator cannot draw, with the face that was found for it."""
    picture = np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    photo = Photo(picture, (), center_quad(SIDE, SIDE), "taken as an aligned face")
    return OwnFace("me", photo, invert(engine.models, to_tensor(picture[None]), CONFIG, progress=False), None)


def far(image: np.ndarray, own: OwnFace) -> float:
    return float(np.square(image.astype(float) - own.square).mean())


def test_the_face_is_nearer_and_its_edits_stay_and_undo_takes_it_back(engine):
    own, session = opened(engine), Session(engine, second="baseline")
    session.use(own)
    session.set_target("Attractive", 0.9)
    plain, seen = session.faces(session.state), []
    better = sharpen(engine, Sharpening(own), tell=seen.append)
    assert [round(found.share * CONFIG.tuning_steps) for found in seen] == list(range(21))
    assert (seen[-1].image == better.image).all()
    session.use(better)
    assert session.state.targets == {"Attractive": 0.9} and session.state.source.label == "photo me"
    faces = session.faces(session.state)
    assert far(faces["original"].image, own) < 0.7 * far(plain["original"].image, own)
    np.testing.assert_allclose(faces["original"].image.astype(int), better.image, atol=1)
    assert (faces["hfld"].image != faces["original"].image).any()
    assert (faces["hfld"].image != plain["hfld"].image).any()
    previews = session.previews(session.state)
    quick = engine.picture(engine.quick(session.state), None, session.state.source)[0]
    assert (previews["hfld"] == quick).all() and (
        quick != engine.picture(engine.quick(session.state))[0]
    ).any()
    assert session.own_face(session.state) is better and "adapted to this photo" in summary(engine, better)
    assert better.fidelity.perceptual == better.found.terms["perceptual"] < own.found.terms["perceptual"]
    session.undo()
    assert session.own_face(session.state) is own
    assert (session.faces(session.state)["hfld"].image == plain["hfld"].image).all()
    session.redo()
    assert (session.faces(session.state)["hfld"].image == faces["hfld"].image).all()
    session.use(better.plain)
    assert session.state.targets == {"Attractive": 0.9} and session.state.source.tuned == ""
    session.set_seed(4)
    ws = engine.models.ws(torch.from_numpy(engine.z(session.state.source)))
    assert (engine.original(session.state.source).image == engine.picture(ws)[0]).all()  # as before


def test_another_photo_begins_unedited(engine):
    own, session = opened(engine), Session(engine)
    better = sharpen(engine, Sharpening(own))
    session.use(opened(engine, 4))
    session.set_target("Attractive", 0.9)
    session.use(better)
    assert session.state.targets == {}


def test_a_recipe_shows_the_same_pixels_here_and_says_what_is_missing_elsewhere(engine):
    session = Session(engine)
    session.use(sharpen(engine, Sharpening(opened(engine))))
    session.set_target("Attractive", 0.9)
    text = recipes.to_text(recipes.recipe(engine, session.state))
    assert Session(engine).load("me.json", text.encode()).endswith("pixel for pixel")
    elsewhere = Session(replace(engine))
    words = elsewhere.load("me.json", text.encode())
    assert "tuned to the photo, which is not here. Open the photo and sharpen its fit" in words
    assert elsewhere.state.source.tuned == "" and elsewhere.state.targets == {"Attractive": 0.9}
    with pytest.raises(ValueError, match="tuned to its photo, and is not here"):
        elsewhere.engine.check(session.state)


@pytest.mark.parametrize("how", ["taken", "cancelled"])
def test_it_can_be_ended(engine, how):
    task, steps = Sharpening(opened(engine)), []

    def tell(found):
        steps.append(found.share)
        if len(steps) == 4:
            getattr(task, how).set()

    better = sharpen(engine, task, tell=tell)
    assert len(steps) == 4 and (better is None) == (how == "cancelled")
    if better is not None:
        assert 0 < far(better.image, task.own) < far(task.own.image, task.own)


def test_it_runs_behind(engine):
    found, failed, own = [], [], opened(engine)
    faces = OwnFaces(engine, tell=lambda now: None, found=found.append, failed=failed.append)
    faces.sharpen(own)
    assert faces.wait(WAIT)
    assert found[0].plain is own and not failed
    faces.sharpen(replace(own, found=replace(own.found, stranger=True)))
    assert faces.wait(WAIT)
    assert "only a face that was found in the photo can be sharpened" in str(failed[0])
    faces.close()


def test_what_cannot_be_done_is_said(engine, monkeypatch):
    own = opened(engine)
    monkeypatch.setattr(engine_module, "MAX_TUNED", 1)
    sharpen(engine, Sharpening(own))
    with pytest.raises(ValueError, match="1 photos have a generator of their own already"):
        sharpen(engine, Sharpening(own), tell=lambda found: pytest.fail("it has begun"))
    tune = module.tune

    def diverges(models, found, config, **options):
        return tune(models, found, replace(config, tuning_lr=1e30), **options)

    monkeypatch.setattr(engine_module, "MAX_TUNED", 2)
    monkeypatch.setattr(module, "tune", diverges)
    with pytest.raises(ValueError, match="could not be adapted to this photo"):
        sharpen(engine, Sharpening(own))
