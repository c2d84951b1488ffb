import pytest
import torch

from hfld.directions import DirectionMatrix, edit_latents, principal_axes, ridge_start


def test_an_edit_adds_each_direction_times_its_change():
    generator = torch.Generator().manual_seed(0)
    ws, delta, T = (torch.randn(shape, generator=generator) for shape in ((5, 4, 3), (5, 2), (2, 4, 3)))
    expected = ws.clone()
    for n in range(5):
        for a in range(2):
            expected[n] += delta[n, a] * T[a]
    torch.testing.assert_close(edit_latents(ws, delta, T), expected)
    assert torch.equal(edit_latents(ws, torch.zeros(5, 2), T), ws)


def test_principal_axes_are_those_of_w():
    generator = torch.Generator().manual_seed(0)
    rotation, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator))
    spread = torch.tensor([0.01, 0.5, 3.0, 40.0])
    axes = principal_axes(5 + torch.randn(50_000, 4, generator=generator) * spread @ rotation)
    torch.testing.assert_close(axes.norm(dim=1), spread, rtol=0.02, atol=0)
    cosine = torch.nn.functional.cosine_similarity(axes, rotation).abs()
    torch.testing.assert_close(cosine, torch.ones(4), rtol=0, atol=1e-3)


def test_an_axis_along_which_nothing_varies_has_an_inverse():
    w = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.0, 2.0, 0.0])
    axes = principal_axes(w)
    scores = w[:, :1].sigmoid()
    assert ridge_start(w, scores, axes).isfinite().all()
    assert (ridge_start(w, scores, axes)[0, 0] @ axes)[[1, 3]].abs().max() < 1e-4


def test_an_edits_length_is_its_mahalanobis_distance():
    w = torch.randn(2000, 4, generator=torch.Generator().manual_seed(0)) @ torch.tensor(
        [[3.0, 0.0, 0.0, 1.0], [0.0, 0.2, 0.0, 0.0], [0.0, 0.5, 1.0, 0.0], [0.0, 0.0, 0.0, 2.0]]
    )
    matrix = DirectionMatrix(attributes=3, rows=5, w_dim=4, seed=0, axes=principal_axes(w))
    ws, delta = torch.zeros(6, 5, 4), torch.rand(6, 3) - 0.5
    moved = (matrix(ws, delta) - ws).detach()
    expected = torch.einsum("nld,de,nle->nl", moved, torch.linalg.inv(torch.cov(w.T)), moved).mean(dim=1)
    torch.testing.assert_close(matrix.squared_length(delta).detach(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("whitened", [False, True])
def test_regression_finds_the_T_that_made_the_latents(whitened):
    generator = torch.Generator().manual_seed(0)
    T = torch.randn(3, 6, generator=generator)
    scores = torch.rand(2000, 3, generator=generator)
    scores[:, 1] = 0.6 * scores[:, 0] + 0.4 * scores[:, 1]  # correlated: the others are held
    w = 7 + scores @ T + 0.05 * torch.randn(2000, 6, generator=generator)
    axes = principal_axes(w) if whitened else None
    matrix = DirectionMatrix(attributes=3, rows=4, w_dim=6, seed=0, axes=axes)
    matrix.start_at(ridge_start(w, scores, axes))
    assert matrix.coordinates.requires_grad
    found = matrix.T.detach()
    assert (found == found[:, :1]).all()  # every row of ws moves alike
    assert (torch.nn.functional.cosine_similarity(found[:, 0], T) > 0.9).all()
    assert ((found[:, 0].norm(dim=1) / T.norm(dim=1) - 1).abs() < 0.3).all()  # the ridge holds back
