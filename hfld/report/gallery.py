"""Edited images for the figures: appearances of one face, trajectories, and maps of what changes where."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from hfld.attributes import attribute_index
from hfld.editors import Editor
from hfld.evaluation.evaluator import TARGETS, Evaluator, Latents
from hfld.images import to_uint8
from hfld.landmarks import predict
from hfld.report.labels import end


def pictures(evaluator: Evaluator, ws: Tensor) -> np.ndarray:
    """G(ws) as uint8 [N, H, W, 3]."""
    return np.concatenate([to_uint8(x) for x in evaluator.images(ws)])


def best_drawn(latents: Latents, count: int) -> Latents:
    """The `count` latents whose pictures are nearest to their portraits (mean absolute difference), best
    first: figures are to show edits, not what G draws badly. Blurry portraits, which are easy to draw and
    hard to read, come last. Photographs, which have no portrait: the first.
    """
    if latents.truth is None:
        return latents[:count]
    difference = np.abs(latents.images.astype(np.int16) - latents.truth.images).reshape(len(latents), -1)
    blurry = latents.truth.labels[:, attribute_index("Blurry")]
    order = np.lexsort((difference.mean(axis=1), blurry))
    return latents[order[:count]]


def appearances(
    evaluator: Evaluator,
    latents: Latents,
    editor: Editor,
    recipes: Sequence[Mapping[str, float]],  # each: attribute -> target, applied one after the other
) -> tuple[np.ndarray, list[str]]:
    """The first face under several recipes: uint8 [R, H, W, 3] and labels such as 'female + heavy makeup'."""
    edited, labels = [], []
    for recipe in recipes:
        ws = latents.ws[:1]
        for attribute, target in recipe.items():
            now = latents.scores[:1, attribute_index(attribute)]
            ws = editor.edit(ws, attribute, target - now)
        edited.append(ws)
        labels.append(" + ".join(end(name, target) for name, target in recipe.items()))
    return pictures(evaluator, torch.cat(edited)), labels


def seen_landmarks(
    evaluator: Evaluator, latents: Latents
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Pictures uint8 [N, H, W, 3], what H sees in them [N, 106, 2], and the truth: portraits as rendered.

    Photographs are G's; where their landmarks are nobody knows.
    """
    truth = latents.truth
    images, exact = (latents.images, None) if truth is None else (truth.images, truth.landmarks)
    return images, predict(evaluator.models.landmarks, images), exact


def trajectories(
    evaluator: Evaluator,
    latents: Latents,
    editors: Mapping[str, Editor],
    attributes: Sequence[str],  # one for each face, in the order of the latents
    targets: Sequence[float],
    *,
    factors: Mapping[tuple[str, str], float],  # (attribute, method) -> matched factor, 1 where there is none
) -> list[dict]:
    """Rows for figure4: attribute, original, and per method the images at rising targets."""
    rows = []
    for face, attribute in enumerate(attributes):
        one = latents[face : face + 1]
        row: dict = {"attribute": attribute, "original": one.images[0]}
        for method, editor in editors.items():
            factor = factors.get((attribute, method), 1.0)
            ws = [evaluator.edited(one, editor, attribute, target, factor) for target in targets]
            row[method] = list(pictures(evaluator, torch.cat(ws)))
        rows.append(row)
    return rows


def change_maps(
    evaluator: Evaluator,
    latents: Latents,
    editors: Mapping[str, Editor],
    attributes: Sequence[str],
    *,
    factors: Mapping[tuple[str, str], float],  # as above
) -> dict[str, dict[str, np.ndarray]]:
    """attribute -> method -> [H, W]: mean |x1 - x0| in grey levels, with the oracle edit if known."""
    maps: dict[str, dict[str, np.ndarray]] = {}
    for attribute in attributes:
        pairs = {}
        for method, editor in editors.items():
            factor = factors.get((attribute, method), 1.0)
            pairs[method] = [evaluator.edited(latents, editor, attribute, t, factor) for t in TARGETS]
        if evaluator.world is not None:
            exact = [evaluator.world.counterfactual(latents.z, attribute, t) for t in TARGETS]
            pairs["oracle"] = [evaluator.ws(z) for z in exact]
        maps[attribute] = {method: _mean_change(evaluator, *pair) for method, pair in pairs.items()}
    return maps


def _mean_change(evaluator: Evaluator, zero: Tensor, one: Tensor) -> np.ndarray:
    x0, x1 = (pictures(evaluator, ws).astype(np.float32) for ws in (zero, one))
    return np.abs(x1 - x0).mean(axis=(0, 3))
