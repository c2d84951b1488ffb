"""What every editor can do, and the unit in which people ask for an edit: the score it should reach."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

from hfld.attributes import attribute_index

Score = Callable[[Tensor], Tensor]
"""ws [N, L, w_dim] -> attribute scores [N, 40] of their images, without gradients."""

CAP = 8.0
TOLERANCE = 0.02


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
    return ws + per_sample(strength, ws) * direction


def per_sample(strength: float | Tensor, ws: Tensor) -> Tensor:
    """A number or [N] -> [1, 1, 1] or [N, 1, 1], which multiplies ws [N, L, w_dim]."""
    strength = torch.as_tensor(strength, dtype=ws.dtype, device=ws.device)
    if strength.ndim > 1 or (strength.ndim == 1 and len(strength) != len(ws)):
        raise ValueError(f"strength must be a number or [{len(ws)}], not {tuple(strength.shape)}")
    return strength.reshape(-1, 1, 1)


class Editor(Protocol):
    """Changes one attribute of latents."""

    def fit(self, bank: Bank) -> Self:
        """Learn from the bank; editors that come trained return themselves."""
        ...

    def edit(self, ws: Tensor, attribute: str, strength: float | Tensor) -> Tensor:
        """ws [N, L, w_dim], strength (a number or [N], the editor's unit) -> ws'. 0 returns ws."""
        ...


class Reached(NamedTuple):
    """Strengths that bring an attribute to a target."""

    strength: Tensor  # [N], the editor's own unit
    failed: Tensor  # [N] bool: the search found no strength up to the cap (always False in the other modes)


def reach(
    editor: Editor,
    ws: Tensor,  # [N, L, w_dim]
    attribute: str,
    target: float | Tensor,  # in [0, 1]; a number or [N]
    score: Score,  # "native", "matched": R(G(ws)); "search": the tuning judge's
    *,
    mode: str = "native",  # "native" | "matched" | "search"
    factor: float = 1.0,  # "matched": found on validation latents, one per method and attribute
    tolerance: float = TOLERANCE,  # "search": allowed distance of the score from the target
    cap: float = CAP,  # "search": largest absolute strength tried
) -> Reached:
    """Convert a target score to the editor's strength.

    "native": strength = target - R(G(ws))_k, as the directions were trained. "matched": the same times
    `factor`, so that methods of unequal reach are compared at equal change. "search": bracket and bisect each
    sample until its score is within `tolerance` of the target, on the expected side, then on the other.
    """
    column = attribute_index(attribute)
    now = score(ws)[:, column]
    target = torch.as_tensor(target, dtype=now.dtype, device=now.device).expand_as(now)
    if not bool(((target >= 0) & (target <= 1)).all()):
        raise ValueError(f"target must be in [0, 1], not {target.min():.3g} to {target.max():.3g}")
    never = torch.zeros_like(now, dtype=torch.bool)
    if mode == "native":
        return Reached(target - now, never)
    if mode == "matched":
        return Reached(factor * (target - now), never)
    if mode != "search":
        raise ValueError(f"mode must be 'native', 'matched' or 'search', not {mode!r}")

    def gap(
        strength: Tensor, active: Tensor
    ) -> Tensor:  # [n] strengths of the active samples -> score - target
        return score(editor.edit(ws[active], attribute, strength))[:, column] - target[active]

    return _search(gap, now - target, tolerance=tolerance, cap=cap)


def _search(
    gap: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    *,
    tolerance: float,
    cap: float,
    halvings: int = 16,
) -> Reached:
    """Per sample, a strength with |gap| <= tolerance; the best one seen where there is none."""
    best, best_gap = torch.zeros_like(start), start.clone()

    def look(strength: Tensor, active: Tensor) -> Tensor:
        found = gap(strength, active)
        better = found.abs() < best_gap[active].abs()
        best[active[better]], best_gap[active[better]] = strength[better], found[better]
        return found

    expected = torch.where(start > 0, -1.0, 1.0).to(
        start
    )  # a score above its target needs a negative strength
    for side in (expected, -expected):
        active = (best_gap.abs() > tolerance).nonzero()[:, 0]
        low, high = torch.zeros_like(start), torch.zeros_like(start)
        crossed = torch.zeros_like(start, dtype=torch.bool)
        size = min(0.25, cap)
        while len(active):
            found = look(side[active] * size, active)
            over = found.sign() != start[active].sign()
            high[active[over]], crossed[active[over]] = size, True
            low[active[~over]] = size
            active = active[~over]
            if size >= cap:
                break
            size = min(2 * size, cap)
        for _ in range(halvings):
            active = (crossed & (best_gap.abs() > tolerance)).nonzero()[:, 0]
            if not len(active):
                break
            middle = (low[active] + high[active]) / 2
            over = look(side[active] * middle, active).sign() != start[active].sign()
            high[active[over]], low[active[~over]] = middle[over], middle[~over]
    return Reached(best, best_gap.abs() > tolerance)
