from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from hfld.config import load_profile
from tools import step_speed as module
from tools.hardware import count_work, limits, peak_memory
from tools.step_speed import (
    Setting,
    make_step,
    measure_all,
    new_matrix,
    prepare,
    random_models,
    settings_to_time,
    weight_schedule,
)

CPU = torch.device("cpu")


def test_operations_and_bytes_are_counted():
    a, b = torch.rand(4, 8), torch.rand(8, 16)
    flops, moved = count_work(lambda: a @ b)
    assert flops == 2 * 4 * 8 * 16
    assert moved == 4 * (a.numel() + b.numel() + 4 * 16)
    x, kernel = torch.rand(2, 3, 9, 9), torch.rand(5, 3, 3, 3)
    assert count_work(lambda: F.conv2d(x, kernel))[0] == 2 * 2 * 5 * 7 * 7 * 3 * 9
    assert count_work(lambda: a.view(32))[1] == 0  # a view


def test_settings_differ_in_one_thing():
    for kind in ("cpu", "cuda"):
        settings = settings_to_time(kind, [4, 64])
        names = [setting.name for setting in settings]
        assert len(set(names)) == len(names)
        assert settings[:2] == [Setting("gradients of all weights", frozen=False), Setting("plain fp32 loop")]
        assert any(
            setting.batch == 64 and not setting.pool for setting in settings
        )  # the paper sees a latent once
        assert ("tf32" in {setting.precision for setting in settings}) == (kind == "cuda")
        assert any(setting.graphs for setting in settings) == (kind == "cuda")


def after_a_step(**changes):
    """T after one step of tiny networks."""
    setting = Setting("x", batch=4, **changes)
    models = prepare(random_models(size=32, width=2, read_at=16, device=CPU), setting)
    matrix = new_matrix(models)
    config = load_profile("smoke").directions
    step, *inputs = make_step(models, matrix, config, setting)
    step(*inputs)
    return matrix.T.detach()


def test_every_way_is_the_same_step():
    plain = after_a_step()
    start = new_matrix(random_models(size=32, width=2, read_at=16, device=CPU)).T
    assert (plain - start).abs().max() > 5e-4  # Adam's first step is the learning rate, here 1e-3
    for changes in ({"channels_last": True}, {"pool": True}):
        same = (after_a_step(**changes) - plain).abs() < 1e-5
        assert same.float().mean() > 0.98, changes  # Adam enlarges rounding where the gradient is nearly 0


def test_gradients_of_weights_are_work():
    models = random_models(size=32, width=2, read_at=16, device=CPU)
    config = load_profile("smoke").directions
    all_of_them, less = (
        module.measure(models, config, Setting("x", frozen=frozen), repeats=1)["tflop"]
        for frozen in (False, True)
    )
    assert 1.2 * less < all_of_them < 1.6 * less


def test_rare_terms_have_the_same_weight_on_average():
    weights = {"regression": 10.0, "content": 0.05, "adversarial": 0.05, "landmark": 3.0}
    schedule = weight_schedule(weights, 5)
    assert len(schedule) == 5
    for name, weight in weights.items():
        assert sum(update.get(name, 0) for update in schedule) == pytest.approx(5 * weight)
    assert all(update.keys() == {"regression", "landmark"} for update in schedule[1:])
    assert weight_schedule(weights, 1) == [weights]


def test_rare_terms_save_work():
    models = random_models(size=32, width=2, read_at=16, device=CPU)
    config = load_profile("smoke").directions
    rare = Setting("x", every=3, pool=True)
    matrix = new_matrix(models)
    step, *inputs = make_step(models, matrix, config, rare)
    computed = []
    terms = module.loss_terms
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "loss_terms", lambda *a, **k: computed.append(k["terms"]) or terms(*a, **k))
        step(*inputs)
    assert ["adversarial" in names for names in computed] == [True, False, False]
    assert ["content" in names for names in computed] == [True, False, False]
    assert all({"regression", "landmark"} <= set(names) for names in computed)
    found, more = (module.measure(models, config, replace(rare, every=every), repeats=1) for every in (3, 1))
    assert found["tflop"] < 0.95 * more["tflop"]
    assert found["samples_per_s"] == pytest.approx(4 / found["seconds"])


def test_table_of_tiny_networks(monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise MemoryError("too large")

    names = ("plain fp32 loop", "pooled originals", "batch 8, bf16")
    measure = module.measure
    monkeypatch.setattr(module, "measure", lambda *a, **k: (fail if a[2].batch == 8 else measure)(*a, **k))
    monkeypatch.setattr(module, "limits", lambda *a: (1e12, 1e10))
    frame = measure_all("smoke", batches=[4, 8], width=1, repeats=1, only=names, device=CPU)
    assert tuple(frame["name"]) == names
    assert capsys.readouterr().out.count("samples/s") == 3
    assert frame["speedup"][0] == 1
    assert frame["tflop"][1] < 0.9 * frame["tflop"][0]  # the originals were there
    assert (frame["peak_gb"][:2] > 0).all()
    assert frame["reason"][2] == "MemoryError: too large"
    assert frame["share_compute"][0] == pytest.approx(frame["tflop"][0] / frame["seconds"][0])
    assert pd.isna(frame["seconds"][2])


def test_the_command_writes_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(module, "limits", lambda *a: (1e12, 1e10))
    monkeypatch.setattr(module, "pick_device", lambda _: CPU)
    only = ["--batches", "4", "--width", "1", "--repeats", "1", "--only", "plain fp32 loop"]
    module.main(["smoke", *only, "--out", str(tmp_path)])
    text = (tmp_path / "steps.md").read_text()
    assert text in capsys.readouterr().out
    assert text.count("\n|") == 3
    assert torch.__version__ in text
    assert pd.read_csv(tmp_path / "steps.csv")["samples_per_s"][0] > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["tf32", "bf16", "CUDA graphs", "compiled"])
def test_on_a_gpu(name):
    frame = measure_all("smoke", batches=[4], width=8, repeats=2, only=[name], device=torch.device("cuda"))
    assert frame["samples_per_s"][0] > 0


def test_limits_are_positive():
    flops, moved = limits("fp32", CPU)
    assert flops > 1e6
    assert moved > 1e6
    assert peak_memory(CPU) > 1e7
