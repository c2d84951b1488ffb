"""The command that measures inversion against exact landmarks."""

from dataclasses import replace

import pytest
from toy_evaluator import ToyTruth, toy_judges
from toy_world import toy_models

from hfld.config import load_profile
from tools import inversion as module

CONFIG = replace(load_profile("smoke").inversion, samples=32, steps=40, tuning_steps=4, stranger=None)


@pytest.fixture(scope="module")
def models():
    return toy_models()


def measured(models, **changes):
    z = 0.5 * models.latents(3, seed=7, split="test")
    options = {"tuned": changes.pop("tuned", False), "progress": False}
    return module.check(
        models, toy_judges(models), ToyTruth(models), z, replace(CONFIG, **changes), **options
    )


def test_errors_are_against_exact_landmarks(models):
    frame = measured(models, tuned=True)
    assert list(frame) == ["face", "render_px", "own_latent_px", "found_px", "tuned_px", "perceptual",
                           "identity", "stranger", "seconds"]  # fmt: skip
    assert len(frame) == 3 and not frame["stranger"].any()
    assert frame["own_latent_px"].max() < 0.05  # the toy generator draws what its truth says
    none = measured(models, steps=0)
    assert "tuned_px" not in none
    assert frame["found_px"].max() < 0.5 * none["found_px"].max()


def test_the_command_says_whether_the_goal_is_met(models, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(module.Models, "of", lambda profile: models)
    monkeypatch.setattr(module.Judges, "of", lambda profile: toy_judges(models))
    check, asked = module.check, []

    def on_toys(models, judges, world, z, config, **options):
        asked.append((len(z), config.steps, options["tuned"]))
        return check(models, judges, ToyTruth(models), 0.5 * z, replace(CONFIG, steps=0), **options)

    monkeypatch.setattr(module, "check", on_toys)
    monkeypatch.setattr(module, "GOAL", 1e6)
    assert module.main(["smoke", "--faces", "3", "--steps", "0", "--csv", str(tmp_path / "a.csv")]) == 0
    assert "Landmark errors of 3 portraits" in capsys.readouterr().out
    assert (tmp_path / "a.csv").read_text().startswith("face,render_px")
    monkeypatch.setattr(module, "GOAL", 1e-6)
    assert module.main(["smoke", "--tune"]) == 1
    assert asked == [(3, 0, False), (10, load_profile("smoke").inversion.steps, True)]
    with pytest.raises(SystemExit):
        module.main(["ffhq256"])
    assert "exact landmarks nobody knows" in capsys.readouterr().err
