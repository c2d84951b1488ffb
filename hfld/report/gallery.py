"""Edited images for the figures: appearances of one face, trajectories, and maps of what changes where."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from hfld.attributes import EMOTIONS, OUTER_EYE_CORNERS, attribute_index
from hfld.editors import Editor
from hfld.evaluation.evaluator import Evaluator, Latents
from hfld.evaluation.judges import Readings
from hfld.evaluation.quantities import inter_ocular
from hfld.images import to_uint8
from hfld.landmarks import predict
from hfld.report.labels import end

NOSE_TIP = 54
"""The last point of the bridge."""
EXPRESSIONS = ("happy", "surprise", "angry", "sad", "fear", "disgust")
FIGURES = {"figure5": "Black_Hair", "figure6": "Bald"}
"""The edits of the paper's Figures 5 and 6."""


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
            ws = [evaluator.edit(one, editor, attribute, target, factor) for target in targets]
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
            pairs[method] = evaluator.edit_both_ways(latents, editor, attribute, factor)
        if evaluator.world is not None:
            pairs["oracle"] = evaluator.oracle(latents, attribute)
        maps[attribute] = {method: _mean_change(evaluator, *pair) for method, pair in pairs.items()}
    return maps


def _mean_change(evaluator: Evaluator, zero: Tensor, one: Tensor) -> np.ndarray:
    x0, x1 = (pictures(evaluator, ws).astype(np.float32) for ws in (zero, one))
    return np.abs(x1 - x0).mean(axis=(0, 3))


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


def edit_faces(
    evaluator: Evaluator,
    faces: Latents,
    editors: Mapping[str, Editor],
    attribute: str,
    *,
    factors: Mapping[tuple[str, str], float],  # as above
) -> dict[str, np.ndarray]:
    """Images [N, H, W, 3] by method, "original" first: every face's attribute taken to its other side, to 1
    where the regressor reads less than .5 and to 0 elsewhere.
    """
    target = (faces.scores[:, attribute_index(attribute)] < 0.5).to(faces.scores)
    made = {"original": faces.images}
    for method, editor in editors.items():
        ws = evaluator.edit(faces, editor, attribute, target, factors.get((attribute, method), 1.0))
        made[method] = pictures(evaluator, ws)
    return made
