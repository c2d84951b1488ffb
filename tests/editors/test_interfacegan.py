import numpy as np
import pytest
import torch
from sklearn.svm import SVC
from toy_world import W_DIM, toy_bank, toy_models

from hfld.attributes import ATTRIBUTES
from hfld.editors import InterFaceGan
from hfld.editors.interfacegan import load_boundary, project, save_boundary, train_boundary
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


def unit(seed):
    v = torch.randn(W_DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return v / v.norm()


def test_planted_boundaries_are_found(editor):
    for k in range(10):  # attribute k follows coordinate k
        found = editor.boundary(ATTRIBUTES[k])
        assert found.normal[k] > 0.95
        assert found.normal.norm().item() == pytest.approx(1.0, abs=1e-6)
        assert found.validation_accuracy > 0.95
        assert found.remaining_accuracy > 0.8
        assert found.intercept == 0.0


def test_an_attribute_that_w_does_not_hold_is_seen_by_its_accuracy(bank):
    noise = torch.rand(len(bank.ws), generator=torch.Generator().manual_seed(1))
    found = train_boundary(bank.codes(), noise, chosen=0.1)
    assert found.validation_accuracy < 0.7
    assert found.remaining_accuracy < 0.6


@pytest.mark.parametrize("keep", [False, True])
def test_the_boundary_is_the_references_under_the_same_random_numbers(bank, keep):
    """The steps of METHODS one by one: sort, extremes, shuffle each side, 70/30, SVC, unit normal."""
    codes, scores = bank.codes().double(), bank.scores[:, 3].double()
    found = train_boundary(codes, scores, chosen=0.02, seed=4, keep_intercept=keep)
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
    expected = machine.intercept_[0] / np.linalg.norm(coefficients) if keep else 0.0
    assert found.intercept == pytest.approx(expected, abs=1e-9)
    held_out = machine.score(np.concatenate([s[28:] for s in sides]), [1] * 12 + [0] * 12)
    assert found.validation_accuracy == held_out
    middle = (scores.max() + scores.min()) / 2
    labels = (scores[order][40:-40] >= middle).int().numpy()
    assert found.remaining_accuracy == machine.score(w[40:-40], labels)


def test_another_seed_splits_differently(bank):
    first, same, other = (train_boundary(bank.codes(), bank.scores[:, 0], seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.normal, same.normal)
    assert not torch.equal(first.normal, other.normal)


def test_too_few_latents_are_named(bank):
    with pytest.raises(ValueError, match=r"chosen=0.02 of 50 latents: 0 of 1"):
        train_boundary(bank.codes()[:50], bank.scores[:50, 0])


def test_conditional_projection_against_each_closed_form():
    n, a, b, c = (unit(seed) for seed in range(4))
    one = n - (n @ a) * a
    torch.testing.assert_close(project(n, [a]), one / one.norm(), rtol=0, atol=1e-8)
    ab = a @ b
    alpha = (n @ a - (n @ b) * ab) / (1 - ab**2)
    beta = (n @ b - (n @ a) * ab) / (1 - ab**2)
    two = n - alpha * a - beta * b
    torch.testing.assert_close(project(n, [a, b]), two / two.norm(), rtol=0, atol=1e-8)
    basis = torch.stack([a, b, c])
    three = n - torch.linalg.solve(basis @ basis.T, basis @ n) @ basis
    torch.testing.assert_close(project(n, [a, b, c]), three / three.norm(), rtol=0, atol=1e-8)
    for conditions in ([a], [a, b], [a, b, c], [a, a, b]):
        found = project(n, conditions)
        assert max(abs(float(found @ condition)) for condition in conditions) <= 1e-8
        assert found.norm().item() == pytest.approx(1.0)
    assert project(n, []) is n
    with pytest.raises(ValueError, match="span"):
        project((a + b) / (a + b).norm(), [a, b])


def test_a_conditional_edit_leaves_the_other_boundary_where_it_is(editor, ws):
    names = ("Bald", "Bangs", "Attractive")
    conditional = editor.conditional("Bald", names[1:])
    before, after = (e.edit(ws, "Bald", 1.0) - ws for e in (editor, conditional))
    for name in names[1:]:
        normal = editor.boundary(name).normal
        assert (after @ normal).abs().max() < 1e-4
        assert (before @ normal).abs().max() > 1e-3
    assert torch.equal(conditional.edit(ws, "Bangs", 1.0), editor.edit(ws, "Bangs", 1.0))


def test_native_strength_is_relative_on_all_rows_and_absolute_in_w(bank, ws):
    editor = InterFaceGan(chosen=0.1, units="native").fit(bank)
    normal = editor.boundary("Bald").normal
    distance = torch.linspace(-3, 3, 6)
    moved = editor.edit(ws, "Bald", distance)
    torch.testing.assert_close(moved, ws + distance[:, None, None] * normal)
    w = ws[:, 0]
    torch.testing.assert_close(editor.to_distance(w, "Bald", distance) @ normal, distance, atol=1e-5, rtol=0)
    kept = InterFaceGan(chosen=0.1, units="native", keep_intercept=True).fit(bank)
    found = kept.boundary("Bald")
    assert found.intercept != 0
    signed = kept.to_distance(w, "Bald", 2.0) @ found.normal + found.intercept
    torch.testing.assert_close(signed, torch.full((6,), 2.0), atol=1e-5, rtol=0)


def test_strength_is_calibrated_to_the_score(editor, bank, validation):
    """The change between -probe and +probe, stretched to one unit of score."""
    normal = editor.boundary("Bald").normal
    probe = 3 * (bank.codes() @ normal).std()
    at = [validation.score(validation.ws + s * probe * normal)[:, 4].mean() for s in (1, -1)]
    assert editor.unit["Bald"] == pytest.approx(2 * probe.item() / (at[0] - at[1]).item(), rel=1e-4)


def test_boundaries_of_the_reference_are_read_and_written(tmp_path):
    normal = unit(3)
    save_boundary(tmp_path / "boundary.npy", normal)
    stored = np.load(tmp_path / "boundary.npy")
    assert stored.shape == (1, W_DIM)
    assert stored.dtype == np.float32
    torch.testing.assert_close(load_boundary(tmp_path / "boundary.npy"), normal.float())
    np.save(tmp_path / "long.npy", 3 * stored)
    assert load_boundary(tmp_path / "long.npy").norm().item() == pytest.approx(1.0, abs=1e-6)
    np.save(tmp_path / "pickled.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_boundary(tmp_path / "pickled.npy")
    np.save(tmp_path / "flat.npy", stored[0])
    with pytest.raises(ValueError, match=r"must hold floats \[1, w_dim\]"):
        load_boundary(tmp_path / "flat.npy")


def test_what_is_missing_is_named(editor, bank, tmp_path, ws):
    with pytest.raises(ValueError, match="no boundary of Bald"):
        InterFaceGan().edit(ws, "Bald", 1.0)
    with pytest.raises(ValueError, match="needs `validation`"):
        InterFaceGan().fit(bank)
    editor.save(tmp_path / "editor.safetensors")
    loaded = InterFaceGan.load(tmp_path / "editor.safetensors")
    assert loaded.fit(bank) is loaded
    assert loaded.settings() == editor.settings()
    assert loaded.unit == editor.unit
    assert loaded.boundary("Bald")[1:] == editor.boundary("Bald")[1:]
    with pytest.raises(FileNotFoundError, match="make benchmark"):
        InterFaceGan.load(tmp_path / "none.safetensors")
