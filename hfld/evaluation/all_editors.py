"""All editors, judged alike: what the benchmark measures besides the tables, and the table it writes.

editors = editors_of(config, weights=paths.weights, models=models)
measures = Measures(evaluator.judges.attributes, LatentDensity.of(models))
rows, matches = evaluate(evaluator, test, editors, config.attributes, validation=validation,
                         comparisons=comparisons(editors), measure=measures.read)
"""

import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from hfld.attributes import REGIONS
from hfld.config import BenchmarkConfig, Profile
from hfld.editors import Editor, ExpressionLock, directions_file, editor_file, make_editor
from hfld.evaluation import editor_checks
from hfld.evaluation.evaluator import Evaluator, Latents, Pairs
from hfld.evaluation.quantities import inter_ocular
from hfld.evaluation.rows import COMPARISON
from hfld.images import sha256, to_tensor
from hfld.models import Models

LOCK_SUFFIX = "_lock"
TERM_SUFFIX = "_hfld"


def editors_of(config: BenchmarkConfig, *, weights: Path, models: Models) -> dict[str, Editor]:
    """method -> fitted editor; X_lock is X inside an ExpressionLock."""
    editors: dict[str, Editor] = {}
    for method in config.methods:
        editor = make_editor(
            method.removesuffix(LOCK_SUFFIX), weights=weights, seed=config.seed, models=models
        )
        if method.endswith(LOCK_SUFFIX):
            editor = ExpressionLock(editor, models, steps=config.lock_steps)
        editors[method] = editor
    return editors


def provenance(evaluator: Evaluator, methods: Iterable[str], *, world: Path, weights: Path) -> dict[str, Any]:
    """sha256 of every weight file behind the numbers, and the versions of what computed them.

    world: the folder of the frozen networks (profile.paths.world); weights: that of the trained ones.
    """
    files = sorted(Path(world).glob("judge_*.safetensors"))
    for method in dict.fromkeys(method.removesuffix(LOCK_SUFFIX) for method in methods):
        source = "baseline" if method == "random" else method  # as long as the baseline's
        files += [directions_file(weights, source), editor_file(weights, source)]
    found = {path.stem: sha256(path) for path in files if path.is_file()}
    versions = {name: version(name) for name in ("hfld", "torch", "numpy")}
    return {
        "sha256": {**evaluator.models.hashes, **found},
        "versions": {**versions, "python": platform.python_version()},
    }


def comparisons(methods: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Name -> (first, second), for second - first: the landmark term against the same method without it, and
    HFLD against each other method. HFLD against the baseline is hfld.evaluation.rows.COMPARISON.
    """
    methods = list(methods)
    pairs = {}
    for method in methods:
        plain = method.removesuffix(TERM_SUFFIX).removesuffix(LOCK_SUFFIX)
        if plain != method and plain in methods:
            pairs[f"{method} - {plain}"] = (plain, method)
    others = [method for method in methods if method not in ("baseline", "hfld")]
    return pairs | {f"hfld - {method}": (method, "hfld") for method in others if "hfld" in methods}


def check_linear(evaluator: Evaluator, profile: Profile) -> dict[str, dict[str, Any]]:
    """What more/editors reports of the editors that it fits, of the matrices T: baseline and hfld -> report.

    How long they trained and how their loss fell is in results/<profile>/directions/.
    """
    config, reports = profile.editors, {}
    validation = evaluator.latents(
        config.validation_latents, seed=config.seed, split="validation", judged=False
    )
    attributes = editor_checks.attributes_of(editor_checks.fitting_profile(profile).directions.attributes)
    for method in COMPARISON:
        editor = make_editor(method, weights=profile.paths.weights)
        checks = editor_checks.check_targets(evaluator, validation, editor, attributes, least=config.moves)
        found = editor_checks.report(method, editor, checks, seconds=0)
        reports[method] = {key: found[key] for key in ("method", "moves", "failing", "targets")}
    return reports


class LatentDensity:
    """A Gaussian fitted to codes of W: how likely the mapping network is to make a code like this one.

    The covariance gets `ridge` times its mean variance on the diagonal: a mapping from fewer dimensions
    leaves some of W empty.
    """

    def __init__(self, codes: Tensor, *, ridge: float = 1.0e-3) -> None:  # [M, w_dim]
        x = codes.detach().double().cpu()
        self.mean = x.mean(dim=0)
        covariance = torch.cov(x.T)
        level = ridge * covariance.diagonal().mean()
        self.factor = torch.linalg.cholesky(covariance + level * torch.eye(len(covariance)).double())

    @classmethod
    def of(cls, models: Models, *, count: int = 20_000, seed: int = 1) -> Self:
        """Fitted to `count` training latents."""
        z = models.latents(count, seed=seed, split="train")
        return cls(torch.cat([models.ws(part)[:, 0] for part in z.split(4096)]))

    def log_likelihood(self, ws: Tensor) -> np.ndarray:
        """ws [N, L, w_dim] -> [N], mean over the rows, in nats per dimension."""
        rows, dim = ws.detach().double().cpu().flatten(0, 1), ws.shape[-1]
        z = torch.linalg.solve_triangular(self.factor, (rows - self.mean).T, upper=False)
        constant = 2 * self.factor.diagonal().log().sum() + dim * np.log(2 * np.pi)
        log_p = -0.5 * (z.square().sum(dim=0) + constant) / dim
        return log_p.unflatten(0, ws.shape[:2]).mean(dim=1).numpy()


def perceptual_distance(network: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """Images [N, 3, H, W] twice -> [N]: squared differences of unit feature vectors, averaged over places and
    over the network's resolutions (LPIPS without its fitted weights).
    """
    layers = zip(*(_feature_maps(network, x) for x in (first, second)), strict=True)
    return torch.stack([_unit_difference(a, b) for a, b in layers]).mean(dim=0)


def _feature_maps(network: nn.Module, x: Tensor) -> list[Tensor]:
    """The last activations [N, C, h, w] at each resolution, of a convolutional network with ReLU modules."""
    found: dict[torch.Size, Tensor] = {}

    def keep(_: nn.Module, __: tuple, out: Tensor) -> None:
        if out.ndim == 4:
            found[out.shape[-2:]] = out.float()

    hooks = [part.register_forward_hook(keep) for part in network.modules() if isinstance(part, nn.ReLU)]
    try:
        network(x)
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise ValueError(f"network must be convolutional with ReLU modules; {type(network).__name__} is not")
    return list(found.values())


def _unit_difference(a: Tensor, b: Tensor) -> Tensor:
    a, b = (x / (x.norm(dim=1, keepdim=True) + 1e-8) for x in (a, b))
    return (a - b).square().sum(dim=1).flatten(1).mean(dim=1)


@dataclass(frozen=True)
class Measures:
    """What is read of an edit besides hfld.evaluation.quantities."""

    perceptual: nn.Module  # a convolutional network that trained no editor
    density: LatentDensity

    def read(
        self,
        pairs: Pairs,
        values: Mapping[str, np.ndarray],  # what is known of the pair
        images: Sequence[np.ndarray],
        pair_of_ws: Sequence[Tensor] | None,
    ) -> dict[str, np.ndarray]:
        """landmark_nme by region (percent of the distance between the outer eye corners), perceptual_distance
        of x0 and x1, and latent_log_likelihood, the mean of both.
        """
        evaluator = pairs.evaluator
        unit = evaluator.size * inter_ocular(pairs.latents.readings.landmarks) / 100
        found = {f"landmark_nme:{name}": values[f"landmark_drift_px:{name}"] / unit for name in REGIONS}
        found["perceptual_distance"] = self._distances(evaluator, *images)
        if pair_of_ws is not None:
            likely = [self.density.log_likelihood(ws) for ws in pair_of_ws]
            found["latent_log_likelihood"] = np.mean(likely, axis=0)
        return found

    @torch.inference_mode()
    def _distances(self, evaluator: Evaluator, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        distances = []
        for start in range(0, len(first), evaluator.batch):
            batch = slice(start, start + evaluator.batch)
            pair = [to_tensor(part[batch]).to(evaluator.models.device) for part in (first, second)]
            with evaluator.context():
                distances.append(perceptual_distance(self.perceptual, *pair).cpu())
        return torch.cat(distances).double().numpy()


def time_edits(
    evaluator: Evaluator,
    latents: Latents,
    editors: Mapping[str, Editor],
    attribute: str,
    *,
    batch: int = 8,
    repeats: int = 3,
) -> pd.DataFrame:
    """Milliseconds per edit, images not counted but where an editor makes them: method, value (median), lo
    and hi (least and most of the repeats), n. Every repeat edits other latents: some editors remember.
    """
    if len(latents) < repeats + 1:
        raise ValueError(f"latents must be more than the {repeats} repeats, not {len(latents)}")
    batch = min(batch, len(latents) // (repeats + 1))
    rows = []
    for method, editor in editors.items():
        taken = []
        for i in range(repeats + 1):  # the first one warms up
            part = latents[i * batch : (i + 1) * batch]
            started = time.perf_counter()
            evaluator.edit(part, editor, attribute, 1.0).cpu()
            taken.append(1000 * (time.perf_counter() - started) / batch)
        taken = taken[1:]
        rows.append((method, median(taken), min(taken), max(taken), repeats))
    return pd.DataFrame(rows, columns=["method", "value", "lo", "hi", "n"])


def add_times(rows: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """The rows of `evaluate`, and quantity edit_ms in every strength and attribute."""
    cells = rows[["strength", "attribute"]].drop_duplicates()
    more = cells.merge(times, how="cross").assign(quantity="edit_ms", dropped=0)
    return pd.concat([rows, more], ignore_index=True)
