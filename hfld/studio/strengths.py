"""Strengths that bring several attributes of one face to their scores at once: a secant in logits.

An editor's own unit (the missing score) stops short of the target by as much as its directions are short.
Where two editors are compared, both have to arrive.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import numpy as np

from hfld.attributes import attribute_index

MAX_STRENGTH = 3.0  # in the editor's own unit: beyond, pictures fall apart before scores are reached
MAX_CORRECTIONS = 12  # each costs one picture
MAX_STEP = 2.0  # of a strength in one correction: a score far from its goal says little about how far to go
TOLERANCE = 0.02  # distance of a score from its goal that is near enough
MIN_GAIN, MAX_GAIN = 0.4, 20.0  # logits per unit of strength that are believed
MARGIN = 0.1  # share of a bracket that is left to its ends
NARROWEST = 1.0e-3  # a bracket of less is opened again
SCORE_EDGE = 1.0e-3  # scores beyond are read as this near to 0 or 1


class Scored(Protocol):
    scores: np.ndarray  # [40]


Drawn = TypeVar("Drawn", bound=Scored)


def solve_strengths(
    draw: Callable[[Mapping[str, float]], Drawn],  # strengths -> the edited face
    start: np.ndarray,  # [40] scores of the unedited face
    goals: Mapping[str, float],  # attribute -> score; without a strength it is held
    strengths: Mapping[str, float],  # the first try
) -> tuple[Drawn, dict[str, float]]:
    """The face nearest to all goals that was met, and its strengths.

    Each attribute's strength changes by (logit(goal) - logit(score)) / gain, where the gain is what the last
    change has brought, at first the native unit's. A score that moves the wrong way keeps its gain. Once
    scores on both sides of the goal were met the strength stays between theirs, and is halfway where the
    secant leads out: scores that jump are found, too.
    """
    columns = [attribute_index(name) for name in goals]
    goal = np.array(list(goals.values()))
    aim = _logit(np.clip(goal, TOLERANCE, 1 - TOLERANCE))
    here = np.array([strengths.get(name, 0.0) for name in goals])
    before, seen = np.zeros(len(goal)), start[columns]
    inside = np.clip(seen, 0.05, 0.95)
    gain = 1 / (inside * (1 - inside))
    brackets = Brackets(len(goal))
    brackets.add(before, seen, goal)
    best, least = None, np.inf
    for left in range(MAX_CORRECTIONS, -1, -1):
        tried = dict(zip(goals, here.tolist(), strict=True))
        face = draw(tried)
        scores = face.scores[columns]
        missing = np.abs(goal - scores)
        if best is None or missing.sum() < least:
            best, least = (face, tried), missing.sum()
        if not left or missing.max() <= TOLERANCE:
            break
        brackets.add(here, scores, goal)
        moved = here - before
        brought = (_logit(scores) - _logit(seen)) / np.where(moved == 0, np.inf, moved)
        told = (moved != 0) & (brought >= 0)
        gain = np.where(told, np.clip(brought, MIN_GAIN, brackets.max_gain()), gain)
        step = np.clip((aim - _logit(scores)) / gain, -MAX_STEP, MAX_STEP)
        there = brackets.keep_inside(np.clip(here + step, -MAX_STRENGTH, MAX_STRENGTH))
        before, seen, here = here, scores, np.where(missing <= TOLERANCE / 2, here, there)
        if np.array_equal(before, here):
            break
    return best


class Brackets:
    """Of each attribute the last strength whose score was below its goal, and the last above it."""

    def __init__(self, count: int) -> None:
        self.ends = np.full((2, count), np.nan)

    def add(self, strengths: np.ndarray, scores: np.ndarray, goals: np.ndarray) -> None:
        for end, met in zip(self.ends, (scores < goals, scores > goals), strict=True):
            end[met] = strengths[met]
        narrow = np.abs(self.ends[0] - self.ends[1]) < NARROWEST  # the others' edits have moved the crossing
        self.ends[:, narrow] = np.nan

    def keep_inside(self, strengths: np.ndarray) -> np.ndarray:
        """The strengths, halfway between the ends where they are not well between them."""
        low, high = np.fmin(*self.ends), np.fmax(*self.ends)
        margin = MARGIN * (high - low)
        outside = (strengths < low + margin) | (strengths > high - margin)
        return np.where(self.complete() & outside, (low + high) / 2, strengths)

    def max_gain(self) -> np.ndarray:
        """Logits per unit of strength that are believed: any, where a step cannot lead out."""
        return np.where(self.complete(), np.inf, MAX_GAIN)

    def complete(self) -> np.ndarray:
        return ~np.isnan(self.ends).any(axis=0)


def _logit(score: np.ndarray) -> np.ndarray:
    score = np.clip(score.astype(np.float64), SCORE_EDGE, 1 - SCORE_EDGE)
    return np.log(score / (1 - score))
