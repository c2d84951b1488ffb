"""What an edit changed: one number per latent and quantity, from the judges' readings.

x0 and x1 are the edits to target 0 and target 1, x is the original. The paper's tables compare x0 with x1.
Units: scores and label_keep are fractions, emotions percentage points, landmarks pixels of the world's images
(`size` px a side), landmark_nme percent of the distance between the outer eye corners, pixels 8-bit grey
levels.
"""

from collections.abc import Sequence

import numpy as np

from hfld.attributes import ATTRIBUTES, EMOTIONS, OUTER_EYE_CORNERS, REGIONS, attribute_index
from hfld.evaluation.judges import Readings
from hfld.portraits.world import Truth

HEADLINE = (
    "target_change",
    "landmark_drift_px",
    "emotion_tvd",
    "label_keep",
    "identity_cosine",
    "other_attributes",
    "counterfactual_landmark_px",
    "counterfactual_emotion_tvd",
    "counterfactual_attributes",
    "counterfactual_pixel",
)
"""The quantities of the headline table, which is one Holm family."""


def point_distance(first: np.ndarray, second: np.ndarray, size: float = 1.0) -> np.ndarray:
    """Distance of each landmark, [N, 106, 2] twice -> [N, 106], in units of 1 / size of the image side."""
    return np.linalg.norm(np.asarray(first, np.float64) - second, axis=-1) * size


def procrustes(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """`moving` [N, P, 2] after the similarity (shift, rotation, scale) that brings it closest to `fixed`."""
    a, b = (points[..., 0] + 1j * points[..., 1] for points in (np.asarray(moving, np.float64), fixed))
    a_centre, b_centre = a.mean(1, keepdims=True), b.mean(1, keepdims=True)
    a, b = a - a_centre, b - b_centre
    extent = np.maximum((abs(a) ** 2).sum(1, keepdims=True), 1e-12)
    turn = (a.conj() * b).sum(1, keepdims=True) * (1 / extent)  # complex division warns of NaN
    placed = turn * a + b_centre
    return np.stack([placed.real, placed.imag], axis=-1)


def inter_ocular(landmarks: np.ndarray) -> np.ndarray:
    """Distance between the outer corners of the eyes, [N, 106, 2] -> [N]."""
    left, right = OUTER_EYE_CORNERS
    return np.linalg.norm(landmarks[:, left] - landmarks[:, right], axis=-1)


def total_variation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Half the summed absolute difference of emotions [N, 7] in percent -> [N] percentage points."""
    return 0.5 * np.abs(first - second).sum(1)


def same_label(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1 where the strongest emotion is the same, NaN where either reading is missing."""
    same = (first.argmax(1) == second.argmax(1)).astype(np.float64)
    return np.where(np.isfinite(first).all(1) & np.isfinite(second).all(1), same, np.nan)


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine similarity of embeddings [N, E] -> [N]."""
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(1) / np.maximum(norms, 1e-12)


def pair_quantities(
    attribute: str,
    original: Readings,  # of x
    zero: Readings,  # of x0
    one: Readings,  # of x1
    *,
    size: int,  # image side, px
    truth: Sequence[Truth] | None = None,  # the exact counterfactuals at 0 and 1
    pixels: np.ndarray | None = None,  # [N, 2] grey levels, from `pixel_errors`
) -> dict[str, np.ndarray]:
    """Every quantity of the edit as [N] float64; `signed:J`, `change:J`: the change of attribute J's score.

    A side effect on an attribute that the counterfactual hides (bald: hair colours) is not scored: NaN. So is
    what needs a reading that failed: with one image of a pair, the whole pair is dropped.
    """
    edits = (zero, one)
    values = _attribute_changes(attribute_index(attribute), zero.scores, one.scores, truth)
    values |= {
        f"emotion:{name}": np.abs(one.emotions[:, e].astype(np.float64) - zero.emotions[:, e])
        for e, name in enumerate(EMOTIONS)
    }
    values["emotion_tvd"] = total_variation(zero.emotions, one.emotions)
    values["label_keep"] = same_label(zero.emotions, one.emotions)
    values["identity_cosine"] = cosine(zero.identity, one.identity)
    values |= _landmark_drifts(original.landmarks, zero.landmarks, one.landmarks, size)
    values |= _from_original(original, edits, size)
    if truth is not None:
        values |= _against_truth(edits, truth, size)
    if pixels is not None:
        values["counterfactual_pixel"] = pixels.mean(1)
    return {name: np.asarray(value, np.float64) for name, value in values.items()}


def _attribute_changes(
    k: int, zero: np.ndarray, one: np.ndarray, truth: Sequence[Truth] | None
) -> dict[str, np.ndarray]:
    """Of the target k and of the others, from the scores [N, 40] of x0 and x1."""
    signed = one.astype(np.float64) - zero
    crosses = (zero[:, k] < 0.5) & (one[:, k] > 0.5)
    values = {
        "target_change": signed[:, k],
        "target_change_abs": np.abs(signed[:, k]),
        "score_at_0": zero[:, k],
        "score_at_1": one[:, k],
        "success": np.where(np.isfinite(signed[:, k]), crosses, np.nan),
    }
    seen = np.ones(signed.shape, bool) if truth is None else truth[0].visible & truth[1].visible
    seen = np.where(np.arange(signed.shape[1]) == k, True, seen)
    for j, name in enumerate(ATTRIBUTES):
        values[f"signed:{name}"] = np.where(seen[:, j], signed[:, j], np.nan)
        values[f"change:{name}"] = np.abs(values[f"signed:{name}"])
    others = seen & (np.arange(signed.shape[1]) != k)
    values["other_attributes"] = _mean_where(np.abs(signed), others)
    kept = others if truth is None else others & (truth[0].labels == truth[1].labels)
    same = np.where(np.isfinite(signed), (zero > 0.5) == (one > 0.5), np.nan)
    values["preservation"] = _mean_where(same, kept)
    return values


def _landmark_drifts(
    original: np.ndarray, zero: np.ndarray, one: np.ndarray, size: int
) -> dict[str, np.ndarray]:
    """Between x0 and x1: as they are, without the motion of the whole head, and in units of the eyes."""
    values = _by_region("landmark_drift_px", point_distance(zero, one, size))
    aligned = point_distance(procrustes(one, zero), zero, size)
    values |= _by_region("landmark_drift_aligned_px", aligned)
    values["landmark_nme"] = 100 * point_distance(zero, one).mean(1) / inter_ocular(original)
    return values


def _from_original(original: Readings, edits: Sequence[Readings], size: int) -> dict[str, np.ndarray]:
    """Distance to the original, averaged over x0 and x1."""
    parts = {
        "landmark_drift_px": lambda x: point_distance(original.landmarks, x.landmarks, size).mean(1),
        "emotion_tvd": lambda x: total_variation(original.emotions, x.emotions),
        "label_keep": lambda x: same_label(original.emotions, x.emotions),
        "identity_cosine": lambda x: cosine(original.identity, x.identity),
    }
    return {f"{name}_from_original": _average(map(part, edits)) for name, part in parts.items()}


def _against_truth(edits: Sequence[Readings], truth: Sequence[Truth], size: int) -> dict[str, np.ndarray]:
    """Distance to the exact counterfactual at the same target, averaged over targets 0 and 1."""
    pairs = list(zip(edits, truth, strict=True))
    distance = _average(point_distance(edit.landmarks, exact.landmarks, size) for edit, exact in pairs)
    values = _by_region("counterfactual_landmark_px", distance)
    values["counterfactual_emotion_tvd"] = _average(
        total_variation(edit.emotions, exact.emotions) for edit, exact in pairs
    )
    values["counterfactual_label_keep"] = _average(
        same_label(edit.emotions, exact.emotions) for edit, exact in pairs
    )
    values["counterfactual_attributes"] = _average(
        _mean_where(np.abs(edit.scores - exact.strengths), exact.visible) for edit, exact in pairs
    )
    return values


def pixel_errors(
    original: np.ndarray,  # G(w)
    edit: np.ndarray,  # G(w')
    rendered: np.ndarray,  # render(p)
    exact: np.ndarray,  # render(counterfactual)
) -> np.ndarray:
    """Mean |(G(w') - G(w)) - (render(counterfactual) - render(p))| in grey levels; uint8 [N, H, W, 3] ->
    [N].
    """
    change = edit.astype(np.int16) - original
    wanted = exact.astype(np.int16) - rendered
    return np.abs(change - wanted).reshape(len(edit), -1).mean(1)


def _by_region(name: str, distance: np.ndarray) -> dict[str, np.ndarray]:
    regions = {f"{name}:{region}": distance[:, list(points)].mean(1) for region, points in REGIONS.items()}
    return {name: distance.mean(1), **regions}


def _mean_where(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    count = mask.sum(1)
    total = np.where(mask, values, 0.0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _average(parts) -> np.ndarray:
    return np.mean(list(parts), axis=0)
