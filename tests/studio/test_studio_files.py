"""Recipes, exports, and the session that ties state, pictures and files together."""

import io
import json

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from toy_studio import toy_editor, toy_engine
from toy_world import ROWS

from hfld.photos.synthetic import synthetic_png
from hfld.studio import file_formats, recipes
from hfld.studio.drawing import NEW, OLD, difference, enlarge, landmark_overlay, sheet
from hfld.studio.file_formats import write_together
from hfld.studio.session import Session
from hfld.studio.state import Source, State

EDIT = State(
    source=Source.of_seed(3), editor="hfld", second="baseline", layers=(1, 3), held=frozenset({"Bald"})
)
EDIT = EDIT.with_target("Attractive", 0.8).with_target("Arched_Eyebrows", 0.25)


@pytest.fixture(scope="module")
def engine():
    return toy_engine()


@pytest.fixture
def session(engine):
    session = Session(engine, seed=3, second="baseline")
    session.set_target("Attractive", 0.8)
    return session


@pytest.mark.parametrize("by", ["seed", "latent"])
def test_a_recipe_gives_the_same_state_and_pixels(engine, by):
    latent = Source.of_latent(engine.original(Source.of_seed(9)).ws * 1.1)
    state = State(**vars(EDIT) | ({} if by == "seed" else {"source": latent}))
    text = recipes.to_text(recipes.recipe(engine, state))
    fresh = toy_engine()
    values = recipes.parse(text)
    loaded = recipes.state_of(fresh, values)
    assert loaded == state
    assert (fresh.result(loaded).image == engine.result(state).image).all()
    assert recipes.same_pixels(fresh, loaded, values) is None
    assert values["synthetic"] is True
    assert set(values["weights"]) == {"generator", "regressor", "hfld", "baseline"}
    assert recipes.same_pixels(fresh, loaded.without_targets(), values).startswith(
        "The recipe is loaded, but"
    )


def test_other_pixels_are_said(engine):
    values = recipes.recipe(engine, EDIT) | {"pixels": "of another processor"}
    assert "another processor" in recipes.same_pixels(engine, EDIT, values)


def test_a_locked_recipe_is_bound_to_h():
    locked = State(**vars(EDIT) | {"expression_lock": True})
    engine = toy_engine(lock_expression=lambda editor: editor)
    values = recipes.recipe(engine, locked)
    assert set(values["weights"]) == {"generator", "regressor", "hfld", "baseline", "landmarks"}
    assert recipes.state_of(engine, values) == locked
    other = toy_engine(lock_expression=lambda editor: editor)
    other.weights = {**other.weights, "landmarks": "0" * 64}
    with pytest.raises(ValueError, match="made with other weights: landmarks is"):
        recipes.state_of(other, values)


def test_a_recipe_of_other_weights_is_refused(engine):
    values = recipes.recipe(engine, EDIT)
    other = toy_engine(editors={"hfld": toy_editor(gain=2.01), "baseline": toy_editor(drag=0.5)})
    with pytest.raises(ValueError, match=r"made with other weights: hfld is .* would show another picture"):
        recipes.state_of(other, values)
    with pytest.raises(ValueError, match="uses 'baseline', which this session does not have"):
        recipes.state_of(toy_engine(editors={"hfld": toy_editor()}), values)
    values["weights"] = {}
    with pytest.raises(ValueError, match="does not say which weights"):
        recipes.state_of(engine, values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": {"Attractive": 3}}, r"target of Attractive must be a number in \[0, 1\]"),
        ({"targets": {"Atractive": 1}}, "nearest is 'Attractive'"),
        ({"targets": None}, "damaged"),
        ({"active": "Yuong"}, "nearest is 'Young'"),
        ({"active": ["Young"]}, "unknown attribute"),
        ({"source": {}}, "damaged"),
        ({"source": {"seed": "7"}}, "seed must be"),
        ({"source": {"ws": "AAAA", "shape": [1, 4, 12]}}, "latent is damaged"),
        ({"layers": [2]}, "damaged"),
        ({"layers": [0, 99]}, "layers 0 to 3"),
        ({"editor": "magic"}, "unknown editor 'magic'"),
    ],
)
def test_damaged_recipes_are_refused_in_plain_words(engine, change, message):
    with pytest.raises(ValueError, match=message):
        recipes.state_of(engine, {**recipes.recipe(engine, EDIT), **change})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "damaged or no JSON"),
        (b"\xff\xfe", "damaged or no JSON"),
        ("[]", "not a recipe"),
        ('{"format": "hfld recipe", "version": 7}', "version 7"),
        (b" " * (recipes.MAX_SIZE + 1), "too large"),
    ],
)
def test_other_files_are_no_recipes(text, message):
    with pytest.raises(ValueError, match=message):
        recipes.parse(text)


def test_a_saved_picture_says_that_it_is_synthetic_and_how_it_was_made(engine):
    values = recipes.recipe(engine, EDIT)
    image = engine.result(EDIT).image
    content = synthetic_png(image, values, kind="generated")
    picture = Image.open(io.BytesIO(content))
    assert (np.asarray(picture) == image).all()
    assert "synthetic" in picture.info["Comment"]
    assert b"trainedAlgorithmicMedia" in content
    assert json.loads(file_formats.recipe_in_png(content)) == values
    assert file_formats.recipe_in_png(synthetic_png(image, kind="generated")) is None
    with pytest.raises(ValueError, match=r"damaged|no picture"):
        file_formats.recipe_in_png(content[: len(content) // 2])


def test_a_saved_latent_comes_back(engine):
    ws = engine.result(EDIT).ws
    content = file_formats.latent(ws, recipes.recipe(engine, EDIT))
    assert torch.equal(file_formats.read_latent(content), ws)
    assert b"synthetic" in content
    with pytest.raises(ValueError, match="damaged"):
        file_formats.read_latent(content[:50])
    with pytest.raises(ValueError, match="no latent 'ws' but T"):
        file_formats.read_latent(save({"T": ws}))


def frames() -> list[np.ndarray]:
    return [np.full((32, 32, 3), 40 * i, np.uint8) for i in range(4)]


def test_films_go_there_and_back_and_carry_the_mark():
    animation = Image.open(io.BytesIO(file_formats.gif(frames())))
    assert animation.n_frames == 6
    assert b"synthetic" in animation.info["comment"]


def test_mp4_plays_or_says_that_there_is_no_codec(tmp_path, monkeypatch):
    content = file_formats.mp4(frames())
    (tmp_path / "film.mp4").write_bytes(content)
    film = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    grey = []
    while (read := film.read())[0]:
        grey.append(read[1].mean())
    assert grey == pytest.approx([0, 40, 80, 120, 80, 40], abs=8)
    assert b"trainedAlgorithmicMedia" in content
    monkeypatch.setattr(cv2, "VideoWriter", NoCodec)
    with pytest.raises(ValueError, match="save a GIF instead"):
        file_formats.mp4(frames())


class NoCodec:
    fourcc = staticmethod(lambda *letters: 0)

    def __init__(self, *arguments) -> None: ...

    def isOpened(self) -> bool:
        return False

    def release(self) -> None: ...


def test_difference_is_black_where_nothing_changed():
    before = np.full((8, 8, 3), 100, np.uint8)
    after = before.copy()
    after[2, 3] = 160
    heat = difference(before, after)
    assert heat[2, 3].sum() > 300
    heat[2, 3] = 0
    assert heat.max() <= 4
    with pytest.raises(ValueError, match="one size"):
        difference(before, after[:4])


def test_overlay_draws_old_and_new_landmarks_in_their_places():
    grey = np.full((16, 16, 3), 128, np.uint8)
    old, new = np.full((106, 2), 0.25), np.full((106, 2), 0.75)
    both = landmark_overlay(grey, old, new, side=160)
    assert np.abs(both[40, 40].astype(int) - OLD).max() < 40
    assert np.abs(both[120, 120].astype(int) - NEW).max() < 40
    assert (both[80, 80] != 128).any()  # the line between them
    assert (landmark_overlay(grey, old, side=160)[120, 120] == 128).all()


def test_sheets_place_pictures_in_a_grid():
    white = np.full((4, 4, 3), 255, np.uint8)
    grid = sheet([[white * 0, white], [white]], side=4)
    assert grid.shape == (10, 10, 3)
    assert grid[:4, :4].max() == 0 and grid[4:].min() == 255 and grid[:, 4:].min() == 255
    assert enlarge(white, 9).shape == (9, 9, 3)


def test_session_reports_every_change_and_undoes_it(engine):
    seen = []
    session = Session(engine, seed=3, second="baseline", changed=seen.append)
    start = session.state
    session.set_target("Attractive", 0.8)
    session.throw_dice()
    thrown = session.state.source.seed
    session.hold("Attractive", True)
    session.set_target("Arched_Eyebrows", 0.1)
    session.reset()
    assert session.state.targets == {"Attractive": 0.8}
    session.reset("Attractive")
    session.set_layers((0, ROWS - 1))
    assert session.state.layers is None
    session.set_layers((1, 2))
    assert session.state.source.seed == thrown
    assert seen[-1] == session.state
    while session.history.can_undo:
        session.undo()
    assert session.state == seen[-1] == start


def test_editors_change_places(session):
    session.set_editor("baseline")
    assert (session.state.editor, session.state.second) == ("baseline", "hfld")
    session.set_second("baseline")  # itself: nothing beside it
    assert session.state.second is None
    with pytest.raises(ValueError, match="does not know 'Young'"):
        session.set_target("Young", 1.0)


def test_snapshots_come_back(session):
    snapshot = session.take_snapshot()
    assert snapshot.label == "seed 3: Attractive 0.80"
    session.set_seed(5)
    session.restore(snapshot)
    assert session.state == snapshot.state
    assert (session.engine.result(session.state).image == snapshot.image).all()


def test_gauges_and_trajectories_of_both_editors(session):
    faces = session.faces(session.state)
    assert list(faces) == ["original", "hfld", "baseline"]
    gauges = session.gauges(session.state, faces)
    assert set(gauges) == {"hfld", "baseline"}
    assert gauges["baseline"].emotion_change.after > gauges["hfld"].emotion_change.after
    assert session.gauges(session.state, faces, floor=True)["hfld"].floor
    assert {name: len(images) for name, images in session.trajectories(session.state).items()} == {
        "hfld": 7,
        "baseline": 7,
    }
    assert Session(toy_engine(judges=None)).gauges(session.state, faces) == {}
    assert Session(session.engine).trajectories(Session(session.engine).state) == {}


def test_every_export_can_be_loaded_or_opened_again(session, tmp_path, monkeypatch):
    monkeypatch.setattr("hfld.studio.session.EXPORT_SIDE", 32)
    state, image = session.state, session.engine.result(session.state).image
    paths = write_together(tmp_path, session.files("face"))
    assert [path.name for path in paths] == [
        f"seed3_hfld_Attractive80.{kind}" for kind in ("png", "safetensors", "json")
    ]
    for path in paths:
        session.set_seed(11)
        message = session.load(path.name, path.read_bytes())
        assert session.state == state
        assert message.endswith("recipe loaded, pixel for pixel")
        assert (session.engine.result(session.state).image == image).all()
    session.restore(session.take_snapshot())
    session.load(paths[2].name, paths[2].read_bytes())
    for kind in ("gif", "sheet", "mp4"):
        ((name, content),) = session.files(kind)
        assert len(content) > 200 and name.startswith("seed3_hfld")
    with pytest.raises(ValueError, match="kind must be"):
        list(session.files("psd"))
    with pytest.raises(ValueError, match="move a slider first"):
        list(Session(session.engine).files("gif"))


def test_a_latent_without_a_recipe_is_shown_as_it_is(session):
    ws, image = session.engine.result(session.state).ws, session.engine.result(session.state).image
    assert session.load("other.safetensors", save({"ws": ws})) == "other.safetensors: latent loaded, unedited"
    assert session.state.targets == {} and session.state.active is None
    assert (session.engine.result(session.state).image == image).all()
    for header in ("no JSON", "[]"):
        with pytest.raises(ValueError, match="header is damaged"):
            session.load("x.safetensors", save({"ws": ws}, metadata={"hfld": header}))
    foreign = file_formats.latent(
        ws, recipes.recipe(session.engine, EDIT) | {"weights": {"generator": "other"}}
    )
    with pytest.raises(ValueError, match="made with other weights"):
        session.load("x.safetensors", foreign)


def test_second_save_keeps_the_first(session, tmp_path):
    first = write_together(tmp_path, session.files("face"))
    second = write_together(tmp_path, session.files("face"))
    assert [path.stem for path in second] == ["seed3_hfld_Attractive80-2"] * 3
    assert all(path.is_file() for path in first + second)


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def test_a_photo_needs_its_inversion(engine, session):
    before = session.state
    with pytest.raises(ValueError, match="must be inverted"):
        session.load("me.png", photo())
    with pytest.raises(ValueError, match="no picture"):
        session.load("me.jpg", b"nonsense")
    assert session.state == before
    seen = []

    def open_photo(name: str, content: bytes) -> str:
        seen.append((name, content))
        return f"{name} is opened"

    able = Session(engine, open_photo=open_photo)
    assert able.load("me.png", photo()) == "me.png is opened"
    assert seen == [("me.png", photo())]
    assert able.state == Session(engine).state  # until a face is found
