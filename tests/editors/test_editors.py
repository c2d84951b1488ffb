"""What every registered editor must do, and the editor of CONTRIBUTING.md with them."""

import re

import pytest
import torch
import toy_editors
from toy_world import ROWS, W_DIM, fitted_editors, toy_bank, toy_models

from hfld.config import ROOT
from hfld.directions import Directions
from hfld.editors import (
    EDITORS,
    TRAINED,
    Bank,
    LinearEditor,
    NoEdit,
    RandomEditor,
    directions_file,
    editor_file,
    make_editor,
    strength_for,
)

NAMES = ("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive")  # coordinates 0, 1, 2 of w
FITTED = ("ganspace", "interfacegan", "sefa")
ALL_FITTED = (*FITTED, *TRAINED)
CONTEXTS = ("baseline", "hfld", "baseline_w", "hfld_w")
EXAMPLE = "regression"
EVERY = [*EDITORS, EXAMPLE]


@pytest.fixture
def models():
    return toy_models()


@pytest.fixture
def ws(models):
    return models.ws(models.latents(16, seed=5, split="test"))


def true_directions():
    return torch.eye(3, W_DIM)[:, None].expand(-1, ROWS, -1).contiguous()


@pytest.fixture(scope="module")
def weights(tmp_path_factory, fitted):
    folder = tmp_path_factory.mktemp("weights")
    for i, method in enumerate(CONTEXTS):
        noise = torch.randn(3, ROWS, W_DIM, generator=torch.Generator().manual_seed(i))
        Directions(true_directions() + 0.1 * noise, NAMES, method).save(directions_file(folder, method))
    for name, editor in fitted.items():
        editor.save(editor_file(folder, name))
    for name, kind in TRAINED.items():
        toy_editors.fitted(kind).save(editor_file(folder, name))
    return folder


def example_code() -> str:
    """The Python file that CONTRIBUTING.md shows."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), flags=re.S)
    return code


@pytest.fixture(scope="module")
def example():
    names: dict = {}
    exec(compile(example_code(), "CONTRIBUTING.md", "exec"), names)
    return names["Regression"]


@pytest.fixture(scope="module")
def made(weights, example):
    """name -> the editor as it comes from its file, and the object that was saved where there is one."""
    models, known = toy_models(), dict(fitted_editors(toy_models()))
    known |= {name: toy_editors.fitted(kind).connect(models) for name, kind in TRAINED.items()}
    known[EXAMPLE] = example().fit(toy_bank(models))
    known[EXAMPLE].save(editor_file(weights, EXAMPLE))
    found = {name: make_editor(name, weights=weights, seed=1, models=models) for name in EDITORS}
    found[EXAMPLE] = example.load(editor_file(weights, EXAMPLE))
    return {name: (editor, known.get(name)) for name, editor in found.items()}


@pytest.fixture(scope="module")
def fitted():
    return fitted_editors(toy_models())


@pytest.fixture(scope="module")
def refitted():
    return fitted_editors(toy_models())


@pytest.mark.parametrize("name", EVERY)
def test_every_editor_keeps_the_protocol(name, made, models, ws):
    editor = made[name][0]
    if name != EXAMPLE:  # the others come fitted and stay as they are
        assert editor.fit(Bank(ws=ws, scores=models.score(ws))) is editor
    before = ws.clone()
    assert torch.equal(editor.edit(ws, "Attractive", 0.0), ws)
    assert torch.equal(editor.edit(ws, "Attractive", torch.zeros(16)), ws)
    edited = editor.edit(ws, "Attractive", 1.5)
    assert edited.shape == ws.shape
    assert edited.dtype == ws.dtype
    assert torch.equal(ws, before)
    assert torch.equal(edited, ws) == (name == "none")
    each = editor.edit(ws, "Attractive", torch.linspace(-1, 1.5, 16))
    torch.testing.assert_close(each[-1], edited[-1])


@pytest.mark.parametrize("name", [*ALL_FITTED, EXAMPLE])
def test_every_fitted_editor_comes_back_from_its_file(name, weights, made, ws):
    again, saved = made[name]
    for strength in (0.7, torch.linspace(-1, 1, 16)):
        expected = saved.edit(ws, "Arched_Eyebrows", strength)
        torch.testing.assert_close(again.edit(ws, "Arched_Eyebrows", strength), expected, atol=0, rtol=0)
    assert editor_file(weights, name).read_bytes()[8:9] == b"{"  # safetensors: a header of JSON, no pickle


@pytest.mark.parametrize("name", EVERY)
def test_every_editor_raises_its_target_with_strength(name, made, models, ws):
    editor, k = made[name][0], NAMES.index("Arched_Eyebrows")
    strengths = (-0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
    scores = torch.stack([models.score(editor.edit(ws, "Arched_Eyebrows", s))[:, k] for s in strengths])
    steps = scores.mean(dim=1).diff()
    if name == "none":
        assert (steps == 0).all()
    elif name == "random":  # any direction moves a linear world one way, but which is chance
        assert (steps.sign() == steps[0].sign()).all()
    else:
        assert (steps > 0).all()
        assert scores[-1].mean() - scores[0].mean() > 0.15


def test_the_documented_editor_is_short_and_finds_the_planted_directions(example):
    assert len(example_code().splitlines()) < 60
    models = toy_models()
    editor = example().fit(toy_bank(models))
    for k, attribute in enumerate(NAMES):  # coordinate k of w makes attribute k
        ws = models.ws(models.latents(4, seed=0, split="test"))
        step = (editor.edit(ws, attribute, 1.0) - ws)[0, 0]
        assert step[k] / step.norm() > 0.95


def test_the_guide_names_the_places_of_a_registration():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for place in ("hfld/editors/__init__.py", "hfld/editors/fitting.py", "benchmark/dvc.yaml"):
        assert place in text
        assert (ROOT / place).is_file()


@pytest.mark.parametrize("name", FITTED)
def test_every_fitted_editor_is_made_by_its_seed(name, fitted, refitted, ws):
    again = refitted[name]
    assert torch.equal(again.edit(ws, "Attractive", 0.5), fitted[name].edit(ws, "Attractive", 0.5))


@pytest.mark.parametrize("name", FITTED)
def test_every_fitted_editor_raises_its_target_with_strength(name, fitted, models, ws):
    for k, attribute in enumerate(NAMES):
        scores = [
            models.score(fitted[name].edit(ws, attribute, s))[:, k] for s in (-0.5, -0.1, 0.0, 0.1, 0.5, 1.0)
        ]
        assert (torch.stack(scores).diff(dim=0) > 0).all()
        assert (scores[-1] - scores[0]).mean() > 0.3


@pytest.mark.parametrize("name", FITTED)
def test_every_fitted_editor_checks_its_input(name, fitted, ws):
    with pytest.raises(ValueError, match="Attractive"):
        fitted[name].edit(ws, "Atractive", 1.0)
    with pytest.raises(ValueError, match="strength must be"):
        fitted[name].edit(ws, "Attractive", torch.zeros(3))
    with pytest.raises(ValueError, match="ws must be"):
        fitted[name].edit(ws[:, :, :5], "Attractive", 1.0)


def test_linear_edit_is_the_einsum_of_the_paper(ws):
    T = torch.randn(3, ROWS, W_DIM, generator=torch.Generator().manual_seed(0))
    strength = torch.linspace(-2, 2, 16)
    delta = torch.zeros(16, 3)
    delta[:, 1] = strength
    expected = ws + torch.einsum("na,ald->nld", delta, T)
    torch.testing.assert_close(LinearEditor(T, NAMES).edit(ws, "Arched_Eyebrows", strength), expected)


def test_random_directions_are_of_w_seeded_and_as_long_as_the_reference():
    T = torch.randn(3, ROWS, W_DIM, generator=torch.Generator().manual_seed(0))
    a, b, c = (RandomEditor(T, NAMES, seed=seed).T for seed in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(a, a[:, :1].expand_as(a))
    torch.testing.assert_close(a.norm(dim=(1, 2)), T.norm(dim=(1, 2)))
    assert not torch.allclose(a[0] / a[0].norm(), a[1] / a[1].norm())


def test_strength_is_the_missing_score(models, ws):
    scores = models.score(ws)[:, 2]
    torch.testing.assert_close(strength_for(0.75, scores), 0.75 - scores, atol=0, rtol=0)
    each = torch.linspace(0, 1, 16)
    torch.testing.assert_close(strength_for(each, scores, 2.0), 2 * (each - scores), atol=0, rtol=0)
    # The score the image has already asks for no edit, and gets exactly none.
    editor = LinearEditor(true_directions(), NAMES)
    assert torch.equal(editor.edit(ws, "Attractive", strength_for(scores, scores)), ws)
    for target in (1.5, -0.1, torch.full((16,), torch.nan)):
        with pytest.raises(ValueError, match="target must be in"):
            strength_for(target, scores)


def test_wrong_input_is_named(ws, weights, tmp_path):
    editor = LinearEditor(true_directions(), NAMES)
    with pytest.raises(ValueError, match="Attractive"):
        editor.edit(ws, "Atractive", 1.0)
    with pytest.raises(ValueError, match="attribute 'Smiling' was not trained here, only"):
        editor.edit(ws, "Smiling", 1.0)
    with pytest.raises(ValueError, match="nearest is 'Male'"):
        NoEdit().edit(ws, "Mal", 1.0)
    with pytest.raises(ValueError, match="ws must be"):
        editor.edit(ws[:, :2], "Attractive", 1.0)
    with pytest.raises(ValueError, match="strength must be"):
        editor.edit(ws, "Attractive", torch.zeros(3))
    with pytest.raises(ValueError, match="T must be"):
        LinearEditor(true_directions(), NAMES[:2])
    with pytest.raises(ValueError, match="'hfld'"):
        make_editor("hfdl", weights=weights)
    with pytest.raises(FileNotFoundError, match="make repro"):
        make_editor("hfld", weights=tmp_path)
