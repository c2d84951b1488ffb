"""Directions that were found without labels, named by what they do to held-out latents."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from tqdm import tqdm

from hfld import checkpoints
from hfld.attributes import ATTRIBUTES, attribute_index, index_of
from hfld.editors.base import Bank, Score, read_editor, shift

FARTHEST = 5.0
"""A strength of 1 is at most this many probes, however little the attribute moves."""

GROUPS = {"0-1": (0, 2), "2-5": (2, 6), "6-13": (6, 14)}
"""SeFa's groups of rows: coarse, middle, fine."""


def layer_groups(rows: int) -> dict[str, tuple[int, int]]:
    """GROUPS cut to `rows` rows of W+, and "all": name -> (first row, row behind the last).

    10 rows (64 px): 0-1, 2-5, 6-9, all. From 1024 px on "6-13" leaves the last rows out, as SeFa does.
    """
    cut = {(start, min(stop, rows)) for start, stop in GROUPS.values() if start < rows}
    return {f"{start}-{stop - 1}": (start, stop) for start, stop in sorted(cut)} | {"all": (0, rows)}


@dataclass(frozen=True)
class Validation:
    """Held-out latents and the scores by which edits are compared on them; never those of a table."""

    ws: Tensor  # [M, L, w_dim]
    score: Score  # the training regressor's or the tuning judge's

    def changes(self, step: Tensor) -> Tensor:
        """Scores at ws + step minus scores at ws - step; step [L, w_dim] -> [M, 40]."""
        return self.score(self.ws + step) - self.score(self.ws - step)


def unit_strength(change: float, probe: float) -> float:
    """Native strength that changes a score by 1: extrapolated from its change between -probe and +probe."""
    return probe * min(2 / max(abs(change), 1e-12), FARTHEST)


class Label(NamedTuple):
    """What stands for an attribute: a direction, the rows it acts on, and which way."""

    direction: int
    layers: str  # a key of `layer_groups`
    sign: int  # of the native strength that raises the attribute
    change: float  # mean change of its score from -probe to +probe
    side_effect: float  # mean absolute change of the 39 other scores
    unit: float  # native strength that changes the score by 1, see `unit_strength`


def choose_labels(
    signed: Tensor,  # [G, D, 40] mean change of the scores, for each group of rows and direction
    absolute: Tensor,  # [G, D, 40] mean absolute change
    probes: Tensor,  # [G, D] native strength that was tried
    layers: list[str],  # names of the G groups
    *,
    least: float,  # share of the largest change of an attribute that a candidate must reach
) -> dict[str, Label]:
    """For each attribute the candidate with the most change per side effect.

    Among those that move it at least `least` times as far as the best does: a direction that moves nothing
    has no side effects either.
    """
    labels = {}
    for k, attribute in enumerate(ATTRIBUTES):
        change = signed[..., k].abs()
        side = (absolute.sum(dim=-1) - absolute[..., k]) / (len(ATTRIBUTES) - 1)
        ratio = torch.where(change >= least * change.max(), change / side.clamp_min(1e-12), -1.0)
        group, direction = divmod(int(ratio.argmax()), ratio.shape[1])
        found = float(signed[group, direction, k])
        labels[attribute] = Label(
            direction=direction,
            layers=layers[group],
            sign=1 if found >= 0 else -1,
            change=found,
            side_effect=float(side[group, direction]),
            unit=unit_strength(found, float(probes[group, direction])),
        )
    return labels


class UnsupervisedEditor(ABC):
    """Editor of labelled directions: `find` finds steps, held-out latents give them names.

    The strength of an edit is the change of the attribute's score that is asked for, as for T: 1 is the
    strength of `move` that is extrapolated from the change measured at the probe.
    """

    name: str

    def __init__(
        self,
        *,
        validation: Validation | None = None,  # None: cannot be fitted, only loaded
        directions: int = 20,  # how many are kept and named
        probe: float = 3.0,  # tried strength, in standard deviations of W along the direction
        least: float = 0.5,  # see `choose_labels`
        progress: bool = False,
    ) -> None:
        self.validation, self.progress = validation, progress
        self.directions, self.probe, self.least = directions, probe, least
        self.layers: dict[str, tuple[int, int]] = {}
        self.labels: dict[str, Label] = {}
        self.tensors: dict[str, Tensor] = {}

    @abstractmethod
    def find(self, bank: Bank) -> Mapping[str, Tensor]:
        """steps [G, D, w_dim] of native strength 1 for each group of rows in self.layers, and what else
        there is to keep.
        """

    def fit(self, bank: Bank) -> Self:
        """Find directions and name them; an editor that was loaded stays as it is."""
        if self.validation is None:
            if self.labels:
                return self
            raise ValueError(
                f"{self.name} needs `validation`, latents and scores by which to name directions"
            )
        self.layers = layer_groups(bank.ws.shape[1])
        found = dict(self.find(bank))
        w = bank.codes().to(found["steps"])
        spread = torch.einsum("nd,gkd->ngk", w - w.mean(dim=0), found["steps"]).std(dim=0)
        probes = self.probe * spread / found["steps"].square().sum(dim=-1).clamp_min(1e-24)  # [G, D]
        self.tensors = {**found, "probes": probes}
        self.tensors |= self._effects(found["steps"], probes)
        self.labels = choose_labels(
            self.tensors["signed"], self.tensors["absolute"], probes, list(self.layers), least=self.least
        )
        return self

    def _effects(self, steps: Tensor, probes: Tensor) -> dict[str, Tensor]:
        signed = torch.zeros(*probes.shape, len(ATTRIBUTES))
        absolute = torch.zeros_like(signed)
        bar = tqdm(total=probes.numel(), desc=f"{self.name} directions", disable=not self.progress)
        with bar:
            for g, layers in enumerate(self.layers):
                for d in range(probes.shape[1]):
                    step = self._rows(probes[g, d] * steps[g, d], self.layers[layers])
                    step = step.to(self.validation.ws)
                    change = self.validation.changes(step)
                    signed[g, d], absolute[g, d] = change.mean(dim=0), change.abs().mean(dim=0)
                    bar.update()
        return {"signed": signed, "absolute": absolute}

    def _rows(self, step: Tensor, rows: tuple[int, int]) -> Tensor:
        (start, stop), count = rows, self.layers["all"][1]
        if not 0 <= start < stop <= count:
            raise ValueError(f"rows must be (first, behind the last) within 0 to {count}, not {rows}")
        found = step.new_zeros(count, len(step))
        found[start:stop] = step
        return found

    def step(self, direction: int, layers: str = "all", rows: tuple[int, int] | None = None) -> Tensor:
        """What native strength 1 of direction i adds to ws, [L, w_dim]; see `move`."""
        steps = self.tensors["steps"][index_of(layers, self.layers, "group of layers")]
        if not 0 <= direction < len(steps):
            raise ValueError(f"direction must be 0 to {len(steps) - 1}, not {direction}")
        return self._rows(steps[direction], self.layers[layers] if rows is None else rows)

    def move(
        self,
        ws: Tensor,  # [N, L, w_dim]
        direction: int,
        strength: float | Tensor,  # the method's own; a number or [N]
        layers: str = "all",  # the group of rows that the direction was found for
        rows: tuple[int, int] | None = None,  # first, and behind the last that are edited; None: the group's
    ) -> Tensor:
        """ws moved along direction i.

        GANSpace's published edits (component, start, end, sigma) are move(ws, component, sigma,
        rows=(start, end)): its components are the same in every group.
        """
        return shift(ws, strength, self.step(direction, layers, rows))

    def edit(self, ws: Tensor, attribute: str, strength: float | Tensor) -> Tensor:
        """ws moved along the direction that stands for the attribute."""
        label = self.label(attribute)
        return self.move(ws, label.direction, label.sign * label.unit * strength, label.layers)

    def label(self, attribute: str) -> Label:
        """The direction that stands for an attribute."""
        attribute_index(attribute)
        if attribute not in self.labels:
            raise ValueError(f"{self.name} is not fitted; call fit(bank) or load it")
        return self.labels[attribute]

    def describe(self, direction: int, layers: str = "all") -> list[tuple[str, float]]:
        """What direction i does: (attribute, mean change of its score from -probe to +probe), sorted."""
        self.step(direction, layers)
        changes = self.tensors["signed"][index_of(layers, self.layers, "group of layers"), direction]
        order = changes.abs().argsort(descending=True, stable=True)
        return [(ATTRIBUTES[k], float(changes[k])) for k in order]

    def settings(self) -> dict[str, Any]:
        """How the directions were found, for the file."""
        return {name: getattr(self, name) for name in ("directions", "probe", "least")}

    def save(self, path: Path | str) -> None:
        """Tensors and JSON in one safetensors file."""
        labels = {name: label._asdict() for name, label in self.labels.items()}
        metadata = {"settings": self.settings(), "layers": self.layers, "labels": labels}
        checkpoints.save(path, self.tensors, {"editor": self.name, **metadata})

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The editor in a file, to edit with."""
        editor = cls()
        editor.tensors, metadata = read_editor(path, cls.name)
        editor.layers = {name: tuple(rows) for name, rows in metadata["layers"].items()}
        editor.labels = {name: Label(**label) for name, label in metadata["labels"].items()}
        return editor
