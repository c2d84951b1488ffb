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
PASSES = 12  # corrections, at most, each for one picture
TOLERANCE = 0.02  # distance of a score from its goal that is near enough
STEP = 2.0  # change of a strength in one pass: a score far from its goal says little about how far to go
SLOWEST, FASTEST = 0.4, 20.0  # logits per unit of strength that are believed
MARGIN = 0.1  # share of the way between two scores around a goal that is left to its ends
CLOSED = 1.0e-3  # strengths this near to each other are one
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
    change has brought, at first the native unit's. A score that moves the wrong way keeps its gain. Once
    scores on both sides of the goal were met the strength stays between theirs, and is halfway where the
    secant leads out: scores that jump are found, too.
    """
    columns = [attribute_index(name) for name in goals]
    goal = np.array(list(goals.values()))
    here = np.array([strengths.get(name, 0.0) for name in goals])
    before, seen = np.zeros(len(goal)), start[columns]
    inside = np.clip(seen, 0.05, 0.95)
    gain = 1 / (inside * (1 - inside))
    sides = Sides(len(goal))
    sides.add(before, seen, goal)
    best, least = None, np.inf
    for left in range(passes, -1, -1):
        face = draw(dict(zip(goals, here.tolist(), strict=True)))
        scores = face.scores[columns]
        missing = np.abs(goal - scores)
        if best is None or missing.sum() < least:
            best, least = (face, dict(zip(goals, here.tolist(), strict=True))), missing.sum()
        if not left or missing.max() <= TOLERANCE:
            break
        sides.add(here, scores, goal)
        moved = here - before
        brought = (_logit(scores) - _logit(seen)) / np.where(moved == 0, np.inf, moved)
        told = (moved != 0) & (brought >= 0)
        gain = np.where(told, np.clip(brought, SLOWEST, sides.fastest()), gain)
        step = np.clip((_logit(np.clip(goal, TOLERANCE, 1 - TOLERANCE)) - _logit(scores)) / gain, -STEP, STEP)
        there = np.where(missing <= TOLERANCE / 2, here, sides.between(np.clip(here + step, -REACH, REACH)))
        before, seen, here = here, scores, there
        if np.array_equal(before, here):
            break
    return best


class Sides:
    """Of each attribute the last strength whose score was below its goal, and the last above it."""

    def __init__(self, count: int) -> None:
        self.ends = np.full((2, count), np.nan)

    def add(self, strengths: np.ndarray, scores: np.ndarray, goals: np.ndarray) -> None:
        for end, met in zip(self.ends, (scores < goals, scores > goals), strict=True):
            end[met] = strengths[met]
        closed = np.abs(self.ends[0] - self.ends[1]) < CLOSED  # the others' edits have moved the crossing
        self.ends[:, closed] = np.nan

    def between(self, strengths: np.ndarray) -> np.ndarray:
        """The strengths, halfway between the ends where they are not well between them."""
        low, high = np.fmin(*self.ends), np.fmax(*self.ends)
        margin = MARGIN * (high - low)
        outside = (strengths < low + margin) | (strengths > high - margin)
        return np.where(self.known() & outside, (low + high) / 2, strengths)

    def fastest(self) -> np.ndarray:
        """Logits per unit of strength that are believed: any, where a step cannot lead out."""
        return np.where(self.known(), np.inf, FASTEST)

    def known(self) -> np.ndarray:
        return ~np.isnan(self.ends).any(axis=0)


def _logit(score: np.ndarray) -> np.ndarray:
    score = np.clip(score.astype(np.float64), EDGE, 1 - EDGE)
    return np.log(score / (1 - score))
