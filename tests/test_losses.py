import math

import pytest
import torch
from torch.autograd import gradcheck

from hfld.losses import (
    adversarial_loss,
    content_loss,
    landmark_loss,
    regression_loss,
    total_loss,
    weight_for_pixel,
    weight_per_pixel,
)

FIXED = {"dtype": torch.float64}


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), **FIXED)


@pytest.mark.parametrize(
    ("norm", "unit", "value", "weighted"),
    [
        ("l1", "normalized", 3.9e-3, 1953),
        ("l1", "signed", 7.8e-3, 3906),
        ("l1", "pixel", 1, 500_000),
        ("l2", "normalized", 1.5e-5, 7.6),
        ("l2", "signed", 6.1e-5, 30.5),
        ("l1_twice", "normalized", 1.8e-5, 9.2),
    ],
)
def test_paper_weight_for_a_shift_of_one_pixel(norm, unit, value, weighted):
    still = uniform(3, 106, 2)
    loss = landmark_loss(still + 1 / 256, still, norm=norm, unit=unit)
    assert loss.shape == (3,)
    torch.testing.assert_close(loss, torch.full((3,), value, **FIXED), rtol=0.03, atol=0)
    assert weight_per_pixel(0.5e6, norm=norm, unit=unit) == pytest.approx(weighted, rel=0.01)
    assert weight_for_pixel(weight_per_pixel(7.0, norm, unit), norm, unit) == pytest.approx(7.0)


@pytest.mark.parametrize("norm", ["l1", "l2", "l1_twice"])
def test_landmark_zero_at_equality_and_gradient(norm):
    a, b = uniform(2, 106, 2), uniform(2, 106, 2, seed=1)
    assert torch.equal(landmark_loss(a, a, norm=norm), torch.zeros(2, **FIXED))
    assert gradcheck(lambda p: landmark_loss(p, b, norm=norm), (a.clone().requires_grad_(),))
    torch.testing.assert_close(landmark_loss(a, b, norm), landmark_loss(b, a, norm))


def test_losses_are_per_sample():
    a, b = uniform(4, 106, 2), uniform(4, 106, 2, seed=1)
    torch.testing.assert_close(landmark_loss(a, b)[2:3], landmark_loss(a[2:3], b[2:3]))
    p, t = uniform(4, 5), uniform(4, 5, seed=1)
    torch.testing.assert_close(regression_loss(p, t)[1:2], regression_loss(p[1:2], t[1:2]))
    f, g = [uniform(4, 3, 8, 8)], [uniform(4, 3, 8, 8, seed=1)]
    torch.testing.assert_close(content_loss(f, g)[3:], content_loss([f[0][3:]], [g[0][3:]]))


def test_corrected_regression_is_binary_cross_entropy():
    p, t = uniform(3, 40), uniform(3, 40, seed=1)
    expected = torch.nn.functional.binary_cross_entropy(p, t, reduction="none").mean(dim=1)
    torch.testing.assert_close(regression_loss(p, t), expected)
    assert gradcheck(lambda q: regression_loss(q, t), (p.clone().requires_grad_(),))
    hard = torch.tensor([[0.0, 1.0]], **FIXED)
    assert regression_loss(hard, hard).item() == 0
    assert torch.isfinite(regression_loss(1 - hard, hard)).all()


def test_corrected_regression_pulls_towards_the_target_and_literal_only_up():
    target = torch.tensor([[0.2, 0.8]], **FIXED)
    pred = torch.tensor([[0.5, 0.5]], **FIXED, requires_grad=True)
    (towards,) = torch.autograd.grad(regression_loss(pred, target).sum(), pred)
    assert towards[0, 0] > 0 > towards[0, 1]
    (literal,) = torch.autograd.grad(regression_loss(pred, target, form="literal").sum(), pred)
    expected = (target.log() + (1 - target).log()) / 2  # mean over two attributes
    torch.testing.assert_close(literal, expected)
    assert (literal * 2 <= -2 * math.log(2)).all()


def test_content_is_zero_at_equality_and_reaches_the_edited_image_only():
    f = [uniform(2, 4, 8, 8).requires_grad_(), uniform(2, 8, 4, 4).requires_grad_()]
    assert content_loss(f, [x.detach() for x in f]).tolist() == [0, 0]
    g = [(x.detach() + 0.5).requires_grad_() for x in f]
    loss = content_loss(f, g)
    torch.testing.assert_close(loss, torch.full((2,), 0.25, **FIXED))
    loss.sum().backward()
    assert all(x.grad is None for x in f) and all(x.grad.abs().sum() > 0 for x in g)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_content_is_the_mean_square_piece_by_piece(monkeypatch, dtype):
    monkeypatch.setattr("hfld.networks.ops.PIECE", 3 * 5 * 7 * 2)  # rows of a map come in several pieces
    layouts = (torch.contiguous_format, torch.channels_last)
    a = [uniform(3, 5, 11, 7, seed=i).to(dtype, memory_format=layout) for i, layout in enumerate(layouts)]
    found, plain = ([x.mul(1.1).add(0.1).requires_grad_() for x in a] for _ in range(2))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    loss = content_loss(a, found)
    layers = [
        (x.to(wide) - y.to(wide)).square().flatten(1).mean(dim=1) for x, y in zip(a, plain, strict=True)
    ]
    expected = torch.stack(layers).mean(dim=0)
    torch.testing.assert_close(loss, expected)
    weights = torch.tensor([1.0, -2.0, 0.3], dtype=wide)
    (loss @ weights).backward()
    (expected @ weights).backward()
    for x, y in zip(found, plain, strict=True):
        assert torch.equal(x.grad, y.grad)
        assert x.grad.dtype == dtype


def test_content_gradient():
    f, g = [uniform(2, 3, 5, 4)], uniform(2, 3, 5, 4, seed=1).requires_grad_()
    assert gradcheck(lambda x: content_loss(f, [x]), (g,))


def test_content_layers_weigh_the_same():
    big, small = uniform(1, 64, 16, 16), uniform(1, 2, 2, 2)
    assert content_loss([big, small], [big + 1, small]).item() == pytest.approx(0.5)
    assert content_loss([big, small], [big, small + 1]).item() == pytest.approx(0.5)


def test_adversarial_forms():
    logits = torch.tensor([[-3.0], [0.0], [3.0]], **FIXED)
    torch.testing.assert_close(adversarial_loss(logits), -torch.sigmoid(logits).log()[:, 0])
    saturating = adversarial_loss(logits, form="saturating")
    torch.testing.assert_close(saturating, (1 - torch.sigmoid(logits)).log()[:, 0])
    for form in ("nonsaturating", "saturating"):
        assert (adversarial_loss(logits, form=form).diff() < 0).all()  # a more real image costs less
        assert gradcheck(lambda x, f=form: adversarial_loss(x, form=f), (logits.clone().requires_grad_(),))


def test_wrong_input_is_named():
    a = uniform(2, 106, 2)
    with pytest.raises(ValueError, match="norm"):
        landmark_loss(a, a, norm="l3")
    with pytest.raises(ValueError, match="unit"):
        landmark_loss(a, a, unit="mm")
    with pytest.raises(ValueError, match="shapes"):
        landmark_loss(a, a[:, :68])
    with pytest.raises(ValueError, match="form"):
        regression_loss(uniform(2, 3), uniform(2, 3), form="printed")
    with pytest.raises(ValueError, match="form"):
        adversarial_loss(uniform(2), form="hinge")
    with pytest.raises(ValueError, match="layers"):
        content_loss([a], [])


def test_the_final_loss_is_the_weighted_sum_of_the_means():
    terms = {"regression": torch.tensor([1.0, 3.0]), "landmark": torch.tensor([0.5, 0.0], requires_grad=True)}
    total, weighted = total_loss(terms, {"regression": 10.0, "landmark": 4.0})
    assert total.item() == 10 * 2 + 4 * 0.25
    assert {name: value.item() for name, value in weighted.items()} == {"regression": 20.0, "landmark": 1.0}
    total.backward()
    assert terms["landmark"].grad.tolist() == [2.0, 2.0]
