"""Matched strength: one factor per method and attribute, so that all reach the same target change.

A weaker edit disturbs less for free. The goal is the signed mean change of the weaker reference method at
its native strength; the factor of every other method is found on validation latents, with a judge that
makes no table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

SMALLEST_FACTOR = 1 / 16  # factor that is tried of an edit that is past its peak


@dataclass(frozen=True)
class Match:
    """How one method was matched at one attribute; changes are the tuning judge's, on validation latents."""

    attribute: str
    method: str
    factor: float  # multiplies every strength
    native: float  # signed mean change at factor 1
    goal: float
    validation: float  # change at `factor`
    failed: bool  # the goal was out of reach; `factor` is the closest found
    reason: str = ""


def match_strengths(
    changes: Mapping[str, Callable[[float], float]],  # method -> (factor -> signed mean change)
    *,
    attribute: str,
    reference: tuple[str, str],
    tolerance: float = 0.005,  # of a score in [0, 1]
    cap: float = 4.0,  # largest |factor|
    evaluations: int = 16,  # at most, for each method
) -> dict[str, Match]:
    """A Match for every method; the goal is the smaller native change of the reference methods present."""
    native = {method: change(1.0) for method, change in changes.items()}
    references = [method for method in reference if method in native]
    if not references:
        raise ValueError(f"none of the reference methods {reference} is among {sorted(native)}")
    weaker = min(references, key=native.__getitem__)
    goal = native[weaker]
    matches = {}
    for method, change in changes.items():
        key = {"attribute": attribute, "method": method, "native": native[method], "goal": goal}
        if method == weaker:
            matches[method] = Match(factor=1.0, validation=goal, failed=False, **key)
        elif goal <= tolerance:
            reason = f"the weaker reference ({weaker}) does not move the target: nothing to match"
            matches[method] = Match(factor=1.0, validation=native[method], failed=True, reason=reason, **key)
        else:
            limits = {"tolerance": tolerance, "cap": cap, "evaluations": evaluations}
            factor, reached = find_factor(change, native=native[method], goal=goal, **limits)
            failed = abs(reached - goal) > tolerance
            where = f"within |factor| <= {cap:g} and {evaluations} evaluations"
            reason = f"closest change {reached:.3f} {where}" if failed else ""
            matches[method] = Match(factor=factor, validation=reached, failed=failed, reason=reason, **key)
    return matches


def find_factor(
    change: Callable[[float], float],
    *,
    native: float,
    goal: float,  # > 0
    tolerance: float,
    cap: float,
    evaluations: int,
) -> tuple[float, float]:
    """(factor, change) with change within `tolerance` of `goal`: bracket by halving where the change is past
    its peak and by doubling elsewhere, then the Illinois rule.

    change(0) is 0. A direction that moves the target the wrong way is tried backwards (a random one has no
    sign).
    """
    sign = 1.0 if native > 0 else -1.0
    far = (sign, native if sign > 0 else change(sign))
    tried = [(0.0, 0.0), (1.0, native), far]
    near = (0.0, 0.0)

    def try_at(factor: float) -> tuple[float, float]:
        tried.append((factor, change(factor)))
        return tried[-1]

    if far[1] < goal - tolerance:
        half = try_at(sign / 2)
        past_its_peak = half[1] > far[1]
        if past_its_peak:
            far = half
            while far[1] < goal - tolerance and abs(far[0]) > SMALLEST_FACTOR:
                far = try_at(far[0] / 2)
        while not past_its_peak and far[1] < goal - tolerance and abs(far[0]) < cap:
            near, far = far, try_at(sign * min(2 * abs(far[0]), cap))
    low, high, side = near[1] - goal, far[1] - goal, 0
    for _ in range(evaluations - len(tried) + 2):
        if min(abs(reached - goal) for _, reached in tried) <= tolerance or high < 0 or low == high:
            break
        factor, reached = try_at((near[0] * high - far[0] * low) / (high - low))
        if reached < goal:  # the end that stays twice in a row counts half
            near, low, high, side = (factor, reached), reached - goal, high / (2 if side < 0 else 1), -1
        else:
            far, high, low, side = (factor, reached), reached - goal, low / (2 if side > 0 else 1), 1
    return min(tried, key=lambda pair: abs(pair[1] - goal))
