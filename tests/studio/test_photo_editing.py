"""One's own photo on the profile of photographs, from the file to the photo with the edited face in it.

The networks are smoke-ffhq's: official formats, random weights. The way is proved, not the likeness.
"""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from hfld.config import load_profile
from hfld.directions import Directions
from hfld.editors import directions_file
from hfld.photos.official import import_official
from hfld.studio import recipes
from hfld.studio.engine import ALWAYS_OFFERED, Engine
from hfld.studio.own_face import OwnFaces, summary
from hfld.studio.session import Session
from hfld.training.photo_judges import roles, train_role
from pretrain.smoke_ffhq import make_files

pytestmark = pytest.mark.slow
WAIT = 300.0  # seconds that a busy machine may take
NAMES = ("Male", "Young")
SHIFT = 90  # px that the photo is larger on its left: the face is not in the middle


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """smoke-ffhq after `make photographs`, with random directions and an H; few steps of everything."""
    profile = replace(load_profile("smoke-ffhq"), root=tmp_path_factory.mktemp("photographs"))
    make_files(profile)
    import_official(profile)
    for role in roles(profile):
        train_role(profile, role)
    judge = profile.paths.world / "judge_landmarks.safetensors"
    profile.paths.weights.mkdir(parents=True)
    (profile.paths.weights / "landmarks.safetensors").write_bytes(judge.read_bytes())
    for seed, name in enumerate(ALWAYS_OFFERED):
        T = torch.randn(len(NAMES), 14, 32, generator=torch.Generator().manual_seed(seed))
        Directions(T, NAMES, name).save(directions_file(profile.paths.weights, name))
    inversion = replace(profile.inversion, samples=4, steps=3, tuning_steps=1)
    return Engine.from_profile(replace(profile, inversion=inversion), ALWAYS_OFFERED)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A real photo in the public domain (NASA), with a gray strip on its left, [320, 410, 3]."""
    data = pytest.importorskip("skimage.data", reason="scikit-image, whose photo this uses, is not installed")
    face = np.ascontiguousarray(data.astronaut()[:320, 60:380])
    return np.concatenate([np.full((320, SHIFT, 3), 128, np.uint8), face], axis=1)


def test_from_the_file_to_the_photo_with_the_edited_face(engine, photo):
    buffer, found, failed, seen = io.BytesIO(), [], [], []
    Image.fromarray(photo).save(buffer, "jpeg", quality=95)
    faces = OwnFaces(engine, tell=seen.append, found=found.append, failed=failed.append)
    faces.open("me.jpg", buffer.getvalue())
    assert faces.wait(WAIT) and not failed
    (own,) = found
    # detected and aligned as FFHQ: eyes level, a quarter of the side apart
    assert len(own.photo.faces) == 1 and own.square.shape == (256, 256, 3)
    eyes = own.photo.quad.to_crop(own.photo.faces[0].eyes)
    assert np.abs(eyes - [[0.375, 0.474], [0.625, 0.474]]).max() < 0.26  # H, untrained here, may refine it
    assert summary(engine, own).startswith("One face was found")
    # inverted, by H too
    assert engine.world is None and not own.found.stranger and own.found.complete
    assert own.found.ws.shape == (1, *engine.shape) == (1, 14, 32)
    assert {"perceptual", "pixel", "landmark"} <= own.found.terms.keys()
    assert own.fidelity is not None and [now.share for now in seen][-1] == 1
    # edited
    session = Session(engine, second="baseline")
    session.use(own)
    original = session.faces(session.state)["original"].image
    session.set_target("Male", 0.9)
    edited = session.faces(session.state)["hfld"].image
    assert (edited != original).any()
    # pasted back: its square, or only its oval; the rest is the photo
    ((name, content),) = session.files("photo")
    assert name == "photome_hfld_Male90_pasted.png"
    with Image.open(io.BytesIO(content)) as saved:
        pasted = np.asarray(saved.convert("RGB"))
        assert "synthetic" in saved.text["Comment"]
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]] + 0.5
    place = own.photo.quad.to_crop(np.stack([x, y], axis=-1))
    outside = ((place < 0) | (place > 1)).any(axis=-1)
    assert pasted.shape == photo.shape and outside.any()
    assert (pasted[outside] == own.photo.picture[outside]).all()
    middle = np.abs(place - 0.5).max(axis=-1) < 0.3
    assert (pasted[middle] != own.photo.picture[middle]).any(axis=-1).mean() > 0.9
    # the generator adapted to it
    faces.sharpen(own)
    assert faces.wait(WAIT) and not failed
    faces.close()
    session.use(found[1])
    assert session.state.targets == {"Male": 0.9}
    assert (session.faces(session.state)["original"].image != original).any()
    # a recipe shows the same pixels again
    session.undo()
    fresh = Session(engine)
    assert fresh.load("me.json", recipes.to_text(recipes.recipe(engine, session.state)).encode()).endswith(
        "pixel for pixel"
    )
