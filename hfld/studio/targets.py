"""Strengths that bring several attributes of one face to their scores at once: a secant in logits.

An editor's own unit (the missing score) stops short of the target by as much as its directions are short.
Where two editors are compared, both have to arrive.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import numpy as np

from hfld.attributes import attribute_index

REACH = (
    3.0  # largest strength, in the editor's own unit: beyond, pictures fall apart before scores are reached
)
PASSES = 6  # corrections, at most, each for one picture
TOLERANCE = 0.02  # distance of a score from its goal that is near enough
STEP = 2.0  # change of a strength in one pass: a score far from its goal says little about how far to go
SLOWEST, FASTEST = 0.4, 20.0  # logits per unit of strength that are believed
EDGE = 1.0e-3  # scores beyond are read as this near to 0 or 1


class Scored(Protocol):
    scores: np.ndarray  # [40]


Drawn = TypeVar("Drawn", bound=Scored)


def approach(
    draw: Callable[[Mapping[str, float]], Drawn],  # strengths -> the edited face
    start: np.ndarray,  # [40] scores of the unedited face
    goals: Mapping[str, float],  # attribute -> score; without a strength it is held
    strengths: Mapping[str, float],  # the first try
    *,
    passes: int = PASSES,
) -> tuple[Drawn, dict[str, float]]:
    """The face nearest to all goals that was met, and its strengths.

    Each attribute's strength changes by (logit(goal) - logit(score)) / gain, where the gain is what the last
    change has brought, at first the native unit's. A score that moves the wrong way keeps its gain.
    """
    columns = [attribute_index(name) for name in goals]
    goal = np.array(list(goals.values()))
    here = np.array([strengths.get(name, 0.0) for name in goals])
    before, seen = np.zeros(len(goal)), start[columns]
    inside = np.clip(seen, 0.05, 0.95)
    gain = 1 / (inside * (1 - inside))
    best, least = None, np.inf
    for left in range(passes, -1, -1):
        face = draw(dict(zip(goals, here.tolist(), strict=True)))
        scores = face.scores[columns]
        missing = np.abs(goal - scores)
        if best is None or missing.sum() < least:
            best, least = (face, dict(zip(goals, here.tolist(), strict=True))), missing.sum()
        if not left or missing.max() <= TOLERANCE:
            break
        moved = here - before
        brought = (_logit(scores) - _logit(seen)) / np.where(moved == 0, np.inf, moved)
        gain = np.where(brought > 0, np.clip(brought, SLOWEST, FASTEST), gain)
        step = np.clip((_logit(np.clip(goal, TOLERANCE, 1 - TOLERANCE)) - _logit(scores)) / gain, -STEP, STEP)
        step = np.where(missing <= TOLERANCE / 2, 0.0, step)
        before, seen, here = here, scores, np.clip(here + step, -REACH, REACH)
        if np.array_equal(before, here):
            break
    return best


def _logit(score: np.ndarray) -> np.ndarray:
    score = np.clip(score.astype(np.float64), EDGE, 1 - EDGE)
    return np.log(score / (1 - score))
