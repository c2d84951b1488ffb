"""InterFaceGAN (Shen et al., arXiv:2005.09635): the normal of a linear SVM between high and low scores."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from hfld import checkpoints
from hfld.attributes import ATTRIBUTES, attribute_index
from hfld.editors.base import Bank, shift
from hfld.editors.unsupervised import Validation, unit_strength


class Boundary(NamedTuple):
    """A hyperplane of W and how well it separates; distance of w: w . normal + intercept."""

    normal: Tensor  # [w_dim] of unit norm, towards high scores
    intercept: float  # 0 where it is discarded, as the reference does
    validation_accuracy: float  # on the held-out 30 % of the extremes
    remaining_accuracy: float | None  # on the latents between the extremes, cut at the middle of the range


def train_boundary(
    codes: Tensor,  # [N, w_dim]
    scores: Tensor,  # [N] of one attribute
    *,
    chosen: float = 0.02,  # share of N, or above 1 a number, taken at either end of the scores
    split: float = 0.7,  # share of them for training
    keep_intercept: bool = False,
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
    w, s = codes.cpu().numpy()[order], scores.cpu().numpy()[order]
    random = np.random.RandomState(seed)  # the reference's stream: the same splits
    high, low = w[:count][random.permutation(count)], w[-count:][random.permutation(count)]
    machine = SVC(kernel="linear")
    machine.fit(np.concatenate([high[:train], low[:train]]), np.repeat([1, 0], train))

    def accuracy(points: np.ndarray, labels: np.ndarray) -> float | None:
        return float((machine.predict(points) == labels).mean()) if len(points) else None

    length = np.linalg.norm(machine.coef_)
    return Boundary(
        normal=torch.from_numpy(machine.coef_[0] / length).to(codes.dtype),
        intercept=float(machine.intercept_[0] / length) if keep_intercept else 0.0,
        validation_accuracy=accuracy(
            np.concatenate([high[train:], low[train:]]), np.repeat([1, 0], count - train)
        ),
        remaining_accuracy=accuracy(w[count:-count], s[count:-count] >= (s[0] + s[-1]) / 2),
    )


def project(normal: Tensor, conditions: Sequence[Tensor]) -> Tensor:
    """The unit vector nearest to `normal` [w_dim] that is orthogonal to each condition [w_dim].

    A least-squares projection: Gram-Schmidt for one condition, the reference's closed form for two, and the
    same for more.
    """
    if not conditions:
        return normal
    basis = torch.stack([condition.double() for condition in conditions])  # [C, w_dim]
    primal = normal.double()
    rest = primal - torch.linalg.pinv(basis) @ (basis @ primal)
    if rest.norm() <= 1e-6 * primal.norm():
        raise ValueError("normal lies in the span of its conditions: nothing of it is left")
    return (rest / rest.norm()).to(normal.dtype)


def save_boundary(path: Path | str, normal: Tensor) -> None:
    """Write a normal [w_dim] as the reference's .npy: float32 [1, w_dim]."""
    np.save(path, normal.detach().cpu().float().numpy()[None])


def load_boundary(path: Path | str) -> Tensor:
    """A boundary .npy of the reference -> [w_dim] of unit norm; no pickle is read."""
    values = np.load(path, allow_pickle=False)
    if values.ndim != 2 or len(values) != 1 or not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"{path} must hold floats [1, w_dim], not {values.dtype} {values.shape}")
    normal = torch.from_numpy(values[0])
    return normal / normal.norm()


@dataclass(eq=False)
class InterFaceGan:
    """ws' = ws + strength * unit * normal, on all rows alike.

    Strength, units="score": the change of the attribute's score that is asked for, as for T. units="native":
    signed distance in W, the reference's relative edit of W+; the unit is 1.
    """

    validation: Validation | None = None  # measures the unit of "score"; None: cannot be fitted, only loaded
    chosen: float = 0.02
    split: float = 0.7
    keep_intercept: bool = False
    probe: float = 3.0  # tried strength, in standard deviations of W along the normal
    units: Literal["score", "native"] = "score"
    seed: int = 0
    progress: bool = False
    boundaries: dict[str, Boundary] = field(default_factory=dict, init=False)
    unit: dict[str, float] = field(default_factory=dict, init=False)  # distance that changes the score by 1

    name = "interfacegan"

    def fit(self, bank: Bank) -> Self:
        """Train a boundary per attribute; an editor that was loaded without `validation` stays as it is."""
        if self.validation is None and self.units == "score":
            if self.boundaries:
                return self
            raise ValueError(
                f"{self.name} needs `validation`, latents and scores that give strength its unit"
            )
        w = bank.codes()
        for k, attribute in enumerate(tqdm(ATTRIBUTES, desc="boundaries", disable=not self.progress)):
            found = train_boundary(
                w,
                bank.scores[:, k],
                chosen=self.chosen,
                split=self.split,
                keep_intercept=self.keep_intercept,
                seed=self.seed,
            )
            self.boundaries[attribute] = found
            self.unit[attribute] = self._unit(attribute, float((w @ found.normal.to(w)).std()))
        return self

    def _unit(self, attribute: str, spread: float) -> float:
        if self.units == "native":
            return 1.0
        ws, probe = self.validation.ws, self.probe * spread
        step = (probe * self.boundaries[attribute].normal).to(ws).expand(ws.shape[1:])
        change = self.validation.changes(step)[:, attribute_index(attribute)].mean()
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

    def to_distance(self, w: Tensor, attribute: str, distance: float | Tensor) -> Tensor:
        """w [N, w_dim] moved to a signed distance (a number or [N]) from the boundary: the reference's edit
        of W, which goes through the origin unless the intercept is kept.
        """
        found = self.boundary(attribute)
        normal = found.normal.to(w)
        return w + (torch.as_tensor(distance).to(w) - (w @ normal + found.intercept))[:, None] * normal

    def conditional(self, attribute: str, conditions: Sequence[str]) -> Self:
        """A copy whose edit of `attribute` is orthogonal to the normals of `conditions`; its unit stays."""
        found = self.boundary(attribute)
        normal = project(found.normal, [self.boundary(name).normal for name in conditions])
        other = copy.copy(self)
        other.boundaries = {**self.boundaries, attribute: found._replace(normal=normal)}
        return other

    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor that are saved."""
        names = ("chosen", "split", "keep_intercept", "probe", "units", "seed")
        return {name: getattr(self, name) for name in names}

    def save(self, path: Path | str) -> None:
        """Tensors and JSON in one safetensors file."""
        names = list(self.boundaries)
        normals = torch.stack([self.boundaries[name].normal for name in names])
        numbers = {
            name: {**found._asdict(), "unit": self.unit[name]} for name, found in self.boundaries.items()
        }
        for row in numbers.values():
            del row["normal"]
        metadata = {"settings": self.settings(), "attributes": names, "boundaries": numbers}
        checkpoints.save(path, {"normals": normals}, {"editor": self.name, **metadata})

    @classmethod
    def load(cls, path: Path | str, *, validation: Validation | None = None) -> Self:
        """The editor in a file."""
        tensors, metadata = checkpoints.load(path)
        if metadata.get("editor") != cls.name:
            raise ValueError(f"{path} holds {metadata.get('editor', 'no editor')}, not {cls.name}")
        editor = cls(validation=validation, **metadata["settings"])
        for name, normal in zip(metadata["attributes"], tensors["normals"], strict=True):
            numbers = dict(metadata["boundaries"][name])
            editor.unit[name] = numbers.pop("unit")
            editor.boundaries[name] = Boundary(normal=normal, **numbers)
        return editor
