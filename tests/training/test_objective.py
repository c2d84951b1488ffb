from dataclasses import replace

import pytest
import torch
from toy_world import CONFIG, ROWS, W_DIM, toy_models

from hfld.directions import DirectionMatrix
from hfld.training.objective import edit_chances, loss_terms, sample_targets, unedited_batch


def test_only_some_attributes_of_a_sample_are_edited():
    scores = torch.rand(200, 10, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    delta, target = sample_targets(scores, sampling="delta", edited=3, generator=generator)
    assert ((delta != 0).sum(dim=1) == 3).all()
    assert ((delta != 0).sum(dim=0) > 30).all()  # each has its turn
    torch.testing.assert_close(target, scores + delta)
    assert torch.equal(target[delta == 0], scores[delta == 0])


def test_an_attribute_at_its_target_is_not_chosen():
    scores = torch.zeros(500, 4)  # half of all s are clamped away
    generator = torch.Generator().manual_seed(0)
    delta, _ = sample_targets(scores, sampling="delta", edited=1, generator=generator)
    assert ((delta != 0).sum(dim=1) == 1).float().mean() > 0.9  # all four are clamped in 1 of 16
    assert float(delta.sum(dim=1).mean()) > 0.5  # .25 if all were alike


def test_attributes_in_focus_are_edited_more_often():
    scores = torch.full((4000, 5), 0.5)
    chance = torch.tensor([3.0, 1.0, 1.0, 1.0, 1.0])
    delta, _ = sample_targets(
        scores, sampling="delta", edited=1, chance=chance, generator=torch.Generator().manual_seed(1)
    )
    share = (delta != 0).float().mean(dim=0)
    assert 2.5 < share[0] / share[1:].mean() < 3.5  # waiting for a change evens it out a little
    torch.testing.assert_close(share[1:], share[1:].mean().expand(4), atol=0.02, rtol=0)
    config = replace(CONFIG, focus=("Attractive",), focus_weight=4.0)
    assert edit_chances(config, config.attributes).tolist() == [1, 1, 4]


def test_targets_are_clamped_and_delta_leads_to_them():
    scores = torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
    delta, target = sample_targets(scores, sampling="delta", generator=torch.Generator().manual_seed(1))
    assert target.min() == 0
    assert target.max() == 1
    torch.testing.assert_close(scores + delta, target)
    inside = (target > 0) & (target < 1)
    assert delta[inside].min() < -0.8
    assert delta[inside].max() > 0.8
    assert abs(float(delta.mean())) < 0.05

    delta, target = sample_targets(scores, sampling="uniform", generator=torch.Generator().manual_seed(1))
    assert (target == target[:1]).all()
    assert target.min() >= 0
    assert target.max() <= 1
    torch.testing.assert_close(scores + delta, target)
    with pytest.raises(ValueError, match="sampling"):
        sample_targets(scores, sampling="normal", generator=torch.Generator())


def test_gradient_reaches_T_only():
    models = toy_models()
    original = unedited_batch(
        models, models.latents(4, seed=1, split="train"), columns=[0, 1], precision="fp32"
    )
    matrix = DirectionMatrix(attributes=2, rows=ROWS, w_dim=W_DIM, seed=0)
    delta, target = sample_targets(original.scores, sampling="delta", generator=torch.Generator())
    names = ("regression", "content", "adversarial", "landmark")
    config = replace(CONFIG, lambda_landmark=1.0)
    terms = loss_terms(models, matrix, original, delta, target, columns=[0, 1], config=config, terms=names)
    assert all(term.shape == (4,) for term in terms.values())
    for name in names:
        (gradient,) = torch.autograd.grad(terms[name].mean(), matrix.coordinates, retain_graph=True)
        assert gradient.abs().sum() > 0, name
    sum(term.mean() for term in terms.values()).backward()
    assert matrix.coordinates.grad is not None
    for network in models.networks().values():
        assert not network.training
        assert all(p.grad is None and not p.requires_grad for p in network.parameters())
