"""Fitting on a small StyleGAN2 with the smoke profile: the path that more/editors takes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hfld.config import load_profile
from hfld.editors import FITTED, TRAINED, editor_file, make_editor
from hfld.editors.fitting import MAKERS, OFFICIAL, fit_editor, trained_config, training_bank
from hfld.models import Models
from hfld.networks.resnet import ResNet
from hfld.networks.stylegan2 import Generator


class CountingRegressor(nn.Module):
    """40 scores from the mean colours of a picture's quarters."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("matrix", torch.randn(12, 40, generator=generator))
        self.images = 0

    def forward(self, images):
        self.images += len(images)
        return (nn.functional.adaptive_avg_pool2d(images, 2).flatten(1) @ self.matrix).sigmoid()


@pytest.fixture
def models():
    torch.manual_seed(0)
    generator = Generator(size=8, z_dim=6, w_dim=10, mapping_layers=1, channels={4: 12, 8: 12})
    hashes = {"generator": "a" * 64, "regressor": "b" * 64}
    points = ResNet(width=2, outputs=212, stem="small")
    return Models(generator=generator, regressor=CountingRegressor(), landmarks=points, hashes=hashes)


@pytest.fixture
def profile(tmp_path):
    return replace(load_profile("smoke"), root=tmp_path)


def test_the_bank_is_made_once(models, profile):
    folder = profile.paths.runs / "bank"
    bank = training_bank(models, profile.editors, run_dir=folder, progress=False)
    assert models.regressor.images == len(bank.ws) == profile.editors.latents
    torch.testing.assert_close(bank.scores, models.score(bank.ws), rtol=0.05, atol=0.02)  # bfloat16 at most
    made = models.regressor.images
    again = training_bank(models, profile.editors, run_dir=folder, progress=False)
    assert models.regressor.images == made
    assert torch.equal(again.ws, bank.ws)
    assert torch.equal(again.scores, bank.scores)
    other = training_bank(models, replace(profile.editors, seed=2), run_dir=folder, progress=False)
    assert not torch.equal(other.ws, bank.ws)
    assert len(list(folder.iterdir())) == 2
    models.hashes["regressor"] = "c" * 64
    training_bank(models, profile.editors, run_dir=folder, progress=False)
    assert models.regressor.images == made + 2 * len(bank.ws)
    models.hashes.clear()  # networks that nobody can tell apart: nothing is kept
    training_bank(models, profile.editors, run_dir=folder, progress=False)
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_fitted_editor_is_saved_where_the_registry_finds_it(name, models, profile):
    fitted = fit_editor(name, models, profile, progress=False)
    assert fitted.path == editor_file(profile.paths.weights, name)
    assert fitted.seconds > 0
    assert list((profile.paths.runs / "bank").iterdir())
    ws = models.ws(models.latents(3, seed=0, split="test"))
    edited = fitted.editor.edit(ws, "Male", 0.5)
    assert edited.shape == ws.shape
    assert not torch.equal(edited, ws)
    again = make_editor(name, weights=profile.paths.weights, models=models)
    assert torch.equal(again.edit(ws, "Male", 0.5), edited)


def test_settings_come_from_the_profile(models, profile):
    profile = replace(profile, ganspace=replace(profile.ganspace, samples=300, directions=3))
    editor = fit_editor("ganspace", models, profile, progress=False).editor
    w = models.ws(models.latents(300, seed=profile.editors.seed, split="train"))[:, 0].double()
    variances = torch.linalg.eigvalsh(torch.cov(w.T)).flip(0)
    torch.testing.assert_close(editor.tensors["variance_ratio"], (variances / variances.sum())[:3])
    assert editor.tensors["steps"].shape == (3, 3, 10)  # groups 0-1, 2-3, all; directions; w_dim
    assert editor.settings()["probe"] == profile.ganspace.probe


def test_every_fitted_editor_has_a_maker():
    assert MAKERS.keys() == FITTED.keys()


@pytest.mark.parametrize("name", list(TRAINED))
def test_trained_editors_take_their_schedule_from_the_profile_or_the_references(name, profile):
    section = name.removesuffix("_hfld")
    config = trained_config(name, profile)
    assert config.steps == getattr(profile, section).steps
    assert config.attributes == profile.directions.attributes
    weight = profile.editors.landmark_weight if name.endswith("_hfld") else 0.0
    assert config.landmark_weight == weight
    full = trained_config(name, replace(profile, editors=replace(profile.editors, schedule="full")))
    assert full.steps == OFFICIAL[section].steps > config.steps
    assert full.hidden == OFFICIAL[section].hidden
    assert (full.landmark_weight, full.attributes) == (weight, config.attributes)


def test_an_unknown_editor_names_the_nearest(models, profile):
    with pytest.raises(ValueError, match="nearest is 'ganspace'"):
        fit_editor("ganspce", models, profile)
