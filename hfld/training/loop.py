"""The one training loop: explicit, logged, and resumable to the bit.

A run lives in `run_dir`: `checkpoint.pt` (tensors and plain values, read with `weights_only=True`) and
`log.csv`. Everything that the rest of a run depends on is in the checkpoint, so an interrupted run that is
started again ends in the same weights as one that was never interrupted. That needs one promise from the
caller: which data step `i` sees is a function of `i` and a seed alone.
"""

import ast
import csv
import functools
import hashlib
import inspect
import json
import math
import textwrap
import time
from collections.abc import Callable, Iterable, Mapping
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


def train(
    *,
    step: Callable[[int], Mapping[str, Tensor]]
    | None = None,  # i -> named, already weighted terms; the loop sums and updates
    update: Callable[[int], Mapping[str, Tensor]]
    | None = None,  # instead of step: updates by itself (G and D in turn)
    optimizer: Optimizer | Mapping[str, Optimizer],  # several only with `update`
    state: Mapping[str, Stateful],  # what is trained, and anything else to resume (a moving average)
    steps: int,  # total, including those done before an interruption
    run_dir: Path | str,  # checkpoint.pt and log.csv
    fingerprint: Mapping[str, Any],  # plain values; a checkpoint made under others is refused
    schedule: Callable[[int], float] | None = None,  # i -> factor on every initial learning rate
    after: Callable[[int], None] | None = None,  # called after each update, for example to average weights
    generators: Mapping[str, torch.Generator] | None = None,  # random generators that the step draws from
    clip_norm: float | None = None,  # gradient norm limit, with `step` only
    log_every: int = 50,
    save_every: int = 500,
    max_seconds: float | None = None,  # stop early, saved; calling again continues
    progress: bool = True,
    name: str = "",  # beside the progress bar
    team: Team = ALONE,  # with `step` only: processes whose gradients and logs are averaged
) -> list[dict[str, float]]:
    """Run steps 0 .. steps-1 and return the log: each term's mean over every `log_every` steps.

    Terms may be scalars or one value per sample (averaged). The total of a step is the sum of its terms.
    Raises `ValueError` if `run_dir` holds a run with another fingerprint or a damaged checkpoint,
    `TrainingDiverged` on NaN or infinity.
    """
    if (step is None) == (update is None):
        raise ValueError("give exactly one of `step` (the loop updates) and `update` (updates by itself)")
    optimizers = {"optimizer": optimizer} if isinstance(optimizer, Optimizer) else dict(optimizer)
    if step is not None and len(optimizers) != 1:
        raise ValueError(
            f"`step` works with one optimizer, got {sorted(optimizers)}; use `update` for several"
        )
    run_dir = Path(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    fingerprint = _plain(fingerprint)
    for group in (group for opt in optimizers.values() for group in opt.param_groups):
        group.setdefault("initial_lr", group["lr"])
    parts = {
        **{f"state.{key}": part for key, part in state.items()},
        **{f"optimizer.{key}": opt for key, opt in optimizers.items()},
    }
    generators = dict(generators or {})

    resumed = _resume(run_dir, fingerprint=fingerprint, parts=parts, generators=generators)
    done, history, window, before = resumed
    if team.leads:
        _write_log(run_dir / LOG, history)
    started = time.monotonic()

    def save(done: int) -> None:
        _require_finite(state, done)
        if not team.leads:
            return
        saved = {
            "done": done,
            "fingerprint": json.dumps(fingerprint),
            "history": json.dumps(history),
            "window": json.dumps(window),
            "seconds": before + time.monotonic() - started,
            "parts": {key: part.state_dict() for key, part in parts.items()},
            "generators": {key: generator.get_state() for key, generator in generators.items()},
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        }
        with replacing(run_dir / CHECKPOINT) as temporary:
            torch.save(saved, temporary)

    bar = tqdm(
        total=steps,
        initial=min(done, steps),
        desc=name or run_dir.name,
        disable=not (progress and team.leads),
        mininterval=1.0,
    )
    with bar:
        for i in range(done, steps):
            if schedule is not None:
                factor = schedule(i)
                for group in (group for opt in optimizers.values() for group in opt.param_groups):
                    group["lr"] = group["initial_lr"] * factor

            if step is not None:
                (opt,) = optimizers.values()
                opt.zero_grad(set_to_none=True)
                terms = {key: term.mean() for key, term in step(i).items()}
                total = torch.stack(list(terms.values())).sum()
                averaged = {key: team.mean(term) for key, term in terms.items()}
                values = _finite_values(averaged, step=i, run_dir=run_dir)
                total.backward()
                for parameter in (p for g in opt.param_groups for p in g["params"] if team.size > 1):
                    parameter.grad = team.mean(parameter.grad)
                if clip_norm is not None:
                    torch.nn.utils.clip_grad_norm_(
                        [p for g in opt.param_groups for p in g["params"]], clip_norm
                    )
                opt.step()
            else:
                terms = {key: term.mean() for key, term in update(i).items()}
                values = _finite_values(terms, step=i, run_dir=run_dir)
            if after is not None:
                after(i)

            for key, value in values.items():
                count, sum_ = window.get(key, (0, 0.0))
                window[key] = (count + 1, sum_ + value)
            if (i + 1) % log_every == 0 or i + 1 == steps:
                means = {key: sum_ / count for key, (count, sum_) in window.items()}
                history.append({"step": i + 1, "total": sum(means.values()), **means})
                window.clear()
                if team.leads:
                    _write_log(run_dir / LOG, history)
                bar.set_postfix(
                    {key: f"{value:.4g}" for key, value in list(history[-1].items())[1:5]}, refresh=False
                )
            bar.update()
            out_of_time = max_seconds is not None and time.monotonic() - started > max_seconds
            if (i + 1) % save_every == 0 or i + 1 == steps or out_of_time:
                save(i + 1)
            if out_of_time:
                break
    return history


def run_folder(
    root: Path | str,
    fingerprint: Mapping[str, Any],
    *,
    code: Iterable[Callable] = (),  # functions and classes whose modules decide what is computed
) -> Path:
    """root/<hash>: other parameters, inputs or code are another run, and none is overwritten.

    Of the code only what Python executes counts: comments, docstrings and layout may change.
    """
    text = json.dumps(_plain(fingerprint), sort_keys=True)
    text += "".join(_executed(_source(item)) for item in code)
    return Path(root) / hashlib.sha256(text.encode()).hexdigest()[:12]


def _source(item: Callable) -> str:
    """Of the module that defines it, or its own where that has no file (a notebook)."""
    try:
        return inspect.getsource(inspect.getmodule(item))
    except (OSError, TypeError):
        return textwrap.dedent(inspect.getsource(item))


def _executed(source: str) -> str:
    """A module's syntax tree, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return ast.dump(tree)


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


def _resume(
    run_dir: Path,
    *,
    fingerprint: dict[str, Any],
    parts: Mapping[str, Stateful],
    generators: Mapping[str, torch.Generator],
) -> tuple[int, list[dict[str, float]], dict[str, Any], float]:
    """Steps done, their log, the log's open window, seconds."""
    path = run_dir / CHECKPOINT
    if not path.is_file():
        return 0, [], {}, 0.0
    saved = _read(path)
    differences = _differences(json.loads(saved["fingerprint"]), fingerprint)
    if differences:
        raise ValueError(
            f"{run_dir} holds a run made under other parameters; use another folder or delete it. "
            f"Different: {'; '.join(differences)}"
        )
    if saved["parts"].keys() != parts.keys() or saved["generators"].keys() != generators.keys():
        raise ValueError(
            f"{path} holds the parts {sorted(saved['parts'])}, expected {sorted(parts)}; "
            f"delete {run_dir} to start over"
        )
    for key, part in parts.items():
        part.load_state_dict(saved["parts"][key])
    for key, generator in generators.items():
        generator.set_state(saved["generators"][key])
    torch.set_rng_state(saved["rng"])
    if saved["rng_cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(saved["rng_cuda"][: torch.cuda.device_count()])  # made on more GPUs
    return (
        saved["done"],
        json.loads(saved["history"]),
        {key: tuple(value) for key, value in json.loads(saved["window"]).items()},
        saved["seconds"],
    )


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


def _finite_values(terms: Mapping[str, Tensor], *, step: int, run_dir: Path) -> dict[str, float]:
    numbers = torch.stack([term.detach() for term in terms.values()]).tolist()  # a GPU is waited for once
    values = dict(zip(terms, numbers, strict=True))
    bad = {key: value for key, value in values.items() if not math.isfinite(value)}
    if bad:
        raise TrainingDiverged(f"step {step}: {bad}; the last good checkpoint, if any, is in {run_dir}")
    return values


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
