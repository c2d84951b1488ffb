"""Two processes under torchrun end in the T of one process at the same total batch."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from parallel_training import fit
from toy_world import CONFIG, toy_models

from hfld.config import ROOT
from hfld.directions import Directions
from hfld.training.directions import train_directions
from hfld.training.distributed import ALONE, Team, join


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [{"pool": 32}, {"pool": 0, "edited": 2}, {"pool": 32, "start": "regressed", "whiten": True}],
    ids=["pool", "fresh", "whitened"],
)
def test_two_processes_are_one(changes, tmp_path):
    alone = fit(tmp_path / "alone", changes)
    (tmp_path / "team").mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(Path(__file__).with_name("parallel_training.py")), str(tmp_path / "team")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, json.dumps(changes)], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    together = Directions.load(tmp_path / "team" / "T.safetensors")
    start = fit(tmp_path / "start", {**changes, "lr": 0.0})
    assert (alone.T - start.T).abs().max() > 0.01  # it has learnt something
    torch.testing.assert_close(together.T, alone.T, rtol=0, atol=1e-5)
    history = json.loads((tmp_path / "team" / "history.json").read_text())
    for ours, theirs in zip(history, alone.history, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    (run,) = {path.parent for path in (tmp_path / "team").glob("*/log.csv")}
    # what torchrun has trained is found finished by one process
    again = fit(tmp_path / "team", changes)
    assert {path.parent for path in (tmp_path / "team").glob("*/log.csv")} == {run}
    assert torch.equal(again.T, together.T)


def test_shares_are_disjoint_complete_and_whole():
    batch = list(range(16))
    shares = [batch[Team(rank, 2).rows(16)] for rank in range(2)]
    assert sorted(shares[0] + shares[1]) == batch
    groups = [{i for i in batch if i % 4 == g} for g in range(4)]  # of D in the whole batch
    for share in shares:
        assert {share[0], share[2], share[4], share[6]} in groups
    with pytest.raises(ValueError, match="batch: 6, expected a multiple of the 4 processes"):
        Team(0, 4).rows(6)


def test_a_batch_that_would_break_the_groups_is_refused(tmp_path):
    config = replace(CONFIG, batch=4)
    with pytest.raises(ValueError, match="batch: 4 over 2 processes, expected a multiple of 8"):
        train_directions(toy_models(), config, method="hfld", run_dir=tmp_path, team=Team(0, 2))


def test_the_groups_are_those_of_the_discriminator(tmp_path):
    models = toy_models()
    models.discriminator.group = 8
    with pytest.raises(
        ValueError, match="a multiple of 16: the discriminator compares samples in groups of 8"
    ):
        train_directions(models, replace(CONFIG, batch=8), method="hfld", run_dir=tmp_path, team=Team(0, 2))


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join(torch.device("cpu")) == ALONE
    value = torch.ones(3)
    assert ALONE.mean(value) is value
    assert list(range(5))[ALONE.rows(5)] == list(range(5))
