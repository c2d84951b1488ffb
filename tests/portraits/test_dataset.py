import sys
import types

import numpy as np
import pytest
import torch

from hfld import data
from hfld.attributes import MIRROR
from hfld.portraits import parameters


def random_images(n, size, seed=0):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture
def drawn(monkeypatch):
    """A stand-in for the renderer that counts its calls."""
    calls = []

    def render_latents(z, size, workers=2, progress=True):
        calls.append(len(z))
        images = np.repeat((z[:, :1, None, None] * 40 + 128).clip(0, 255), 3, axis=3).astype(np.uint8)
        return np.tile(images, (1, size, size, 1)), np.full((len(z), 106, 2), 0.5)

    module = types.ModuleType("hfld.portraits.render")
    module.render_latents = render_latents
    monkeypatch.setitem(sys.modules, "hfld.portraits.render", module)
    return calls


def test_bytes_survive_the_round_trip():
    images = np.arange(2 * 8 * 16 * 3, dtype=np.int64).reshape(2, 8, 16, 3).astype(np.uint8)
    x = data.to_tensor(images)
    assert x.shape == (2, 3, 8, 16)
    assert x.min() == -1
    assert x.max() == 1
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(data.to_uint8(x), images)
    assert data.to_uint8(torch.full((1, 3, 1, 1), 2.0)).max() == 255


def test_wrong_images_are_refused():
    with pytest.raises(ValueError, match=r"float64 .*expected uint8"):
        data.to_tensor(np.zeros((1, 4, 4, 3)))
    with pytest.raises(ValueError, match=r"\(1, 4, 4, 3\), expected \[N, 3, H, W\]"):
        data.to_uint8(torch.zeros(1, 4, 4, 3))


def test_portraits_are_drawn_once(drawn, tmp_path):
    first = data.portraits(6, 3, size=8, cache_dir=tmp_path)
    again = data.portraits(6, 3, size=8, cache_dir=tmp_path)
    assert drawn == [6]
    assert np.array_equal(first.z, parameters.sample(6, 3))
    for name in ("z", "images", "landmarks"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert first.landmarks.dtype == np.float32
    assert [path.is_dir() for path in tmp_path.iterdir()] == [True]


@pytest.mark.parametrize(
    "other", [{"seed": 4}, {"mode": "independent"}, {"coupling": 0.5}, {"size": 16}, {"n": 5}]
)
def test_other_arguments_are_other_portraits(drawn, tmp_path, other):
    base = {"n": 6, "seed": 3, "mode": "natural", "coupling": 1.0, "size": 8, "cache_dir": tmp_path}
    data.portraits(**base)
    data.portraits(**{**base, **other})
    assert len(drawn) == 2


def test_another_renderer_draws_again(drawn, tmp_path, monkeypatch):
    data.portraits(2, 0, size=8, cache_dir=tmp_path)
    monkeypatch.setattr(data, "renderer_hash", lambda: "another")
    data.portraits(2, 0, size=8, cache_dir=tmp_path)
    assert drawn == [2, 2]


def test_renderer_hash_ignores_comments_only():
    source = 'X = 1\n\n\ndef f(x):\n    """Adds."""\n    return x + 1  # one more\n'
    assert data._code(source) == data._code('X = 1\ndef f(x):\n    """Adds one."""\n\n    return x + 1\n')
    assert data._code(source) != data._code(source.replace("x + 1", "x + 2"))


def test_interrupted_rendering_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "_render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.portraits(2, 0, size=8, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_set_decodes_its_labels(drawn):
    chosen = data.portraits(5, 1, size=8)
    assert np.array_equal(chosen.parameters.labels, parameters.decode(chosen.z).labels)
    assert chosen.batch(torch.tensor([4, 0])).shape == (2, 3, 8, 8)
    assert torch.equal(chosen.batch(torch.tensor([4])), data.to_tensor(chosen.images[4:5]))
    assert len(chosen[1:3]) == 2


def test_mirror_is_its_own_inverse_and_moves_each_point_with_its_pixel():
    images, landmarks = (
        random_images(2, 16),
        torch.rand(2, 106, 2, generator=torch.Generator().manual_seed(1)),
    )
    flipped, points = data.mirror(images, landmarks)
    assert torch.equal(flipped[..., 0], images[..., 15])
    for k in (0, 40, 57, 70, 90, 105):
        assert torch.allclose(points[:, k, 0], 1 - landmarks[:, MIRROR[k], 0])
        assert torch.equal(points[:, k, 1], landmarks[:, MIRROR[k], 1])
    back, points = data.mirror(flipped, points)
    assert torch.equal(back, images)
    assert torch.allclose(points, landmarks, atol=1e-6)


def test_mirror_half_keeps_images_and_landmarks_together():
    images = torch.zeros(64, 3, 4, 4)
    images[..., :2] = 1  # the left half is bright
    landmarks = torch.full((64, 106, 2), 0.25)
    flipped, points = data.mirror_half(images, landmarks, torch.Generator().manual_seed(0))
    bright_left = flipped[:, 0, 0, 0] == 1
    assert 16 < bright_left.sum() < 48
    assert torch.equal(points[:, 7, 0] == 0.25, bright_left)


def test_shift_moves_a_dot_and_its_landmark_together():
    side, n = 64, 40
    axis = (torch.arange(side) + 0.5) / side
    centre = torch.tensor([0.4, 0.6])
    blob = torch.exp(-((axis[None, :] - centre[0]) ** 2 + (axis[:, None] - centre[1]) ** 2) / (2 * 0.03**2))
    images = blob.expand(n, 3, side, side)
    moved, points = data.shift(images, centre.expand(n, 106, 2), torch.Generator().manual_seed(0))
    mass = moved[:, 0] / moved[:, 0].sum(dim=(1, 2), keepdim=True)
    found = torch.stack([(mass.sum(dim=1) * axis).sum(dim=1), (mass.sum(dim=2) * axis).sum(dim=1)], dim=1)
    assert (found - points[:, 0]).abs().max() * side < 0.05
    assert (points[:, 0] - centre).abs().max() * side > 1.5


def test_soften_is_a_function_of_the_generator_and_limited():
    images = random_images(8, 16)
    a = data.soften(images, torch.Generator().manual_seed(0))
    assert torch.equal(a, data.soften(images, torch.Generator().manual_seed(0)))
    assert not torch.equal(a, data.soften(images, torch.Generator().manual_seed(1)))
    plain = data.soften(images, torch.Generator().manual_seed(0), blur=0, noise=0)
    assert torch.equal(plain, images)
    flat = torch.full((4, 3, 16, 16), 0.3)
    assert torch.allclose(data.soften(flat, torch.Generator().manual_seed(0), noise=0), flat, atol=1e-6)


def test_intervened_latents_differ_in_few_attributes_and_show_every_one():
    natural, changed = parameters.sample(600, 5), data.intervened(600, 5)
    before, after = parameters.decode(natural).labels, parameters.decode(changed).labels
    flips = (before != after).sum(axis=1)
    assert 1.0 < flips.mean() < 4.0
    assert ((before != after).any(axis=0)).all()
    assert np.array_equal(data.intervened(600, 5), changed)
    rest = slice(45, None)
    assert np.allclose(natural[:, rest], changed[:, rest], atol=1e-5)
