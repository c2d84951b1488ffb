"""All editors, judged alike: what the benchmark measures besides the tables, and the table it writes.

editors = editors_of(config, weights=paths.weights, models=models)
measures = Measures(evaluator.judges.attributes, LatentDensity.of(models))
rows, matches = evaluate(evaluator, test, editors, config.attributes, validation=validation,
                         comparisons=comparisons(editors), pairs_of=measures.pairs)
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

from hfld.attributes import EMOTIONS, OUTER_EYE_CORNERS, REGIONS, attribute_index
from hfld.config import BenchmarkConfig, Profile
from hfld.editors import Editor, ExpressionLock, directions_file, editor_file, make_editor
from hfld.evaluation import editor_checks
from hfld.evaluation.evaluator import Evaluator, Latents, Pairs
from hfld.evaluation.judges import Readings
from hfld.evaluation.quantities import inter_ocular
from hfld.evaluation.rows import COMPARISON
from hfld.images import sha256, to_tensor, to_uint8
from hfld.models import Models

LOCK = "_lock"
TERM = "_hfld"
NOSE_TIP = 54
"""The last point of the bridge."""
EXPRESSIONS = ("happy", "surprise", "angry", "sad", "fear", "disgust")
FIGURES = {"figure5": "Black_Hair", "figure6": "Bald"}
"""The edits of the paper's Figures 5 and 6."""


def editors_of(config: BenchmarkConfig, *, weights: Path, models: Models) -> dict[str, Editor]:
    """method -> fitted editor; X_lock is X inside an ExpressionLock as the config describes it."""
    editors: dict[str, Editor] = {}
    for method in config.methods:
        editor = make_editor(method.removesuffix(LOCK), weights=weights, seed=config.seed, models=models)
        if method.endswith(LOCK):
            editor = ExpressionLock(editor, models, steps=config.lock_steps)
        editors[method] = editor
    return editors


def made_with(evaluator: Evaluator, methods: Iterable[str], *, world: Path, weights: Path) -> dict[str, Any]:
    """sha256 of every weight file behind the numbers, and the versions of what computed them.

    world: the folder of the frozen networks (profile.paths.world); weights: that of the trained ones.
    """
    files = sorted(Path(world).glob("judge_*.safetensors"))
    for method in dict.fromkeys(method.removesuffix(LOCK) for method in methods):
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
        plain = method.removesuffix(TERM).removesuffix(LOCK)
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

    def pairs(self, evaluator: Evaluator, latents: Latents, attribute: str) -> "BenchmarkPairs":
        """For `pairs_of` of hfld.evaluation."""
        pairs = BenchmarkPairs(evaluator, latents, attribute)
        pairs.measures = self
        return pairs


class BenchmarkPairs(Pairs):
    """Adds landmark_nme by region (percent of the distance between the outer eye corners),
    perceptual_distance of x0 and x1, and latent_log_likelihood, the mean of both.
    """

    measures: Measures

    def quantities(self, zero: Readings, one: Readings, pixels=None) -> dict[str, np.ndarray]:
        values = super().quantities(zero, one, pixels)
        unit = self.evaluator.size * inter_ocular(self.latents.readings.landmarks) / 100
        return values | {
            f"landmark_nme:{region}": values[f"landmark_drift_px:{region}"] / unit for region in REGIONS
        }

    @torch.inference_mode()
    def further(
        self, images: Sequence[np.ndarray], pair_of_ws: Sequence[Tensor] | None = None
    ) -> dict[str, np.ndarray]:
        evaluator, distances = self.evaluator, []
        for start in range(0, len(images[0]), evaluator.batch):
            pair = [
                to_tensor(part[start : start + evaluator.batch]).to(evaluator.models.device)
                for part in images
            ]
            with evaluator.context():
                distances.append(perceptual_distance(self.measures.perceptual, *pair).cpu())
        values = {"perceptual_distance": torch.cat(distances).double().numpy()}
        if pair_of_ws is not None:
            likely = [self.measures.density.log_likelihood(ws) for ws in pair_of_ws]
            values["latent_log_likelihood"] = np.mean(likely, axis=0)
        return values


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
            evaluator.edited(part, editor, attribute, 1.0).cpu()
            taken.append(1000 * (time.perf_counter() - started) / batch)
        taken = taken[1:]
        rows.append((method, median(taken), min(taken), max(taken), repeats))
    return pd.DataFrame(rows, columns=["method", "value", "lo", "hi", "n"])


def with_times(rows: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """The rows of `evaluate`, and quantity edit_ms in every strength and attribute."""
    unknown = dict.fromkeys(("p", "p_holm", "paper"), np.nan)
    cells = rows[["strength", "attribute"]].drop_duplicates().to_dict("records")
    more = [
        {**cell, "quantity": "edit_ms", "dropped": 0, **unknown, **row}
        for cell in cells
        for row in times.to_dict("records")
    ]
    return pd.DataFrame(rows.to_dict("records") + more)[list(rows.columns)]


def choose_faces(readings: Readings, count: int) -> tuple[list[int], list[str]]:
    """Positions and names of the faces in Figures 5 and 6, each another one, by this rule:

    the heads turned farthest to either side (the tip of the nose between the outer eye corners), then the
    strongest happy, surprise, angry, sad, fear and disgust, then the first ones that are left.
    """
    if not 1 <= count <= len(readings):
        raise ValueError(f"count must be from 1 to {len(readings)}, not {count}")
    eyes = readings.landmarks[:, list(OUTER_EYE_CORNERS)]
    turn = (readings.landmarks[:, NOSE_TIP, 0] - eyes[..., 0].mean(1)) / inter_ocular(readings.landmarks)
    rules = {"head left": -turn, "head right": turn}
    rules |= {name: readings.emotions[:, EMOTIONS.index(name)] for name in EXPRESSIONS}
    chosen: dict[int, str] = {}
    for name, values in rules.items():
        order = np.argsort(-np.nan_to_num(values, nan=-np.inf), kind="stable")
        chosen[next(int(i) for i in order if int(i) not in chosen)] = name
        if len(chosen) == min(count, len(readings)):
            break
    for i in range(len(readings)):
        if len(chosen) < count:
            chosen.setdefault(i, f"latent {i}")
    return list(chosen), list(chosen.values())


def edited_faces(
    evaluator: Evaluator,
    faces: Latents,
    editors: Mapping[str, Editor],
    attribute: str,
    *,
    factors: Mapping[tuple[str, str], float] | None = None,  # (attribute, method) -> matched factor
) -> dict[str, np.ndarray]:
    """Images [N, H, W, 3] by method, "original" first: every face's attribute taken to its other side, to 1
    where the regressor reads less than .5 and to 0 elsewhere.
    """
    target = (faces.scores[:, attribute_index(attribute)] < 0.5).to(faces.scores)
    made = {"original": faces.images}
    for method, editor in editors.items():
        ws = evaluator.edited(faces, editor, attribute, target, (factors or {}).get((attribute, method), 1.0))
        made[method] = np.concatenate([to_uint8(x) for x in evaluator.images(ws)])
    return made
