"""The Gaussian copula behind a portrait's latent: 40 attribute scores and 5 expression scores, correlated as
counted.

`copula.csv` is made by `pretrain/fit_copula.py` from `celeba_cooccurrence.csv`, the joint frequencies of
CelebA's 40 labels counted over 20,000 of its label rows (frequencies only: no image and no row of that data
set is here).
"""

import csv
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from hfld.attributes import ATTRIBUTES

EXPRESSIONS = ("anger", "disgust", "fear", "sadness", "surprise")
"""The expression scores behind the 40 attribute scores; happiness is the attribute `Smiling`."""

SCORES = (*ATTRIBUTES, *EXPRESSIONS)
"""Order of every [N, 45] array of scores and of the rows of copula.csv."""

MIN_EIGENVALUE = 0.05
"""Floor of the correlation matrix: keeps L^-1, hence the latents of independent scores, moderate."""

COPULA_PATH = Path(__file__).with_name("copula.csv")
COUNTS_PATH = Path(__file__).with_name("celeba_cooccurrence.csv")


@dataclass(frozen=True)
class Copula:
    """Thresholds [45] and correlations [45, 45]: score k is a standard normal, on above threshold k."""

    thresholds: np.ndarray
    correlation: np.ndarray

    @cached_property
    def factor(self) -> np.ndarray:
        """L [45, 45], lower triangular: scores = z[:, :45] @ L.T."""
        return np.linalg.cholesky(self.correlation)

    @cached_property
    def inverse(self) -> np.ndarray:
        """L^-1 [45, 45]: z[:, :45] = scores @ inverse.T."""
        return np.linalg.inv(self.factor)

    def coupled(self, coupling: float) -> "Copula":
        """The same thresholds, off-diagonal correlations times `coupling` (0 independent, 1 as counted)."""
        if coupling == 1.0:
            return self
        scaled = np.clip(self.correlation * coupling, -0.999, 0.999)
        np.fill_diagonal(scaled, 1.0)
        return Copula(thresholds=self.thresholds, correlation=nearest_correlation(scaled))


def nearest_correlation(matrix: np.ndarray, *, floor: float = MIN_EIGENVALUE, rounds: int = 60) -> np.ndarray:
    """Correlation matrix near the symmetric `matrix` [K, K] with eigenvalues of at least `floor`.

    Alternating projections with Dykstra's correction (Higham 2002): Frobenius-nearest up to the number of
    rounds.
    """
    result = (matrix + matrix.T) / 2
    if np.linalg.eigvalsh(result).min() >= floor and np.allclose(np.diag(result), 1.0):
        return result
    correction = np.zeros_like(result)
    for _ in range(rounds):
        values, vectors = np.linalg.eigh(result - correction)
        projected = (vectors * np.maximum(values, floor)) @ vectors.T
        correction = projected - (result - correction)
        result = projected.copy()
        np.fill_diagonal(result, 1.0)
    values, vectors = np.linalg.eigh(result)
    result = (vectors * np.maximum(values, floor)) @ vectors.T
    scale = np.sqrt(np.diag(result))
    return result / np.outer(scale, scale)


@lru_cache(maxsize=1)
def load_copula() -> Copula:
    """The fitted copula that comes with the package."""
    names, table = _read(COPULA_PATH)
    if names != SCORES:
        raise ValueError(
            f"{COPULA_PATH} does not list the scores in order; make it with pretrain/fit_copula.py"
        )
    correlation = table[:, 1:]
    return Copula(thresholds=table[:, 0], correlation=(correlation + correlation.T) / 2)


@lru_cache(maxsize=1)
def counted_frequencies() -> np.ndarray:
    """P(i and j) [40, 40] as counted in CelebA; the diagonal holds the prevalences."""
    names, table = _read(COUNTS_PATH)
    if names != ATTRIBUTES:
        raise ValueError(f"{COUNTS_PATH} does not list CelebA's attributes in order")
    return table


def phi_coefficients(joint: np.ndarray) -> np.ndarray:
    """Correlations [K, K] between binary labels from their joint frequencies P(i and j) [K, K]."""
    p = np.diag(joint)
    sd = np.sqrt(np.maximum(p * (1 - p), 1e-12))
    return (joint - np.outer(p, p)) / np.outer(sd, sd)


def _read(path: Path) -> tuple[tuple[str, ...], np.ndarray]:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    return tuple(row[0] for row in rows), np.array([[float(cell) for cell in row[1:]] for row in rows])
