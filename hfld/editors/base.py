"""What every editor can do, and the unit in which people ask for an edit: the score it should reach."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from hfld import checkpoints

Score = Callable[[Tensor], Tensor]
"""ws [N, L, w_dim] -> attribute scores [N, 40] of their images, without gradients."""


@dataclass(frozen=True)
class Bank:
    """Latents with the scores of their images: what an editor may learn from."""

    ws: Tensor  # [N, L, w_dim]
    scores: Tensor  # [N, 40] by the training regressor

    def codes(self) -> Tensor:
        """w [N, w_dim]; ValueError where the rows of a ws differ, as after an inversion."""
        w = self.ws[:, 0]
        if not torch.equal(self.ws, w[:, None].expand_as(self.ws)):
            raise ValueError("bank.ws must be codes of W, all rows alike; these rows differ")
        return w


def shift(ws: Tensor, strength: float | Tensor, direction: Tensor) -> Tensor:
    """ws [N, L, w_dim] + strength (a number or [N]) * direction [L, w_dim], in the type of ws."""
    direction = direction.to(ws)
    if ws.ndim != 3 or ws.shape[1:] != direction.shape:
        raise ValueError(f"ws must be [N, {direction.shape[0]}, {direction.shape[1]}], not {tuple(ws.shape)}")
    return ws + as_strengths(strength, ws)[:, None, None] * direction


def as_strengths(strength: float | Tensor, ws: Tensor) -> Tensor:
    """A number or [N] as [N], of the type and device of ws [N, L, w_dim]."""
    strength = torch.as_tensor(strength, dtype=ws.dtype, device=ws.device)
    if strength.ndim > 1 or (strength.ndim == 1 and len(strength) != len(ws)):
        raise ValueError(f"strength must be a number or [{len(ws)}], not {tuple(strength.shape)}")
    return strength.expand(len(ws))


class Editor(Protocol):
    """Changes one attribute of latents."""

    def fit(self, bank: Bank) -> Self:
        """Learn from the bank; editors that come trained return themselves."""
        ...

    def edit(self, ws: Tensor, attribute: str, strength: float | Tensor) -> Tensor:
        """ws [N, L, w_dim], strength (a number or [N], the editor's unit) -> ws'. 0 returns ws."""
        ...


def read_editor(path: Path | str, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of the file of a fitted editor; ValueError if it holds another kind."""
    tensors, metadata = checkpoints.load(path)
    if metadata.get("editor") != kind:
        raise ValueError(f"{path} holds {metadata.get('editor', 'no editor')}, not {kind}")
    return tensors, metadata


def strength_for(
    target: float | Tensor,  # in [0, 1]; a number or [N]
    scores: Tensor,  # [N] of the attribute, by the training regressor, before the edit
    factor: float = 1.0,  # of a matched edit: one per method and attribute, found on validation latents
) -> Tensor:
    """The strength [N] that asks for a target: factor * (target - R(G(ws))_k), the unit in which T learns."""
    target = torch.as_tensor(target, dtype=scores.dtype, device=scores.device).expand_as(scores)
    if not bool(((target >= 0) & (target <= 1)).all()):
        raise ValueError(f"target must be in [0, 1], not {target.min():.3g} to {target.max():.3g}")
    return factor * (target - scores)
