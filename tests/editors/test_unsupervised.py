import numpy as np
import pytest
import torch
from toy_world import ROWS, SPREAD, W_DIM, planted_weights, toy_bank, toy_models

from hfld.attributes import ATTRIBUTES
from hfld.editors import Bank, GanSpace, SeFa
from hfld.editors.ganspace import incremental_components, principal_components
from hfld.editors.sefa import factorize, style_weights
from hfld.editors.unsupervised import Validation, choose_labels, layer_groups, unit_strength
from hfld.networks.stylegan2 import Generator


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
def ganspace(bank, validation):
    return GanSpace(validation=validation, directions=W_DIM).fit(bank)


@pytest.fixture(scope="module")
def sefa(bank, validation):
    return SeFa(weights=planted_weights(), validation=validation, directions=W_DIM).fit(bank)


@pytest.fixture
def ws(models):
    return models.ws(models.latents(6, seed=5, split="test"))


def mixed_codes(count=500):
    generator = torch.Generator().manual_seed(4)
    mixing = torch.randn(W_DIM, W_DIM, generator=generator)
    return torch.randn(count, W_DIM, generator=generator) @ mixing + 30.0


def test_components_are_those_of_all_samples_at_once():
    x = mixed_codes()
    found = principal_components(x.split(64), 5)
    exact = x.double().numpy()
    _, values, vectors = np.linalg.svd(exact - exact.mean(0), full_matrices=False)
    stdev = values / np.sqrt(len(x) - 1)
    np.testing.assert_allclose(found.stdev, stdev[:5], rtol=1e-9)
    np.testing.assert_allclose(found.ratio, (stdev**2 / (stdev**2).sum())[:5], rtol=1e-9)
    cosines = np.abs((found.vectors.numpy() * vectors[:5]).sum(1))
    np.testing.assert_allclose(cosines, 1.0, atol=1e-9)
    np.testing.assert_allclose(found.vectors.norm(dim=1), 1.0, atol=1e-12)
    assert (found.vectors.gather(1, found.vectors.abs().argmax(1, keepdim=True)) > 0).all()


def test_the_references_estimate_comes_near():
    x = mixed_codes(4500)
    exact, near = principal_components([x], 3), incremental_components(x.split(1000), 3)
    assert ((exact.vectors * near.vectors).sum(dim=1) > 0.99).all()
    torch.testing.assert_close(near.stdev, exact.stdev, rtol=0.02, atol=0.0)
    assert not torch.equal(near.stdev, exact.stdev)


def test_too_many_components_are_refused():
    with pytest.raises(ValueError, match="below the 4 samples, not 4"):
        principal_components([torch.randn(4, W_DIM)], 4)
    with pytest.raises(ValueError, match="0 samples"):
        principal_components([], 1)


def test_strength_is_in_standard_deviations_along_a_component(bank, validation, ws):
    editor = GanSpace(validation=validation, directions=4).fit(bank)
    x, w = ws.double(), bank.ws[:, 0].double().numpy()
    _, vectors = np.linalg.eigh(np.cov(w.T))
    v = vectors[:, -2]  # the second component
    v = v * np.sign(v[np.abs(v).argmax()])
    sigma, s = (w @ v).std(ddof=1), np.linspace(-2, 2, 6)[:, None, None]
    moved = editor.move(x, 1, torch.linspace(-2, 2, 6), layers="2-3").numpy()
    np.testing.assert_allclose(moved[:, 2:4], x[:, 2:4].numpy() + s * sigma * v, atol=1e-6)
    np.testing.assert_array_equal(moved[:, :2], x[:, :2].numpy())


def test_a_person_moves_any_range_of_rows(bank, validation, ws, tmp_path):
    GanSpace(validation=validation, directions=4).fit(bank).save(tmp_path / "editor.safetensors")
    editor = GanSpace.load(tmp_path / "editor.safetensors")
    everywhere = editor.move(ws, 2, 1.5)
    assert (everywhere != ws).any(dim=(0, 2)).all()
    for start, stop in ((1, 3), (3, ROWS), (0, 1)):
        moved = editor.move(ws, 2, 1.5, rows=(start, stop))
        assert torch.equal(moved[:, start:stop], everywhere[:, start:stop])
        kept = [row for row in range(ROWS) if not start <= row < stop]
        assert torch.equal(moved[:, kept], ws[:, kept])
    assert torch.equal(editor.move(ws, 2, 1.5, rows=(2, 4)), editor.move(ws, 2, 1.5, "2-3"))


def test_a_groups_direction_may_act_on_other_rows(sefa, ws):
    step = sefa.step(1, "0-1")
    moved = sefa.step(1, "0-1", rows=(1, 4))
    assert torch.equal(moved[1:4], step[0].expand(3, -1))
    assert not moved[0].any()


@pytest.mark.parametrize("rows", [(2, 2), (-1, 2), (1, ROWS + 1), (3, 1)])
def test_rows_that_are_not_there_are_refused(ganspace, ws, rows):
    with pytest.raises(ValueError, match=f"within 0 to {ROWS}"):
        ganspace.move(ws, 0, 1.0, rows=rows)


def test_an_unknown_estimator_is_named(validation):
    with pytest.raises(ValueError, match="sparse"):
        GanSpace(validation=validation, estimator="sparse")


def test_factorization_is_the_singular_vectors_of_the_normalised_columns():
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(count, W_DIM, generator=generator) for count in (30, 20)]
    vectors, values = factorize(weights)
    A = np.concatenate([weight.double().numpy() for weight in weights]).T
    A = A / np.linalg.norm(A, axis=0)
    left, singular, _ = np.linalg.svd(A)
    np.testing.assert_allclose(values, singular**2, rtol=1e-9)
    assert values.sum().item() == pytest.approx(50)  # the trace counts channels
    np.testing.assert_allclose(np.abs((vectors.numpy() * left.T).sum(1)), 1.0, atol=1e-6)


def test_the_scale_of_a_layer_has_no_influence():
    synthesis = Generator(
        size=16, z_dim=6, w_dim=8, mapping_layers=1, channels={4: 12, 8: 10, 16: 6}
    ).synthesis
    weights = style_weights(synthesis)
    assert [tuple(weight.shape) for weight in weights] == [(12, 8), (12, 8), (10, 8), (10, 8), (6, 8), (6, 8)]
    layer = synthesis.convs[2].style
    torch.testing.assert_close(weights[2], layer.weight.detach() / 8**0.5)  # as used: equalized
    torch.testing.assert_close(weights[5], synthesis.to_rgbs[-1].style.weight.detach() / 8**0.5)
    scaled = factorize([7.0 * weights[0], weights[1]])
    for first, second in zip(factorize(weights[:2]), scaled, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-6, atol=1e-6)


def test_a_channel_without_style_is_refused():
    with pytest.raises(ValueError, match="zero"):
        factorize([torch.cat([torch.ones(2, W_DIM), torch.zeros(1, W_DIM)])])


def test_sefa_needs_weights_of_every_row(bank, validation):
    for weights in (None, planted_weights()[:2]):
        with pytest.raises(ValueError, match=f"each of {ROWS} rows"):
            SeFa(weights=weights, validation=validation).fit(bank)


@pytest.mark.parametrize(
    ("rows", "groups"),
    [
        (4, {"0-1": (0, 2), "2-3": (2, 4), "all": (0, 4)}),
        (10, {"0-1": (0, 2), "2-5": (2, 6), "6-9": (6, 10), "all": (0, 10)}),
        (14, {"0-1": (0, 2), "2-5": (2, 6), "6-13": (6, 14), "all": (0, 14)}),
        (18, {"0-1": (0, 2), "2-5": (2, 6), "6-13": (6, 14), "all": (0, 18)}),
    ],
)
def test_groups_of_rows_follow_the_generators_size(rows, groups):
    assert layer_groups(rows) == groups


@pytest.mark.parametrize("name", ["ganspace", "sefa"])
def test_planted_directions_are_found_and_named(name, request, ws):
    editor = request.getfixturevalue(name)
    for k in range(10):  # attribute k follows coordinate k
        label = editor.label(ATTRIBUTES[k])
        moved = (editor.edit(ws, ATTRIBUTES[k], 1.0) - ws).sum(dim=1)
        assert (moved[:, k] / moved.norm(dim=1) > 0.97).all()
        assert label.sign * label.change > 0
        assert editor.describe(label.direction)[0][0] == ATTRIBUTES[k]


def test_description_is_sorted_and_measured(ganspace, validation):
    changes = ganspace.describe(3, layers="0-1")
    sizes = [abs(change) for _, change in changes]
    assert sizes == sorted(sizes, reverse=True)
    assert {name for name, _ in changes} == set(ATTRIBUTES)
    moved = [ganspace.move(validation.ws, 3, s * ganspace.probe, "0-1") for s in (1, -1)]
    difference = (validation.score(moved[0]) - validation.score(moved[1])).mean(dim=0)
    for name, change in changes[:5]:
        assert change == pytest.approx(difference[ATTRIBUTES.index(name)].item(), abs=1e-6)
    with pytest.raises(ValueError, match="direction must be 0 to 11, not 12"):
        ganspace.describe(12)
    with pytest.raises(ValueError, match="nearest is '2-3'"):
        ganspace.describe(0, layers="2-4")


def test_a_label_is_the_most_change_per_side_effect_among_those_that_move_enough():
    signed = torch.zeros(1, 4, 40)
    signed[0, :, 0] = torch.tensor([0.8, -0.5, 0.1, 0.45])  # strong, clean, cleanest but weak, in between
    side = torch.tensor([0.4, 0.1, 0.001, 0.2])[:, None].expand(4, 40)
    absolute = torch.where(torch.arange(40) == 0, signed[0].abs(), side)[None]
    probes = torch.full((1, 4), 3.0)
    (label, other) = (
        choose_labels(signed, absolute, probes, ["all"], least=least)[ATTRIBUTES[0]] for least in (0.5, 0.1)
    )
    assert (label.direction, label.sign) == (1, -1)
    assert label.change == pytest.approx(-0.5)
    assert label.side_effect == pytest.approx(0.1)
    assert label.unit == pytest.approx(3 * 2 / 0.5)
    assert other.direction == 2


def test_a_unit_of_strength_asks_for_a_change_of_one_within_reach():
    assert unit_strength(0.5, 3.0) == 12.0  # 0.5 between -3 and 3
    assert unit_strength(-0.5, 3.0) == 12.0
    assert unit_strength(0.0, 3.0) == 15.0  # five probes, however little moves


@pytest.mark.parametrize(("name", "length"), [("ganspace", SPREAD[4].item()), ("sefa", 1.0)])
def test_native_strength_is_the_methods_own(name, length, request, ws):
    editor = request.getfixturevalue(name)
    label = editor.label("Bald")
    moved = editor.move(ws, label.direction, 2.0, label.layers)
    found = (moved - ws)[0].norm(dim=1).max().item()  # of the rows that are edited
    assert found == pytest.approx(2 * length, rel=0.08)
    torch.testing.assert_close(editor.edit(ws, "Bald", label.sign * 2 / label.unit), moved)


def test_fitting_needs_something_to_name_by_unless_it_was_loaded(ganspace, bank, tmp_path, ws):
    with pytest.raises(ValueError, match="needs `validation`"):
        GanSpace().fit(bank)
    with pytest.raises(ValueError, match="not fitted"):
        GanSpace().edit(ws, "Bald", 1.0)
    ganspace.save(tmp_path / "editor.safetensors")
    loaded = GanSpace.load(tmp_path / "editor.safetensors")
    assert loaded.fit(bank) is loaded
    assert loaded.labels == ganspace.labels
    assert loaded.describe(2) == ganspace.describe(2)
    with pytest.raises(ValueError, match="holds ganspace, not sefa"):
        SeFa.load(tmp_path / "editor.safetensors")
    with pytest.raises(FileNotFoundError, match="make benchmark"):
        SeFa.load(tmp_path / "editor_none.safetensors")


def test_rows_of_a_bank_must_be_alike(validation, ws):
    mixed = ws.clone()
    mixed[0, 1] += 1
    with pytest.raises(ValueError, match="all rows alike"):
        GanSpace(validation=validation, directions=2).fit(Bank(mixed, torch.zeros(6, 40)))
