"""Training that can stop at any step and go on to the same bits.

A run lives in `run_dir`: `checkpoint.pt` (tensors and plain values, read with `weights_only=True`) and
`log.csv`. Everything that the rest of a run depends on is in the checkpoint, so an interrupted run that is
started again ends in the same weights as one that was never interrupted. That needs one promise from the
caller: which data step `i` sees is a function of `i` and a seed alone.
"""

import csv
import functools
import hashlib
import inspect
import json
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer
from tqdm import tqdm

from hfld.images import replacing
from hfld.training.distributed import ALONE, Team

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
_ABSENT = "absent"


class Stateful(Protocol):
    """A module, optimizer, moving average: whatever can give its state and take it back."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class TrainingDiverged(RuntimeError):
    """A loss term or a weight stopped being finite. The last good checkpoint is left untouched."""


class Run:
    """The steps of a training that are still to be done, with its checkpoints, log and progress bar.

        for i in (run := Run(run_dir, steps=100, state={"network": network, "optimizer": optimizer}, ...)):
            terms = ...  # of step i
            run.record(terms)
            ...  # backward, optimizer.step()

    `run.history` is the log: each term's mean over every `log_every` steps.
    Raises `ValueError` if `run_dir` holds a run with another fingerprint or a damaged checkpoint,
    `TrainingDiverged` on NaN or infinity.
    """

    def __init__(
        self,
        run_dir: Path | str,  # checkpoint.pt and log.csv
        *,
        steps: int,  # total, including those done before an interruption
        state: Mapping[str, Stateful],  # all that a later step depends on: networks, optimizers, averages
        fingerprint: Mapping[str, Any],  # plain values; a checkpoint made under others is refused
        generators: Mapping[str, torch.Generator] | None = None,  # random generators that steps draw from
        log_every: int = 50,
        save_every: int = 500,
        max_seconds: float | None = None,  # stop early, saved; a new Run continues
        progress: bool = True,
        name: str = "",  # beside the progress bar
        team: Team = ALONE,  # processes whose logs are averaged; one of them writes
    ) -> None:
        self.run_dir = Path(run_dir)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.steps, self.log_every, self.save_every, self.max_seconds = (
            steps,
            log_every,
            save_every,
            max_seconds,
        )
        self._state, self._generators = dict(state), dict(generators or {})
        self._fingerprint, self._team = _plain(fingerprint), team
        self.done, self.history = 0, []
        self._window: dict[str, tuple[int, float]] = {}  # term -> steps, sum since the last row of the log
        self._seconds_before, self._started = 0.0, time.monotonic()
        self._resume()
        self._bar = tqdm(
            total=steps,
            initial=min(self.done, steps),
            desc=name or self.run_dir.name,
            disable=not (progress and team.leads),
            mininterval=1.0,
        )

    def __iter__(self) -> Iterator[int]:
        with self._bar:
            for i in range(self.done, self.steps):
                yield i
                self.done = i + 1
                last = self.done == self.steps
                if self.done % self.log_every == 0 or last:
                    self._log()
                self._bar.update()
                out_of_time = self.max_seconds is not None and self._elapsed() > self.max_seconds
                if self.done % self.save_every == 0 or last or out_of_time:
                    self._save()
                if out_of_time:
                    return

    def record(self, terms: Mapping[str, Tensor]) -> None:
        """Add the scalar terms of this step to the log; stop the run if one is not finite."""
        averaged = [self._team.mean(term) for term in terms.values()]
        numbers = torch.stack([term.detach() for term in averaged]).tolist()  # a GPU is waited for once
        values = dict(zip(terms, numbers, strict=True))
        bad = {key: value for key, value in values.items() if not math.isfinite(value)}
        if bad:
            raise TrainingDiverged(
                f"step {self.done}: {bad}; the last good checkpoint, if any, is in {self.run_dir}"
            )
        for key, value in values.items():
            count, total = self._window.get(key, (0, 0.0))
            self._window[key] = (count + 1, total + value)

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _log(self) -> None:
        means = {key: total / count for key, (count, total) in self._window.items()}
        self._window.clear()
        self.history.append({"step": self.done, "total": sum(means.values()), **means})
        if self._team.leads:
            _write_log(self.run_dir / LOG, self.history)
        shown = list(self.history[-1].items())[1:5]
        self._bar.set_postfix({key: f"{value:.4g}" for key, value in shown}, refresh=False)

    def _save(self) -> None:
        _require_finite(self._state, self.done)
        if not self._team.leads:
            return
        saved = {
            "done": self.done,
            "fingerprint": json.dumps(self._fingerprint),
            "history": json.dumps(self.history),
            "window": json.dumps(self._window),
            "seconds": self._seconds_before + self._elapsed(),
            "parts": {key: part.state_dict() for key, part in self._state.items()},
            "generators": {key: generator.get_state() for key, generator in self._generators.items()},
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        }
        with replacing(self.run_dir / CHECKPOINT) as temporary:
            torch.save(saved, temporary)

    def _resume(self) -> None:
        path = self.run_dir / CHECKPOINT
        if path.is_file():
            saved = _read(path)
            self._require_same(saved, path)
            for key, part in self._state.items():
                part.load_state_dict(saved["parts"][key])
            for key, generator in self._generators.items():
                generator.set_state(saved["generators"][key])
            torch.set_rng_state(saved["rng"])
            if saved["rng_cuda"] and torch.cuda.is_available():
                here = torch.cuda.device_count()  # it may have been made on more GPUs
                torch.cuda.set_rng_state_all(saved["rng_cuda"][:here])
            self.done, self._seconds_before = saved["done"], saved["seconds"]
            self.history = json.loads(saved["history"])
            self._window = {key: tuple(value) for key, value in json.loads(saved["window"]).items()}
        if self._team.leads:
            _write_log(self.run_dir / LOG, self.history)

    def _require_same(self, saved: Mapping[str, Any], path: Path) -> None:
        differences = _differences(json.loads(saved["fingerprint"]), self._fingerprint)
        if differences:
            raise ValueError(
                f"{self.run_dir} holds a run made under other parameters; use another folder or delete it. "
                f"Different: {'; '.join(differences)}"
            )
        if (
            saved["parts"].keys() != self._state.keys()
            or saved["generators"].keys() != self._generators.keys()
        ):
            raise ValueError(
                f"{path} holds the parts {sorted(saved['parts'])}, expected {sorted(self._state)}; "
                f"delete {self.run_dir} to start over"
            )


def train(
    *,
    step: Callable[[int], Mapping[str, Tensor]],  # i -> named, already weighted terms, scalar or per sample
    optimizer: Optimizer,
    state: Mapping[str, Stateful],  # what is trained, and anything else to resume (a moving average)
    schedule: Callable[[int], float] | None = None,  # i -> factor on the learning rate
    after: Callable[[int], None] | None = None,  # called after each update, for example to average weights
    clip_norm: float | None = None,  # limit of the gradient's norm
    **run: Any,  # run_dir, steps, fingerprint and what else a Run takes
) -> list[dict[str, float]]:
    """Minimise the sum of `step`'s terms, each averaged over its samples, and return the log."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    rates = [group["lr"] for group in optimizer.param_groups]
    steps = Run(**run, state={**state, "optimizer": optimizer})
    for i in steps:
        set_learning_rates(optimizer, rates, 1.0 if schedule is None else schedule(i))
        terms = {key: term.mean() for key, term in step(i).items()}
        steps.record(terms)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()
        if after is not None:
            after(i)
    return steps.history


def set_learning_rates(optimizer: Optimizer, rates: Iterable[float], factor: float) -> None:
    """`factor` times the initial `rates`, one for each parameter group."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate * factor


def run_folder(
    root: Path | str,
    fingerprint: Mapping[str, Any],
    *,
    code: Iterable[Callable] = (),  # functions and classes whose modules decide what is computed
) -> Path:
    """root/<hash>: other parameters, inputs or code are another run, and none is overwritten."""
    digest = hashlib.sha256(json.dumps(_plain(fingerprint), sort_keys=True).encode())
    for item in code:
        digest.update(_source(item).encode())
    return Path(root) / digest.hexdigest()[:12]


def _source(item: Callable) -> str:
    """Of the module that defines it, or its own where that has no file (a notebook)."""
    try:
        return inspect.getsource(sys.modules[item.__module__])
    except (OSError, TypeError):
        return inspect.getsource(item)


def finished(run_dir: Path | str, steps: int) -> bool:
    """Whether the run in `run_dir` has done at least `steps` steps."""
    path = Path(run_dir) / CHECKPOINT
    return path.is_file() and _read(path)["done"] >= steps


def seconds_taken(run_dir: Path | str) -> float:
    """By the training in `run_dir` up to its last checkpoint, over all interruptions."""
    return _read(Path(run_dir) / CHECKPOINT)["seconds"]


def cosine_schedule(steps: int, *, warmup: int = 0, final: float = 0.0) -> Callable[[int], float]:
    """Linear warm-up over `warmup` steps, then a half cosine from 1 down to `final`."""

    def factor(i: int) -> float:
        if i < warmup:
            return (i + 1) / warmup
        part = (i - warmup) / max(1, steps - warmup)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(1.0, part)))

    return factor


def batch_indices(i: int, *, count: int, batch: int, seed: int) -> Tensor:
    """Samples that step `i` sees: a new shuffle of all `count` per epoch, a function of (i, seed) alone."""
    start = i * batch
    epochs = range(start // count, (start + batch - 1) // count + 1)
    order = torch.cat([_epoch_order(epoch, count, seed) for epoch in epochs])
    return order[start - epochs[0] * count :][:batch]


@functools.lru_cache(maxsize=4)
def _epoch_order(epoch: int, count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))


def _read(path: Path) -> dict[str, Any]:
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        saved.setdefault("seconds", 0.0)  # of a checkpoint that kept no time
        saved["done"], saved["fingerprint"]
    except Exception as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}); delete {path.parent} to start over"
        ) from error
    return saved


def _plain(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(fingerprint, sort_keys=True))
    except TypeError as error:
        raise ValueError(f"fingerprint: expected plain JSON values, {error}") from error


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    """`key: old there, new asked` for every leaf that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = sorted(old.keys() | new.keys())
        return [
            d
            for key in keys
            for d in _differences(
                old.get(key, _ABSENT), new.get(key, _ABSENT), f"{name}.{key}" if name else key
            )
        ]
    return [] if old == new else [f"{name}: {old!r} there, {new!r} asked"]


def _require_finite(state: Mapping[str, Stateful], done: int) -> None:
    for part, owner in state.items():
        for key, value in owner.state_dict().items():
            if isinstance(value, Tensor) and value.is_floating_point() and not torch.isfinite(value).all():
                raise TrainingDiverged(
                    f"after step {done}: {part}.{key} is not finite; the last good checkpoint is kept"
                )


def _write_log(path: Path, history: list[dict[str, float]]) -> None:
    """The whole log, rewritten: rows after the last checkpoint vanish on resuming, columns may come late."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=columns)
        writer.writeheader()
        writer.writerows(history)
