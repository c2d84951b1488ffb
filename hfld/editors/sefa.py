"""SeFa (Shen and Zhou, arXiv:2007.06600): directions in closed form, from the weights that w meets first."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hfld.editors.base import Bank
from hfld.editors.ganspace import with_positive_peak
from hfld.editors.unsupervised import UnsupervisedEditor


def style_weights(synthesis: nn.Module) -> list[Tensor]:
    """For each row of W+ the matrix [channels, w_dim] that makes styles of it, as in the reference.

    Row i feeds convolution i, the last row only the last RGB output; other RGB outputs are left out. Matrices
    are as used: weight * scale of the equalized layers.
    """
    layers = [*synthesis.convs, synthesis.to_rgbs[-1]]
    return [(layer.style.weight * layer.style.scale).detach() for layer in layers]


def factorize(weights: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Eigenvectors [w_dim, w_dim] (rows) and eigenvalues of A A^T, largest first.

    A [w_dim, channels] has the style weights of all channels as its columns, each of unit norm: the common
    scale of an equalized layer has no influence. The reference's, by numpy.linalg.eig, are not sorted and of
    arbitrary signs.
    """
    columns = torch.cat([weight.detach().double().cpu() for weight in weights]).T  # [w_dim, channels]
    norms = columns.norm(dim=0, keepdim=True)
    if not bool((norms > 0).all()):
        raise ValueError("weights hold a channel whose style does not depend on w: its column is zero")
    A = columns / norms
    values, vectors = torch.linalg.eigh(A @ A.T)
    return with_positive_peak(vectors.T.flip(0)), values.flip(0)


class SeFa(UnsupervisedEditor):
    """Native strength: distance in W along a unit vector, on the rows whose weights were factorized.

    The groups of rows are factorized each on their own, so that direction i differs between groups.
    """

    name = "sefa"

    def __init__(
        self,
        *,
        weights: Sequence[Tensor] | None = None,  # one [channels, w_dim] per row, from `style_weights`
        **options: Any,  # of UnsupervisedEditor
    ) -> None:
        super().__init__(**options)
        self.weights = weights

    def find(self, bank: Bank) -> Mapping[str, Tensor]:
        if self.weights is None or len(self.weights) != bank.ws.shape[1]:
            got = "none" if self.weights is None else len(self.weights)
            raise ValueError(f"sefa needs one weight matrix for each of {bank.ws.shape[1]} rows, got {got}")
        groups = [factorize(self.weights[start:stop]) for start, stop in self.layers.values()]
        count = min(self.directions, bank.ws.shape[2])
        return {
            "steps": torch.stack([vectors[:count] for vectors, _ in groups]),
            "eigenvalues": torch.stack([values[:count] for _, values in groups]),
        }
