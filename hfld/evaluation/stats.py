"""Paired bootstrap by latent, and Holm's correction.

One matrix of resampling counts is drawn per experiment and used for every method and quantity. Every estimate
is then a matrix product, and every comparison is paired by construction: resample b holds the same latents
for both methods. Missing values are NaN: a latent without a reading leaves the mean (and is counted as
dropped), never the resample.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr


class Estimates(NamedTuple):
    """Means of K quantities over N latents with their bootstrap draws."""

    value: np.ndarray  # [K]
    draws: np.ndarray  # [B, K]
    n: np.ndarray  # [K] latents behind the mean
    dropped: np.ndarray  # [K] latents without a reading


def resampling_counts(n: int, resamples: int = 2000, seed: int = 0) -> np.ndarray:
    """How often each of `n` latents occurs in each resample: [resamples, n], every row sums to n."""
    if n < 1 or resamples < 1:
        raise ValueError(f"n and resamples must be at least 1; got n={n}, resamples={resamples}")
    generator = np.random.default_rng(seed)
    chosen = generator.integers(0, n, size=(resamples, n), dtype=np.int64)
    chosen += np.arange(resamples, dtype=np.int64)[:, None] * n
    return np.bincount(chosen.ravel(), minlength=resamples * n).reshape(resamples, n).astype(np.float64)


def bootstrap_means(values: np.ndarray, counts: np.ndarray) -> Estimates:
    """Means of the columns of `values` [N, K] (NaN: dropped) under `counts` [B, N]."""
    values = np.asarray(values, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if counts.shape[1] != len(values):
        raise ValueError(f"counts are for {counts.shape[1]} latents, values hold {len(values)}")
    valid = np.isfinite(values)
    n = valid.sum(0)
    filled = np.where(valid, values, 0.0)
    complete = n == len(values)
    weight = np.full((len(counts), values.shape[1]), float(len(values)))
    if not complete.all():
        weight[:, ~complete] = counts @ valid[:, ~complete].astype(np.float64)
    draws = np.full(weight.shape, np.nan)
    np.divide(counts @ filled, weight, out=draws, where=weight > 0)
    mean = np.full(values.shape[1], np.nan)
    np.divide(filled.sum(0), n, out=mean, where=n > 0)
    return Estimates(value=mean, draws=draws, n=n, dropped=len(values) - n)


def safe_ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where below is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, np.float64), np.asarray(below, np.float64))
    out = np.full(above.shape, np.nan)
    np.divide(above, below, out=out, where=below != 0)
    return out


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval of draws [B, K]; NaN where a column holds no finite draw."""
    lo = np.full(draws.shape[1], np.nan)
    hi = lo.copy()
    finite = np.isfinite(draws)
    whole = finite.all(0)
    tail = 100 * (1 - level) / 2
    if whole.any():
        lo[whole], hi[whole] = np.percentile(draws[:, whole], [tail, 100 - tail], axis=0)
    for column in np.flatnonzero(finite.any(0) & ~whole):
        lo[column], hi[column] = np.percentile(draws[finite[:, column], column], [tail, 100 - tail])
    return lo, hi


def p_values(value: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Two-sided p of `value` [K] against 0 from the bootstrap standard error (normal approximation).

    Counting draws beyond 0 cannot go below 2 / B, which a Holm correction over many cells would turn into 1.
    """
    value = np.asarray(value, np.float64)
    finite = np.isfinite(draws)
    seen = finite.sum(0)
    total = np.where(finite, draws, 0.0)
    centre = safe_ratio(total.sum(0), seen)
    spread = np.sqrt(safe_ratio((np.where(finite, draws - centre, 0.0) ** 2).sum(0), np.maximum(seen - 1, 0)))
    out = np.where(value == 0, 1.0, 0.0)  # no spread at all: equal or different on every latent
    ok = spread > 1e-12 * np.maximum(np.abs(value), 1e-300)
    out[ok] = 2 * ndtr(-np.abs(value[ok]) / spread[ok])
    return np.where(np.isfinite(value) & (seen > 0), out, np.nan)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of one family of p values; NaN stay NaN and do not count."""
    p = np.asarray(p, np.float64)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    factor = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factor), 1.0)
    return adjusted
