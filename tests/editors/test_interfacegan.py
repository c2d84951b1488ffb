import numpy as np
import pytest
import torch
from sklearn.svm import SVC
from toy_world import toy_bank, toy_models

from hfld.attributes import ATTRIBUTES
from hfld.editors import InterFaceGan
from hfld.editors.interfacegan import train_boundary
from hfld.editors.unsupervised import Validation


@pytest.fixture(scope="module")
def models():
    return toy_models()


@pytest.fixture(scope="module")
def bank(models):
    return toy_bank(models)


@pytest.fixture(scope="module")
def validation(models):
    return Validation(models.ws(models.latents(24, seed=2, split="validation")), models.score)


@pytest.fixture(scope="module")
def editor(bank, validation):
    return InterFaceGan(validation=validation, chosen=0.1).fit(bank)


@pytest.fixture
def ws(models):
    return models.ws(models.latents(6, seed=5, split="test"))


def test_planted_boundaries_are_found(editor):
    for k in range(10):  # attribute k follows coordinate k
        found = editor.boundary(ATTRIBUTES[k])
        assert found.normal[k] > 0.95
        assert found.normal.norm().item() == pytest.approx(1.0, abs=1e-6)
        assert found.validation_accuracy > 0.95


def test_an_attribute_that_w_does_not_hold_is_seen_by_its_accuracy(bank):
    noise = torch.rand(len(bank.ws), generator=torch.Generator().manual_seed(1))
    found = train_boundary(bank.codes(), noise, chosen=0.1)
    assert found.validation_accuracy < 0.7


def test_the_boundary_is_the_references_under_the_same_random_numbers(bank):
    """The steps of METHODS one by one: sort, extremes, shuffle each side, 70/30, SVC, unit normal."""
    codes, scores = bank.codes().double(), bank.scores[:, 3].double()
    found = train_boundary(codes, scores, chosen=0.02, seed=4)
    order = sorted(range(len(codes)), key=lambda i: -scores[i].item())
    w = codes.numpy()[order]
    random = np.random.RandomState(4)
    sides = []
    for side in (w[:40], w[-40:]):
        index = np.arange(40)
        random.shuffle(index)
        sides.append(side[index])
    machine = SVC(kernel="linear").fit(np.concatenate([s[:28] for s in sides]), [1] * 28 + [0] * 28)
    coefficients = machine.coef_[0]
    np.testing.assert_allclose(found.normal, coefficients / np.linalg.norm(coefficients), atol=1e-6)
    held_out = machine.score(np.concatenate([s[28:] for s in sides]), [1] * 12 + [0] * 12)
    assert found.validation_accuracy == held_out


def test_another_seed_splits_differently(bank):
    first, same, other = (train_boundary(bank.codes(), bank.scores[:, 0], seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.normal, same.normal)
    assert not torch.equal(first.normal, other.normal)


def test_too_few_latents_are_named(bank):
    with pytest.raises(ValueError, match=r"chosen=0.02 of 50 latents: 0 of 1"):
        train_boundary(bank.codes()[:50], bank.scores[:50, 0])


def test_an_edit_moves_all_rows_along_the_normal(editor, ws):
    strength = torch.linspace(-3, 3, 6)
    step = editor.unit["Bald"] * editor.boundary("Bald").normal
    torch.testing.assert_close(editor.edit(ws, "Bald", strength), ws + strength[:, None, None] * step)


def test_strength_is_calibrated_to_the_score(editor, bank, validation):
    """The change between -probe and +probe, stretched to one unit of score."""
    normal = editor.boundary("Bald").normal
    probe = 3 * (bank.codes() @ normal).std()
    at = [validation.score(validation.ws + s * probe * normal)[:, 4].mean() for s in (1, -1)]
    assert editor.unit["Bald"] == pytest.approx(2 * probe.item() / (at[0] - at[1]).item(), rel=1e-4)


def test_what_is_missing_is_named(editor, bank, tmp_path, ws):
    with pytest.raises(ValueError, match="no boundary of Bald"):
        InterFaceGan().edit(ws, "Bald", 1.0)
    with pytest.raises(ValueError, match="needs `validation`"):
        InterFaceGan().fit(bank)
    editor.save(tmp_path / "editor.safetensors")
    loaded = InterFaceGan.load(tmp_path / "editor.safetensors")
    assert loaded.fit(bank) is loaded
    assert loaded.unit == editor.unit
    assert loaded.boundary("Bald").validation_accuracy == editor.boundary("Bald").validation_accuracy
    with pytest.raises(FileNotFoundError, match="make benchmark"):
        InterFaceGan.load(tmp_path / "editor_none.safetensors")
