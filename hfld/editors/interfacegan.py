"""InterFaceGAN (Shen et al., arXiv:2005.09635): the normal of a linear SVM between high and low scores."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hfld import checkpoints
from hfld.attributes import ATTRIBUTES, attribute_index
from hfld.editors.base import Bank, read_editor, shift
from hfld.editors.unsupervised import Validation, unit_strength


class Boundary(NamedTuple):
    """The normal of a hyperplane of W, and how well it separates."""

    normal: Tensor  # [w_dim] of unit norm, towards high scores
    validation_accuracy: float  # on the held-out 30 % of the extremes


def train_boundary(
    codes: Tensor,  # [N, w_dim]
    scores: Tensor,  # [N] of one attribute
    *,
    chosen: float = 0.02,  # share of N, or above 1 a number, taken at either end of the scores
    split: float = 0.7,  # share of them for training
    seed: int = 0,
) -> Boundary:
    """Fit scikit-learn's SVC(kernel="linear") to the extremes, as the reference does under np.random.seed."""
    from sklearn.svm import SVC

    count = min(int(len(codes) * chosen) if chosen <= 1 else int(chosen), len(codes) // 2)
    train = int(count * split)
    if train < 1 or train == count:
        raise ValueError(
            f"chosen={chosen:g} of {len(codes)} latents: {train} of {count} on either side would train; "
            "take a larger share or more latents"
        )
    order = np.argsort(scores.cpu().numpy(), kind="stable")[::-1]
    w = codes.cpu().numpy()[order]
    random = np.random.RandomState(seed)  # the reference's stream: the same splits
    high, low = w[:count][random.permutation(count)], w[-count:][random.permutation(count)]
    machine = SVC(kernel="linear")
    machine.fit(np.concatenate([high[:train], low[:train]]), np.repeat([1, 0], train))
    held_out = np.concatenate([high[train:], low[train:]])
    return Boundary(
        normal=torch.from_numpy(machine.coef_[0] / np.linalg.norm(machine.coef_)).to(codes.dtype),
        validation_accuracy=machine.score(held_out, np.repeat([1, 0], count - train)),
    )


@dataclass(eq=False)
class InterFaceGan:
    """ws' = ws + strength * unit * normal, on all rows alike.

    The strength is the change of the attribute's score that is asked for, as for T; the reference's is a
    distance in W.
    """

    validation: Validation | None = None  # measures the unit; None: cannot be fitted, only loaded
    chosen: float = 0.02  # see `train_boundary`
    split: float = 0.7
    probe: float = 3.0  # tried strength, in standard deviations of W along the normal
    seed: int = 0
    progress: bool = False
    boundaries: dict[str, Boundary] = field(default_factory=dict, init=False)
    unit: dict[str, float] = field(default_factory=dict, init=False)  # distance that changes the score by 1

    name = "interfacegan"

    def fit(self, bank: Bank) -> Self:
        """Train a boundary per attribute; an editor that was loaded stays as it is."""
        if self.validation is None:
            if self.boundaries:
                return self
            raise ValueError(
                f"{self.name} needs `validation`, latents and scores that give strength its unit"
            )
        w, options = bank.codes(), {"chosen": self.chosen, "split": self.split, "seed": self.seed}
        for k, attribute in enumerate(tqdm(ATTRIBUTES, desc="boundaries", disable=not self.progress)):
            found = train_boundary(w, bank.scores[:, k], **options)
            self.boundaries[attribute] = found
            self.unit[attribute] = self._unit(k, found.normal, float((w @ found.normal.to(w)).std()))
        return self

    def _unit(self, k: int, normal: Tensor, spread: float) -> float:
        ws, probe = self.validation.ws, self.probe * spread
        step = (probe * normal).to(ws).expand(ws.shape[1:])
        change = self.validation.changes(step)[:, k].mean()
        return unit_strength(float(change), probe)

    def boundary(self, attribute: str) -> Boundary:
        """The boundary of an attribute, with its accuracies."""
        attribute_index(attribute)
        if attribute not in self.boundaries:
            raise ValueError(f"{self.name} has no boundary of {attribute}; call fit(bank) or load it")
        return self.boundaries[attribute]

    def edit(self, ws: Tensor, attribute: str, strength: float | Tensor) -> Tensor:
        normal = self.boundary(attribute).normal
        return shift(ws, strength, self.unit[attribute] * normal.expand(ws.shape[-2], -1))

    def save(self, path: Path | str) -> None:
        """Tensors and JSON in one safetensors file."""
        names = list(self.boundaries)
        normals = torch.stack([self.boundaries[name].normal for name in names])
        numbers = {
            name: {"unit": self.unit[name], "validation_accuracy": self.boundaries[name].validation_accuracy}
            for name in names
        }
        settings = {name: getattr(self, name) for name in ("chosen", "split", "probe", "seed")}
        metadata = {"settings": settings, "attributes": names, "boundaries": numbers}
        checkpoints.save(path, {"normals": normals}, {"editor": self.name, **metadata})

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """The editor in a file, to edit with."""
        tensors, metadata = read_editor(path, cls.name)
        editor = cls()
        for name, normal in zip(metadata["attributes"], tensors["normals"], strict=True):
            numbers = metadata["boundaries"][name]
            editor.unit[name] = numbers["unit"]
            editor.boundaries[name] = Boundary(normal, numbers["validation_accuracy"])
        return editor
