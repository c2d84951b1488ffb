"""Fit the Gaussian copula of the portraits world to CelebA's counts; writes hfld/portraits/copula.csv.

Tetrachoric correlations first; then thresholds and correlations are corrected by simulation until the *final*
labels, after everything that ENTAILMENT excludes, have the counted prevalences and phi correlations, and
emotions their shares. Deterministic; ten seconds on one core; needs scipy.
Run: python pretrain/fit_copula.py
"""

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from hfld.attributes import ATTRIBUTES, EMOTIONS
from hfld.images import write_text
from hfld.portraits.copula import (
    COPULA_PATH,
    EXPRESSIONS,
    SCORES,
    counted_frequencies,
    nearest_correlation,
    phi_coefficients,
)
from hfld.portraits.entailment import BEARD_KINDS, entailed, resolve
from hfld.portraits.expression import action_units, emotion_percentages

COUNTED_ROWS = 20_000
DRAWS, SEED = 200_000, 1
ROUNDS, THRESHOLD_ROUNDS = 30, 12  # all rounds, and the last of them that correct thresholds only
STEP = 0.6
LIMIT = 0.98  # of a tetrachoric correlation's absolute value
GOAL_LIMIT = 3.0  # beyond 1, a wanted correlation only weighs more in the projection
TOLERATED = 0.06  # phi errors below this are corrected more gently, so that the worst ones win the conflicts

EXPRESSION_COUPLINGS = {
    **{(name, "Smiling"): -0.35 for name in EXPRESSIONS},
    ("fear", "Mouth_Slightly_Open"): 0.4,
    ("surprise", "Mouth_Slightly_Open"): 0.4,
}
"""Our choice, not counted: emotions agree with Smiling, and fear and surprise tend to open the mouth."""

EMOTION_SHARES = {"angry": 0.082, "disgust": 0.082, "fear": 0.082, "sad": 0.082, "surprise": 0.082}
"""Wanted shares of the strongest emotion; happy and neutral share the rest as Smiling has it."""


def bivariate_normal_cdf(h: np.ndarray, k: np.ndarray, r: np.ndarray) -> np.ndarray:
    """P(X < h, Y < k) at correlation r, by Plackett's integral over the angle (Gauss-Legendre)."""
    nodes, weights = np.polynomial.legendre.leggauss(48)
    angle = 0.5 * np.arcsin(r)[..., None] * (nodes + 1)
    h_, k_ = h[..., None], k[..., None]
    body = np.exp(-(h_**2 + k_**2 - 2 * h_ * k_ * np.sin(angle)) / (2 * np.cos(angle) ** 2))
    return ndtr(h) * ndtr(k) + (body * weights).sum(-1) * 0.5 * np.arcsin(r) / (2 * np.pi)


def tetrachoric(joint: np.ndarray) -> np.ndarray:
    """Correlations [K, K] of normals whose signs against thresholds have the joint frequencies [K, K]."""
    p = np.diag(joint)
    t = ndtri(1 - p)
    h, k = np.broadcast_arrays(-t[:, None], -t[None])
    empty = 0.25 / COUNTED_ROWS
    wanted = np.clip(joint, empty, np.minimum(p[:, None], p[None]) - empty)
    low, high = np.full_like(joint, -LIMIT), np.full_like(joint, LIMIT)
    for _ in range(40):
        middle = (low + high) / 2
        above = bivariate_normal_cdf(h, k, middle) > wanted
        high, low = np.where(above, middle, high), np.where(above, low, middle)
    result = (low + high) / 2
    np.fill_diagonal(result, 1.0)
    return result


def slope(t: np.ndarray, r: np.ndarray) -> np.ndarray:
    """d phi / d r of two labels with thresholds t [K]: the bivariate density over the labels' deviations."""
    p = 1 - ndtr(t)
    sd = np.sqrt(p * (1 - p))
    r = np.clip(r, -0.95, 0.95)
    square = (t[:, None] ** 2 + t[None] ** 2 - 2 * r * np.outer(t, t)) / (1 - r**2)
    return np.exp(-square / 2) / (2 * np.pi * np.sqrt(1 - r**2)) / np.outer(sd, sd)


def first_goal(counted: np.ndarray) -> np.ndarray:
    """Tetrachoric correlations of the attributes, chosen ones of the expressions [45, 45]."""
    goal = np.eye(len(SCORES))
    goal[: len(ATTRIBUTES), : len(ATTRIBUTES)] = tetrachoric(counted)
    for (a, b), value in EXPRESSION_COUPLINGS.items():
        i, j = SCORES.index(a), SCORES.index(b)
        goal[i, j] = goal[j, i] = value
    return goal


def corrected_pairs() -> tuple[np.ndarray, np.ndarray]:
    """Pairs [40, 40] whose correlation is not corrected, and those where the projection may choose it.

    A beard of some kind settles No_Beard whatever their correlation, so the projection may choose it. Other
    attributes that exclude each other stay at their tetrachoric correlation: clear labels.
    """
    settled, free = np.zeros((2, len(ATTRIBUTES), len(ATTRIBUTES)), dtype=bool)
    for name in ATTRIBUTES:
        settled[ATTRIBUTES.index(name), [ATTRIBUTES.index(other) for other in entailed(name)]] = True
    for name in BEARD_KINDS:
        free[ATTRIBUTES.index(name), ATTRIBUTES.index("No_Beard")] = True
    return settled | settled.T, free | free.T


def fit() -> tuple[np.ndarray, np.ndarray]:
    """Thresholds [45] and correlation [45, 45]; prints how far the final labels are from the counts."""
    counted = counted_frequencies()
    count, phi = len(ATTRIBUTES), phi_coefficients(counted)
    thresholds = np.concatenate([ndtri(1 - np.diag(counted)), np.full(len(EXPRESSIONS), 0.5)])
    goal, (settled, free) = first_goal(counted), corrected_pairs()
    moved = [EMOTIONS.index(name) for name in EMOTION_SHARES]  # in the order of EXPRESSIONS
    shares = np.array(list(EMOTION_SHARES.values()))
    normal = np.random.default_rng(SEED).standard_normal((DRAWS, len(SCORES)))
    best = (np.inf, thresholds, goal)
    for step in range(ROUNDS):
        correlation = nearest_correlation(goal)
        margins = normal @ np.linalg.cholesky(correlation).T - thresholds
        strengths = resolve(margins[:, :count])
        labels = (strengths > 0.5).astype(np.float32)
        joint = (labels.T @ labels).astype(np.float64) / DRAWS
        emotions = emotion_percentages(action_units(strengths, margins[:, count:]))
        reached = np.bincount(emotions.argmax(axis=1), minlength=len(EMOTIONS)) / DRAWS
        error = phi - phi_coefficients(joint)
        off = np.abs(error[np.triu_indices(count, 1)])
        drift = np.abs(np.diag(joint) - np.diag(counted)).max()
        worst = divmod(int(np.abs(error).argmax()), count)
        print(
            f"round {step}: marginal worst {drift:.4f}, phi mean {off.mean():.4f} worst {off.max():.3f}"
            f" ({ATTRIBUTES[worst[0]]}, {ATTRIBUTES[worst[1]]} {error[worst]:+.3f}), {np.round(reached, 3)}"
        )
        if (distance := off.mean() + drift + 0.2 * off.max()) < best[0]:
            best = (distance, thresholds.copy(), correlation)
        clipped = np.clip(np.diag(joint), 1e-4, 1 - 1e-4)
        thresholds[:count] += STEP * (ndtri(clipped) - ndtri(np.diag(counted)))
        if step < ROUNDS - THRESHOLD_ROUNDS:
            block = goal[:count, :count]
            gain = STEP * np.minimum(1, np.abs(error) / TOLERATED)
            change = gain * np.where(settled, 0, error) / np.maximum(slope(thresholds[:count], block), 0.3)
            wanted = np.clip(block + np.clip(change, -0.1, 0.1), -GOAL_LIMIT, GOAL_LIMIT)
            goal[:count, :count] = np.where(free, correlation[:count, :count], wanted)
            np.fill_diagonal(goal, 1.0)
        thresholds[count:] += STEP * np.clip(np.log(np.maximum(reached[moved], 1e-3) / shares), -0.5, 0.5)
    return best[1], best[2]


if __name__ == "__main__":
    thresholds, correlation = fit()
    table = pd.DataFrame(correlation, index=SCORES, columns=SCORES)
    table.insert(0, "threshold", thresholds)
    write_text(COPULA_PATH, table.to_csv(index_label="score", float_format="%.5f", lineterminator="\n"))
