import csv
import importlib.util
import linecache
import sys

import pytest
import torch
from torch import nn

from hfld.training.loop import (
    Run,
    TrainingDiverged,
    batch_indices,
    cosine_schedule,
    finished,
    run_folder,
    train,
)

X = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))
Y = X.sum(dim=1, keepdim=True)


def run(run_dir, *, steps=20, stop_at=None, fingerprint=None, poison=None):
    """A tiny regression with dropout (global RNG), a generator of its own and a moving average."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.3), nn.Linear(8, 1))
    average = nn.Linear(8, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=1.0e-2)
    generator = torch.Generator().manual_seed(5)

    def step(i):
        if stop_at == i:
            raise KeyboardInterrupt
        index = batch_indices(i, count=64, batch=24, seed=1)
        loss = (net(X[index]) - Y[index] + 0.1 * torch.randn(24, 1, generator=generator)).square()
        if poison == i:
            loss = loss * float("nan")
        return {"fit": loss, "decay": 1.0e-3 * net[0].weight.square().sum()}

    history = train(
        step=step,
        optimizer=optimizer,
        state={"net": net, "average": average},
        steps=steps,
        run_dir=run_dir,
        fingerprint=fingerprint or {"lr": 0.01, "world": {"size": 64}},
        schedule=cosine_schedule(20, warmup=3),
        after=lambda i: average.weight.data.lerp_(net[2].weight.data, 0.1),
        generators={"noise": generator},
        log_every=4,
        save_every=5,
        progress=False,
    )
    return net, average, history


def test_resumed_is_uninterrupted_to_the_bit(tmp_path):
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", stop_at=13)
    torch.rand(7)  # whatever happens between the two sessions
    parts = run(tmp_path / "parts")
    for a, b in zip(whole[0].parameters(), parts[0].parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(whole[1].weight, parts[1].weight)
    assert whole[2] == parts[2]
    assert (tmp_path / "whole/log.csv").read_text() == (tmp_path / "parts/log.csv").read_text()


def test_a_checkpoint_of_more_gpus_is_resumed(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_at=13)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    torch.save(
        {**saved, "rng_cuda": [torch.ones(1), torch.ones(2), torch.ones(3)]}, tmp_path / "checkpoint.pt"
    )
    restored = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", restored.append)
    run(tmp_path)
    assert [len(state) for state in restored[0]] == [1, 2]


def test_log_and_finished(tmp_path):
    assert not finished(tmp_path, 20)
    history = run(tmp_path)[2]
    assert finished(tmp_path, 20)
    assert not finished(tmp_path, 21)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [4, 8, 12, 16, 20]
    assert all(abs(row["total"] - row["fit"] - row["decay"]) < 1e-12 for row in history)
    assert history[-1]["fit"] < history[0]["fit"]


def test_finished_run_is_not_trained_again(tmp_path):
    first = run(tmp_path)
    again = run(tmp_path, stop_at=0)
    assert torch.equal(first[0][0].weight, again[0][0].weight)
    assert first[2] == again[2]


def test_other_parameters_are_refused_by_name(tmp_path):
    run(tmp_path, steps=5)
    with pytest.raises(ValueError, match=r"world.size: 64 there, 128 asked"):
        run(tmp_path, fingerprint={"lr": 0.01, "world": {"size": 128}})
    with pytest.raises(ValueError, match=r"seed: 'absent' there, 1 asked"):
        run(tmp_path, fingerprint={"lr": 0.01, "world": {"size": 64}, "seed": 1})


def test_divergence_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(TrainingDiverged, match="step 7"):
        run(tmp_path / "bad", poison=7)
    saved = torch.load(tmp_path / "bad/checkpoint.pt", weights_only=True)
    assert saved["done"] == 5
    recovered, whole = run(tmp_path / "bad"), run(tmp_path / "good")
    assert torch.equal(recovered[0][0].weight, whole[0][0].weight)


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    net = nn.Linear(1, 1)

    def spoil():
        for i in Run(tmp_path, steps=4, state={"net": net}, fingerprint={}, save_every=1, progress=False):
            if i == 2:
                net.weight.data.fill_(float("inf"))

    with pytest.raises(TrainingDiverged, match=r"net\.weight"):
        spoil()
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["done"] == 2
    assert torch.isfinite(saved["parts"]["net"]["weight"]).all()


def test_damaged_checkpoint_is_reported(tmp_path):
    run(tmp_path, steps=5)
    (tmp_path / "checkpoint.pt").write_bytes((tmp_path / "checkpoint.pt").read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged"):
        run(tmp_path)


def test_batches_cover_every_sample_once_an_epoch():
    seen = torch.cat([batch_indices(i, count=50, batch=8, seed=2) for i in range(25)])  # 200 = 4 epochs
    for epoch in seen.split(50):
        assert sorted(epoch.tolist()) == list(range(50))
    assert not torch.equal(seen[:50], seen[50:100])
    assert torch.equal(batch_indices(6, count=50, batch=8, seed=2), seen[48:56])
    assert sorted(batch_indices(0, count=3, batch=7, seed=0)[:3].tolist()) == [0, 1, 2]


def test_code_that_computes_something_else_is_another_run(tmp_path):
    def folder(source):
        path = tmp_path / "loss.py"
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("loss", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["loss"] = module
        spec.loader.exec_module(module)
        linecache.clearcache()
        return run_folder(tmp_path, {"lr": 0.1}, code=(module.loss,))

    first = folder('def loss(x):\n    """Squared."""\n    return x * x\n')
    assert folder('def loss(x):\n    """Squared."""\n    return x * x\n') == first
    changed = folder("def loss(x):\n    return x * x * x\n")
    assert len({first, changed, run_folder(tmp_path, {"lr": 0.1})}) == 3
    del sys.modules["loss"]
