"""What a person has chosen in the editor, as values that never change, and the history of these values."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from hfld.attributes import ATTRIBUTES, attribute_index
from hfld.images import sha256

LARGEST_SEED = 2**31 - 1
MAX_NAME = 24  # letters
PAUSE = 1.0  # seconds after which the same control begins a new step of the history
MAX_STEPS = 200  # of the history


@dataclass(frozen=True)
class Source:
    """The unedited face: a seed, or a latent that was saved or made from a photo."""

    seed: int | None = None
    ws: Tensor | None = field(default=None, compare=False)  # [1, L, w_dim]; only without a seed
    key: str = ""  # digest of ws and photo, by which two latents are told apart
    photo: str = field(default="", compare=False)  # digest of the photo: two may have the same nearest face
    name: str = field(default="", compare=False)  # of the photo that the latent was made from
    tuned: str = ""  # digest of the generator that was tuned to the photo; "": the session's own draws it

    @classmethod
    def of_seed(cls, seed: int) -> Self:
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
            raise ValueError(f"seed must be a whole number from 0 to {LARGEST_SEED}, not {seed!r}")
        return cls(seed=seed)

    @classmethod
    def of_latent(cls, ws: Tensor, name: str = "", photo: str = "", tuned: str = "") -> Self:
        """ws [L, w_dim] or [1, L, w_dim], finite, name and digest of the photo that it is from, and the
        digest of the generator that was tuned to it.
        """
        ws = torch.as_tensor(ws).detach().cpu().float()
        ws = ws[None] if ws.ndim == 2 else ws
        if ws.ndim != 3 or len(ws) != 1:
            raise ValueError(f"a latent is ws [1, L, w_dim], not {tuple(ws.shape)}")
        if not bool(ws.isfinite().all()):
            raise ValueError("the latent holds values that are not finite")
        photo, tuned = str(photo)[:64], str(tuned)[:64]
        digest = sha256(ws.numpy(), f"{photo}{tuned}".encode())
        name = re.sub(r"[^\w-]+", "-", str(name)).strip("-")[:MAX_NAME]
        return cls(ws=ws.contiguous().clone(), key=digest, photo=photo, name=name, tuned=tuned)

    @property
    def label(self) -> str:
        if self.seed is not None:
            return f"seed {self.seed}"
        return f"photo {self.name}" if self.name else f"latent {self.key[:6]}"


@dataclass(frozen=True)
class State:
    """Everything that decides the pixels, and what they are compared with."""

    source: Source
    editor: str
    second: str | None = None  # the editor shown beside it
    targets: Mapping[str, float] = field(default_factory=dict)  # attribute -> score to reach, in [0, 1]
    held: frozenset[str] = frozenset()  # attributes whose score is kept while others are edited
    layers: tuple[int, int] | None = None  # first and last row of ws that an edit may touch; None: all
    expression_lock: bool = False
    active: str | None = None  # the attribute moved last: the trajectory shows it

    def __post_init__(self) -> None:
        for attribute, target in self.targets.items():
            attribute_index(attribute)
            if isinstance(target, bool) or not isinstance(target, int | float) or not 0 <= target <= 1:
                raise ValueError(f"target of {attribute} must be a number in [0, 1], not {target!r}")
        for attribute in (*self.held, *(() if self.active is None else (self.active,))):
            attribute_index(attribute)
        if self.layers is not None and not 0 <= self.layers[0] <= self.layers[1]:
            raise ValueError(f"layers must be (first, last), not {self.layers}")
        ordered = {name: float(self.targets[name]) for name in ATTRIBUTES if name in self.targets}
        object.__setattr__(self, "targets", ordered)  # the order of edits is always the same

    @property
    def editors(self) -> tuple[str, ...]:
        """The one or two whose pictures are shown."""
        return (self.editor,) if self.second is None else (self.editor, self.second)

    def with_target(self, attribute: str, target: float) -> "State":
        return replace(self, targets={**self.targets, attribute: target}, active=attribute)

    def without_target(self, attribute: str) -> "State":
        kept = {name: value for name, value in self.targets.items() if name != attribute}
        return replace(self, targets=kept)

    def without_targets(self) -> "State":
        """All edits undone but those of held attributes."""
        kept = {name: value for name, value in self.targets.items() if name in self.held}
        return replace(self, targets=kept, active=self.active if self.active in kept else None)

    def holding(self, attribute: str, held: bool) -> "State":
        return replace(self, held=self.held | {attribute} if held else self.held - {attribute})


class History:
    """Undo and redo. Changes of one kind in quick succession, such as a slider's drag, are one step."""

    def __init__(self, start: State) -> None:
        self._past, self._future, self._now = [], [], start
        self._kind, self._time = "", float("-inf")

    @property
    def state(self) -> State:
        return self._now

    @property
    def can_undo(self) -> bool:
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        return bool(self._future)

    def push(self, state: State, kind: str = "") -> None:
        """Go to `state`; the last step is extended if it has the same non-empty kind and is recent."""
        now = time.monotonic()
        same_step = kind != "" and kind == self._kind and now - self._time <= PAUSE
        self._kind, self._time = kind, now
        if state == self._now:
            return
        if not same_step:
            self._past = [*self._past, self._now][-MAX_STEPS:]
        self._future, self._now = [], state

    def undo(self) -> State:
        if self._past:
            self._future.append(self._now)
            self._now = self._past.pop()
        self._kind = ""
        return self._now

    def redo(self) -> State:
        if self._future:
            self._past.append(self._now)
            self._now = self._future.pop()
        self._kind = ""
        return self._now
