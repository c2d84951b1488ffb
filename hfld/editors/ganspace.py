"""GANSpace (Haerkoenen et al., arXiv:2004.02546): principal components of W, applied to ranges of rows."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hfld.editors.base import Bank
from hfld.editors.unsupervised import UnsupervisedEditor

CHUNK = 2000
"""Least rows in a chunk of the reference's incremental estimate."""


class Components(NamedTuple):
    """Principal components of W in float64, sorted by variance."""

    vectors: Tensor  # [D, w_dim] of unit norm; the entry of largest absolute value is positive
    stdev: Tensor  # [D] standard deviation along each (n - 1)
    ratio: Tensor  # [D] share of the total variance


def principal_components(chunks: Iterable[Tensor], count: int) -> Components:
    """Exact PCA of all rows of the chunks [n, w_dim], which are seen once: mean and scatter are merged."""
    n, mean, scatter = 0, torch.zeros(()), torch.zeros(())
    for chunk in chunks:
        x = chunk.detach().double().cpu()
        centre = x.mean(dim=0)
        gap, share = centre - mean, len(x) / (n + len(x))
        scatter = scatter + (x - centre).T @ (x - centre) + n * share * torch.outer(gap, gap)
        mean, n = mean + share * gap, n + len(x)
    if not 0 < count <= min(len(mean) if n else 0, n - 1):
        raise ValueError(f"directions must be from 1 to w_dim and below the {n} samples, not {count}")
    variances, vectors = torch.linalg.eigh(scatter / (n - 1))  # ascending
    variances = variances.flip(0).clamp_min(0)
    vectors = with_positive_peak(vectors.T.flip(0)[:count])
    return Components(vectors, variances[:count].sqrt(), variances[:count] / variances.sum())


def incremental_components(chunks: Iterable[Tensor], count: int) -> Components:
    """The reference's estimate: scikit-learn's IncrementalPCA over chunks of max(2000, 3 count) rows.

    Each update keeps `count` components of what came before, so that it is not exact.
    """
    from sklearn.decomposition import IncrementalPCA

    x = torch.cat([chunk.detach().double().cpu() for chunk in chunks]).numpy()
    parts = np.array_split(x, max(1, len(x) // max(CHUNK, 3 * count)))
    estimator = IncrementalPCA(count, whiten=False)
    for part in parts:
        estimator.partial_fit(part)
    vectors = with_positive_peak(torch.from_numpy(estimator.components_))
    stdev = torch.from_numpy(estimator.explained_variance_).sqrt()
    return Components(vectors, stdev, torch.from_numpy(estimator.explained_variance_ratio_))


def with_positive_peak(vectors: Tensor) -> Tensor:
    """Eigenvectors [D, w_dim] with the sign that makes the entry of largest absolute value positive."""
    peak = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return vectors * torch.where(peak < 0, -1.0, 1.0)


class GanSpace(UnsupervisedEditor):
    """Native strength: standard deviations sigma of W along component v, w + strength sigma v.

    So does the reference's viewer; its strips and its teaser first move w to the mean along v.
    """

    name = "ganspace"

    def __init__(
        self,
        *,
        codes: Iterable[Tensor] | None = None,  # chunks [n, w_dim] of W to analyse; None: the bank's
        estimator: Literal["exact", "incremental"] = "exact",
        **options: Any,  # of UnsupervisedEditor
    ) -> None:
        super().__init__(**options)
        if estimator not in ("exact", "incremental"):
            raise ValueError(f"estimator must be 'exact' or 'incremental', not {estimator!r}")
        self.codes, self.estimator = codes, estimator

    def find(self, bank: Bank) -> Mapping[str, Tensor]:
        analyse = principal_components if self.estimator == "exact" else incremental_components
        found = analyse([bank.codes()] if self.codes is None else self.codes, self.directions)
        steps = found.stdev[:, None] * found.vectors
        return {"steps": steps.expand(len(self.layers), -1, -1), "variance_ratio": found.ratio}

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "estimator": self.estimator}
