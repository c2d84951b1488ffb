"""Editors that add strength times a direction to ws; the directions are rows of a matrix T [A, L, w_dim]."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from hfld.attributes import attribute_index, index_of
from hfld.editors.base import Bank, shift


class LinearEditor:
    """ws' = ws + strength * T_k: the baseline and HFLD. The strength is a change of the regressor's score."""

    def __init__(self, T: Tensor, attributes: Sequence[str]) -> None:
        if T.ndim != 3 or len(T) != len(attributes):
            raise ValueError(
                f"T must be [A, L, w_dim] with A = {len(attributes)} attributes, not {tuple(T.shape)}"
            )
        self.T, self.attributes = T, tuple(attributes)

    def fit(self, bank: Bank) -> Self:
        return self

    def direction(self, attribute: str) -> Tensor:
        """T_k [L, w_dim]; ValueError names the nearest attribute that has one."""
        return self.T[index_of(attribute, self.attributes, "attribute")]

    def edit(self, ws: Tensor, attribute: str, strength: float | Tensor) -> Tensor:
        return shift(ws, strength, self.direction(attribute))


class RandomEditor(LinearEditor):
    """A random W direction per attribute, as long as the reference's: what any such change disturbs."""

    def __init__(self, reference: Tensor, attributes: Sequence[str], *, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        direction = torch.randn(len(reference), 1, reference.shape[2], generator=generator)
        T = direction.expand(reference.shape).to(reference)  # all rows alike: a direction of W
        length = reference.norm(dim=(1, 2), keepdim=True)
        super().__init__(T / T.norm(dim=(1, 2), keepdim=True) * length, attributes)


class NoEdit:
    """Leaves ws as they are: what the judges report when nothing happened."""

    def fit(self, bank: Bank) -> Self:
        return self

    def edit(self, ws: Tensor, attribute: str, strength: float | Tensor) -> Tensor:
        attribute_index(attribute)
        return ws
