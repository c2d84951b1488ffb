"""All editors by name. A new one is a class with `fit` and `edit`, and a line in EDITORS."""

from collections.abc import Callable
from pathlib import Path

from hfld.attributes import index_of
from hfld.directions import Directions
from hfld.editors.base import Bank, Editor, Reached, Score, reach
from hfld.editors.ganspace import GanSpace
from hfld.editors.interfacegan import InterFaceGan
from hfld.editors.linear import LinearEditor, NoEdit, RandomEditor
from hfld.editors.lock import ExpressionLock
from hfld.editors.sefa import SeFa

__all__ = [
    "EDITORS",
    "Bank",
    "Editor",
    "ExpressionLock",
    "GanSpace",
    "InterFaceGan",
    "LinearEditor",
    "NoEdit",
    "RandomEditor",
    "Reached",
    "Score",
    "SeFa",
    "directions_file",
    "editor_file",
    "make_editor",
    "reach",
]


def directions_file(weights: Path, method: str) -> Path:
    """Where 02_directions puts the T of `method`."""
    return Path(weights) / f"directions_{method}.safetensors"


def editor_file(weights: Path, name: str) -> Path:
    """Where 03_editors puts a fitted editor."""
    return Path(weights) / f"editor_{name}.safetensors"


def _trained(method: str) -> Callable[[Path, int], Editor]:
    def make(weights: Path, seed: int) -> LinearEditor:
        directions = Directions.load(directions_file(weights, method))
        return LinearEditor(directions.T, directions.attributes)

    return make


def _random(weights: Path, seed: int) -> RandomEditor:
    reference = Directions.load(directions_file(weights, "baseline"))
    return RandomEditor(reference.T, reference.attributes, seed=seed)


EDITORS: dict[str, Callable[[Path, int], Editor]] = {
    "baseline": _trained("baseline"),
    "hfld": _trained("hfld"),
    "baseline_w": _trained("baseline_w"),
    "hfld_w": _trained("hfld_w"),
    "ganspace": lambda weights, seed: GanSpace.load(editor_file(weights, "ganspace")),
    "interfacegan": lambda weights, seed: InterFaceGan.load(editor_file(weights, "interfacegan")),
    "sefa": lambda weights, seed: SeFa.load(editor_file(weights, "sefa")),
    "random": _random,
    "none": lambda weights, seed: NoEdit(),
}
"""name -> how to make it from the folder of trained weights and a seed."""


def make_editor(name: str, *, weights: Path, seed: int = 0) -> Editor:
    """The editor `name`; ValueError names the nearest, a missing weight file what makes it."""
    index_of(name, EDITORS, "editor")
    return EDITORS[name](Path(weights), seed)
