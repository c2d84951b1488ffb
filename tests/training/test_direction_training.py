import functools
from dataclasses import replace

import pytest
import torch
from toy_world import CONFIG, ROWS, W_DIM, toy_models

from hfld.directions import DirectionMatrix, Directions, principal_axes
from hfld.losses import adversarial_loss
from hfld.models import Models
from hfld.training import directions as module
from hfld.training.directions import train_directions
from hfld.training.loop import Run, TrainingDiverged


def fit(tmp_path, *, method="baseline", models=None, **changes):
    return train_directions(
        models or toy_models(), replace(CONFIG, **changes), method=method, run_dir=tmp_path, progress=False
    )


def test_a_known_direction_is_recovered(tmp_path):
    trained = fit(tmp_path, steps=400, lr=0.05, batch=16, pool=128, lambda_landmark=0.0)
    moved = trained.T.mean(dim=1)  # what the mean row, all that the toy pictures show, moves by
    expected = torch.eye(3, W_DIM)
    cosine = torch.nn.functional.cosine_similarity(moved, expected)
    assert (cosine > 0.95).all(), cosine
    assert trained.validation[-1]["regression"] < 0.7 * trained.validation[0]["regression"]


def test_the_latent_term_keeps_edits_short(tmp_path):
    free = fit(tmp_path / "a", steps=100, lr=0.05)
    kept = fit(tmp_path / "b", steps=100, lr=0.05, lambda_latent=10.0)
    assert kept.T.norm() < 0.5 * free.T.norm()
    assert kept.history[0].keys() - free.history[0].keys() == {"latent"}


def test_a_regressed_start_needs_a_pool_and_is_ahead(tmp_path):
    with pytest.raises(ValueError, match="pool is 0"):
        fit(tmp_path, start="regressed", pool=0)
    loss = {
        start: fit(tmp_path / start, start=start, steps=4, lr=1e-5, pool=64, validate_every=1).validation[0]
        for start in ("random", "regressed")
    }
    assert loss["regressed"]["regression"] < 0.9 * loss["random"]["regression"]


@pytest.mark.parametrize("whiten", [False, True])
def test_either_way_resumes(tmp_path, whiten):
    whole = fit(tmp_path / "a", steps=8, whiten=whiten, schedule="constant")
    models, config = toy_models(), replace(CONFIG, steps=8, whiten=whiten, schedule="constant")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Run", functools.partial(Run, max_seconds=0.0))
        for _ in range(7):
            train_directions(models, config, method="baseline", run_dir=tmp_path / "b", progress=False)
    again = train_directions(models, config, method="baseline", run_dir=tmp_path / "b", progress=False)
    assert torch.equal(whole.T, again.T)


def test_resuming_keeps_the_axes_it_began_with(tmp_path, monkeypatch):
    whole = fit(tmp_path / "a", whiten=True)
    with monkeypatch.context() as patch:
        patch.setattr(module, "Run", functools.partial(Run, max_seconds=0.0))
        fit(tmp_path / "b", whiten=True)
    monkeypatch.setattr(module, "principal_axes", lambda w: -principal_axes(w))  # another machine's signs
    assert torch.equal(whole.T, fit(tmp_path / "b", whiten=True).T)


def test_the_landmark_term_keeps_landmarks_still(tmp_path):
    changes = {"steps": 300, "lr": 0.05, "batch": 16, "attributes": ("Attractive", "5_o_Clock_Shadow")}
    baseline = fit(tmp_path, **changes)
    hfld = fit(tmp_path, method="hfld", **changes)
    assert hfld.validation[-1]["drift_px"] < 0.5 * baseline.validation[-1]["drift_px"]
    # Attribute 2 moves no landmark and stays editable.
    assert hfld.T[0].mean(dim=0)[2] > 0.8 * baseline.T[0].mean(dim=0)[2] > 0.3


@pytest.mark.parametrize("term", ["adversarial", "content"])
def test_a_rare_term_weighs_the_same(tmp_path, term):
    always = fit(tmp_path / "a", steps=200)
    rarely = fit(tmp_path / "b", steps=200, **{f"{term}_every": 4})
    assert not torch.equal(always.T, rarely.T)
    mean = [sum(row[term] for row in each.history) / 100 for each in (always, rarely)]
    assert mean[0] == pytest.approx(mean[1], rel=0.1)
    with pytest.raises(ValueError, match=f"{term}_every: 0, expected 1"):
        fit(tmp_path, **{f"{term}_every": 0})
    silent = fit(tmp_path / "c", steps=1, **{f"{term}_every": 4})
    weight = getattr(CONFIG, f"lambda_{term}")
    assert torch.equal(silent.T, fit(tmp_path / "d", steps=1, **{f"lambda_{term}": 4 * weight}).T)


def test_hfld_of_weight_zero_is_the_baseline(tmp_path):
    baseline = fit(tmp_path / "a")
    zero = fit(tmp_path / "b", method="hfld", lambda_landmark=0.0)
    assert torch.equal(baseline.T, zero.T)
    assert not torch.equal(baseline.T, fit(tmp_path / "c", method="hfld").T)


def interrupt(monkeypatch, tmp_path, *, at, **given):
    """A training that ends before step `at`."""
    batch = module.Training.batch

    def stop(training, i):
        if i == at:
            raise KeyboardInterrupt
        return batch(training, i)

    with monkeypatch.context() as patch:
        patch.setattr(module.Training, "batch", stop)
        patch.setattr(module, "Run", lambda *a, **k: Run(*a, **{**k, "save_every": 2}))
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path, **given)


def test_resumed_is_uninterrupted(tmp_path, monkeypatch):
    whole = fit(tmp_path / "whole", method="hfld")
    interrupt(monkeypatch, tmp_path / "parts", at=5, method="hfld")
    resumed = fit(tmp_path / "parts", method="hfld")
    assert torch.equal(whole.T, resumed.T)
    assert whole.validation == resumed.validation
    assert whole.history == resumed.history


def test_other_parameters_never_resume_a_run(tmp_path):
    first = fit(tmp_path)
    second = fit(tmp_path, lr=0.02)
    assert len(list(tmp_path.iterdir())) == 2
    assert not torch.equal(first.T, second.T)
    assert torch.equal(first.T, fit(tmp_path).T)


def test_alone_each_attribute_is_trained_with_the_others_at_rest(tmp_path):
    alone = fit(tmp_path / "alone", joint=False)
    assert alone.T.shape == (3, ROWS, W_DIM)
    one = fit(tmp_path / "one", attributes=("Arched_Eyebrows",))
    assert torch.equal(alone.T[1:2], one.T)
    assert {row["attribute"] for row in alone.history} == set(CONFIG.attributes)
    assert not torch.equal(alone.T, fit(tmp_path / "joint").T)


def test_in_w_all_rows_are_one_direction(tmp_path):
    trained = fit(tmp_path, method="baseline_w")
    assert trained.T.shape == (3, ROWS, W_DIM)
    assert torch.equal(trained.T, trained.T[:, :1].expand(-1, ROWS, -1))
    wide = fit(tmp_path, method="baseline").T
    assert not torch.equal(wide, wide[:, :1].expand(-1, ROWS, -1))


def test_fresh_latents_at_every_step(tmp_path):
    fresh = fit(tmp_path, pool=0)
    assert torch.isfinite(fresh.T).all()
    assert not torch.equal(fresh.T, fit(tmp_path).T)


def test_terms_are_logged_under_the_names_of_their_weights(tmp_path):
    trained = fit(tmp_path, method="hfld")
    assert {"step", "total", "regression", "content", "adversarial", "landmark"} == trained.history[-1].keys()
    assert [row["step"] for row in trained.validation] == [4, 8]
    row = trained.validation[-1]
    terms = ("regression", "content", "adversarial", "landmark")
    assert row["total"] == pytest.approx(sum(row[name] for name in terms))
    # The landmark term is 100 times the drift of [0, 1]; the log's drift is in pixels of 256.
    assert row["landmark"] == pytest.approx(100 * row["drift_px"] / 256, rel=1e-4)


def test_nan_stops_the_training(tmp_path):
    models = toy_models()
    models.regressor.matrix.data.fill_(float("nan"))
    with pytest.raises(TrainingDiverged, match="regression"):
        fit(tmp_path, models=models)


def test_a_term_needs_its_network(tmp_path):
    with pytest.raises(ValueError, match="landmark"):
        fit(tmp_path, method="hfld", models=toy_models(landmarks=False))
    fit(tmp_path, models=toy_models(landmarks=False))


def test_a_random_discriminator_is_another_one(tmp_path):
    models = toy_models()
    fresh = module._with_random_weights(models.discriminator, seed=1)
    images = models.images(models.ws(models.latents(4, seed=0, split="test")))
    before, after = models.discriminator(images), fresh(images)
    assert not torch.allclose(adversarial_loss(before), adversarial_loss(after))
    assert not torch.equal(fit(tmp_path / "a").T, fit(tmp_path / "b", discriminator="random").T)


def test_saved_and_loaded(tmp_path):
    trained = fit(tmp_path / "run", method="hfld")
    trained.save(tmp_path / "directions_hfld.safetensors")
    loaded = Directions.load(tmp_path / "directions_hfld.safetensors")
    assert torch.equal(loaded.T, trained.T)
    assert loaded.attributes == CONFIG.attributes
    assert loaded.method == "hfld"
    assert loaded.metadata["config"]["lambda_landmark"] == 100.0
    with pytest.raises(FileNotFoundError, match="make repro"):
        Directions.load(tmp_path / "directions_none.safetensors")


def test_splits_are_disjoint_streams():
    models = toy_models()
    streams = [models.latents(8, seed=s, split=k) for s in (0, 1) for k in ("train", "validation", "test")]
    assert len({tuple(z.flatten().tolist()) for z in streams}) == 6
    assert torch.equal(models.latents(4, seed=1, split="test"), models.latents(4, seed=1, split="test"))
    with pytest.raises(ValueError, match="split"):
        models.latents(4, seed=1, split="tune")


def test_a_pool_is_drawn_anew_and_a_training_resumes_in_any_of_them(tmp_path, monkeypatch):
    pooled = {"steps": 12, "pool": 16, "batch": 8, "validate_every": 100}
    drawn = []
    latents = Models.latents
    monkeypatch.setattr(
        Models, "latents", lambda self, count, **k: drawn.append((count, k)) or latents(self, count, **k)
    )
    whole = fit(tmp_path / "whole", refresh=5, **pooled)
    seeds = [given["seed"] for count, given in drawn if count == 16 and given["split"] == "train"]
    assert len(seeds) == len(set(seeds)) == 3  # steps 0-4, 5-9, 10-11
    kept = fit(tmp_path / "kept", refresh=0, **pooled)
    assert not torch.equal(whole.T, kept.T)
    interrupt(monkeypatch, tmp_path / "parts", at=7, refresh=5, **pooled)
    assert torch.equal(fit(tmp_path / "parts", refresh=5, **pooled).T, whole.T)


def test_a_seed_that_draws_test_latents_is_refused(tmp_path):
    config = replace(CONFIG, seed=0)
    with pytest.raises(ValueError, match="seed: 0, expected 1 or more"):
        train_directions(toy_models(), config, method="hfld", run_dir=tmp_path, progress=False)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "auto"])
def test_precision_of_a_gpu_holds_while_it_trains(tmp_path, monkeypatch, precision):
    def flags():
        cudnn = torch.backends.cudnn
        return cudnn.benchmark, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    seen, before = [], flags()
    monkeypatch.setattr(module.Training, "run", lambda *_, **__: seen.append(flags()) or [])
    config = replace(CONFIG, precision=precision)
    train_directions(toy_models(), config, method="hfld", run_dir=tmp_path, progress=False)
    assert seen == [(True, precision != "fp32", precision != "fp32")]
    assert flags() == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("pool", [0, 8])
def test_a_gpu_learns_the_same(tmp_path, pool):
    """With graphs, without them, and as a CPU does; D takes part in every second step."""
    config = replace(CONFIG, pool=pool, adversarial_every=2)

    def trained(device, graphs):
        run_dir = tmp_path / f"{device}{graphs}"
        models = toy_models(device=device)
        arguments = {"method": "hfld", "run_dir": run_dir, "progress": False, "graphs": graphs}
        return train_directions(models, config, **arguments).T

    recorded, launched, cpu = trained("cuda", True), trained("cuda", False), trained("cpu", False)
    torch.testing.assert_close(recorded, launched, atol=1e-5, rtol=0)
    moved = (cpu - DirectionMatrix(attributes=3, rows=ROWS, w_dim=W_DIM, seed=CONFIG.seed).T).abs()
    assert (recorded - cpu).abs().mean() < 0.05 * moved.mean()  # Adam enlarges rounding of gradients near 0
    assert (recorded - trained("cuda", True)).abs().max() < 1e-6  # it resumes


def test_a_step_in_principal_axes_is_a_share_of_their_length(tmp_path):
    models = toy_models()
    start = fit(tmp_path / "a", models=models, steps=1, lr=1e-9, whiten=True).T
    moved = fit(tmp_path / "b", models=models, steps=1, lr=0.1, whiten=True).T - start
    axes = principal_axes(models.ws(models.latents(20_000, seed=1, split="train"))[:, 0])
    steps = moved @ torch.linalg.inv(axes)
    assert ((steps.abs() - 0.1).abs() < 1e-3).float().mean() > 0.9  # Adam's first step is the learning rate
