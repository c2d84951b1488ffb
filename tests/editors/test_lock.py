import pytest
import torch
from torch import nn
from toy_world import ROWS, W_DIM, toy_models

from hfld.attributes import attribute_index
from hfld.editors import Bank, ExpressionLock, LinearEditor, NoEdit
from hfld.losses import landmark_loss
from hfld.models import Models
from hfld.networks.reader import Reader
from hfld.networks.stylegan2 import Generator

NAMES = ("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive")
# In the toy world landmarks follow coordinates 0 and 11, attribute k follows coordinate k.


@pytest.fixture
def models():
    return toy_models()


@pytest.fixture
def ws(models):
    return models.ws(models.latents(5, seed=5, split="test"))


def dragging_editor():
    """Moves the attribute's coordinate, and coordinate 11 with it."""
    T = torch.eye(3, W_DIM)
    T[:, 11] = 0.8
    return LinearEditor(T[:, None].expand(-1, ROWS, -1).contiguous(), NAMES)


def drift(models, before, after):
    points = [models.points(models.images(ws)) for ws in (before, after)]
    return landmark_loss(*points)


class Bent(nn.Module):
    """Landmarks that also follow the square of coordinate 2: which way is still depends on where one is."""

    def __init__(self, models):
        super().__init__()
        self.linear = models.landmarks
        self.column = models.generator.pixels.detach()[:, 2]

    def forward(self, images):
        return self.linear(images) + 0.005 * (images.flatten(1) @ self.column).square()[:, None]


def test_a_step_ends_where_linear_landmarks_are_back(models, ws):
    """Descending |y| of a linear y overshoots nothing: one Polyak step ends at zero, for every image."""
    editor = dragging_editor()
    edited, locked = (e.edit(ws, "Attractive", 2.0) for e in (editor, ExpressionLock(editor, models)))
    assert drift(models, ws, edited).min() > 0.01
    assert drift(models, ws, locked).max() < 1e-6
    torch.testing.assert_close(locked[..., 2], edited[..., 2])  # this coordinate moves no landmark
    assert (models.score(locked)[:, 2] - models.score(edited)[:, 2]).abs().max() < 1e-5


def test_an_attribute_that_is_made_of_landmarks_gives_way(models, ws):
    editor = dragging_editor()
    edited, locked = (e.edit(ws, NAMES[0], 2.0) for e in (editor, ExpressionLock(editor, models)))
    # Coordinates 0 and 11 move every landmark alike: what is left of (1, 0.8) is orthogonal to (1, 1).
    expected = 2.0 * torch.tensor([0.1, -0.1]).expand(5, ROWS, 2)
    torch.testing.assert_close((locked - ws)[..., [0, 11]], expected, atol=1e-4, rtol=0)
    k = attribute_index(NAMES[0])
    assert (models.score(locked)[:, k] < models.score(edited)[:, k]).all()


def test_what_the_editor_leaves_alone_stays(models, ws):
    locked = ExpressionLock(dragging_editor(), models, steps=2)
    assert torch.equal(locked.edit(ws, "Attractive", 0.0), ws)
    strength = torch.tensor([1.0, 0.0, -1.0, 0.0, 2.0])
    edited = locked.edit(ws, "Attractive", strength)
    assert torch.equal((edited != ws).flatten(1).any(dim=1), strength != 0)
    assert torch.equal(ExpressionLock(NoEdit(), models).edit(ws, "Bald", 1.0), ws)


def test_batches_and_inference_mode_change_nothing(models, ws):
    whole = ExpressionLock(dragging_editor(), models).edit(ws, "Attractive", 1.0)
    parts = ExpressionLock(dragging_editor(), models, batch=2).edit(ws, "Attractive", 1.0)
    torch.testing.assert_close(parts, whole)
    locked = ExpressionLock(dragging_editor(), models)
    with torch.inference_mode():
        inside = locked.edit(ws.clone(), "Attractive", 1.0)
    torch.testing.assert_close(inside, whole)
    assert not whole.requires_grad


def test_more_steps_hold_bent_landmarks_better(models, ws):
    models.landmarks = Bent(models)
    editor = dragging_editor()
    edits = [ExpressionLock(editor, models, steps=n).edit(ws, "Attractive", 2.0) for n in (1, 6)]
    one, six = (drift(models, ws, edit).mean() for edit in edits)
    assert one < 0.3 * drift(models, ws, editor.edit(ws, "Attractive", 2.0)).mean()
    assert six < 0.02 * one


def test_fit_fits_the_editor_inside(models, ws):
    class Counting(NoEdit):
        banks = 0

        def fit(self, bank):
            self.banks += 1
            return self

    inner = Counting()
    locked = ExpressionLock(inner, models)
    assert locked.fit(Bank(ws, models.score(ws))) is locked
    assert inner.banks == 1


def test_a_lock_without_steps_is_refused(models):
    with pytest.raises(ValueError, match="steps must be at least 1, not 0"):
        ExpressionLock(NoEdit(), models, steps=0)


def untrained_models():
    torch.manual_seed(0)
    channels = {4: 16, 8: 16, 16: 16, 32: 8, 64: 8}
    return Models(
        generator=Generator(size=64, z_dim=16, w_dim=32, mapping_layers=1, channels=channels),
        regressor=nn.Identity(),
        landmarks=Reader(size=64, outputs=212, width=4, hidden=32),
    )


def test_on_a_stylegan_with_an_untrained_landmark_network():
    models = untrained_models()
    ws = models.ws(models.latents(3, seed=0, split="test"))
    direction = torch.randn(1, 10, 32, generator=torch.Generator().manual_seed(1))
    editor = LinearEditor(direction, ("Bald",))
    edited = editor.edit(ws, "Bald", 0.1)
    locked = ExpressionLock(editor, models, steps=12).edit(ws, "Bald", 0.1)
    assert (drift(models, ws, locked) < 0.5 * drift(models, ws, edited)).all()
    assert ((locked - edited).flatten(1).norm(dim=1) < 0.7 * (edited - ws).flatten(1).norm(dim=1)).all()


def test_a_lock_never_makes_it_worse():
    """An edit far beyond what a slope can foresee."""
    models = untrained_models()
    ws = models.ws(models.latents(6, seed=0, split="test"))
    editor = LinearEditor(torch.randn(1, 10, 32, generator=torch.Generator().manual_seed(1)), ("Bald",))
    edited = editor.edit(ws, "Bald", 5.0)
    locked = ExpressionLock(editor, models).edit(ws, "Bald", 5.0)
    assert (drift(models, ws, locked) <= 1.001 * drift(models, ws, edited)).all()
