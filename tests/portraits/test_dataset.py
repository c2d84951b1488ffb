import sys
import types

import numpy as np
import pytest

from hfld.portraits import dataset, parameters


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


def test_portraits_are_drawn_once(drawn, tmp_path):
    first = dataset.portraits(6, 3, size=8, cache_dir=tmp_path)
    again = dataset.portraits(6, 3, size=8, cache_dir=tmp_path)
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
    dataset.portraits(**base)
    dataset.portraits(**{**base, **other})
    assert len(drawn) == 2


def test_another_renderer_draws_again(drawn, tmp_path, monkeypatch):
    dataset.portraits(2, 0, size=8, cache_dir=tmp_path)
    monkeypatch.setattr(dataset, "renderer_hash", lambda: "another")
    dataset.portraits(2, 0, size=8, cache_dir=tmp_path)
    assert drawn == [2, 2]


def test_renderer_hash_ignores_comments_only():
    source = 'X = 1\n\n\ndef f(x):\n    """Adds."""\n    return x + 1  # one more\n'
    assert dataset._code(source) == dataset._code(
        'X = 1\ndef f(x):\n    """Adds one."""\n\n    return x + 1\n'
    )
    assert dataset._code(source) != dataset._code(source.replace("x + 1", "x + 2"))


def test_interrupted_rendering_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset, "_render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        dataset.portraits(2, 0, size=8, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_set_decodes_its_labels(drawn):
    chosen = dataset.portraits(5, 1, size=8)
    assert np.array_equal(chosen.parameters.labels, parameters.decode(chosen.z).labels)
    assert len(chosen[1:3]) == 2


def test_intervened_latents_differ_in_few_attributes_and_show_every_one():
    natural, changed = parameters.sample(600, 5), dataset.intervened(600, 5)
    before, after = parameters.decode(natural).labels, parameters.decode(changed).labels
    flips = (before != after).sum(axis=1)
    assert 1.0 < flips.mean() < 4.0
    assert ((before != after).any(axis=0)).all()
    assert np.array_equal(dataset.intervened(600, 5), changed)
    rest = slice(45, None)
    assert np.allclose(natural[:, rest], changed[:, rest], atol=1e-5)
