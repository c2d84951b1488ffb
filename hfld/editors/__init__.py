"""All editors by name. A new one is a class with `fit` and `edit`, and a line in EDITORS."""

from collections.abc import Callable
from pathlib import Path

from hfld.attributes import index_of
from hfld.directions import Directions
from hfld.editors.adatrans import AdaTrans
from hfld.editors.base import Bank, Editor, Score, strength_for
from hfld.editors.flow import SDFlow, StyleFlow
from hfld.editors.ganspace import GanSpace
from hfld.editors.interfacegan import InterFaceGan
from hfld.editors.linear import LinearEditor, NoEdit, RandomEditor
from hfld.editors.lock import ExpressionLock
from hfld.editors.sefa import SeFa
from hfld.editors.trained import TrainedEditor
from hfld.models import Models

__all__ = [
    "EDITORS",
    "FITTED",
    "TRAINED",
    "AdaTrans",
    "Bank",
    "Editor",
    "ExpressionLock",
    "GanSpace",
    "InterFaceGan",
    "LinearEditor",
    "NoEdit",
    "RandomEditor",
    "SDFlow",
    "Score",
    "SeFa",
    "StyleFlow",
    "TrainedEditor",
    "directions_file",
    "editor_file",
    "make_editor",
    "strength_for",
]


def directions_file(weights: Path, method: str) -> Path:
    """Where 02_directions puts the T of `method`."""
    return Path(weights) / f"directions_{method}.safetensors"


def editor_file(weights: Path, name: str) -> Path:
    """Where more/editors puts the editor `name`."""
    return Path(weights) / f"editor_{name}.safetensors"


TRAINED: dict[str, type[TrainedEditor]] = {
    "styleflow": StyleFlow,
    "styleflow_hfld": StyleFlow,
    "adatrans": AdaTrans,
    "adatrans_hfld": AdaTrans,
    "sdflow": SDFlow,
    "sdflow_hfld": SDFlow,
}
"""name -> class of the editors with networks of their own; _hfld: trained with the landmark term."""


FITTED = {"ganspace": GanSpace, "interfacegan": InterFaceGan, "sefa": SeFa, **TRAINED}
"""name -> class of all editors that more/editors fits."""


def _from_file(name: str) -> Callable[[Path, int], Editor]:
    return lambda weights, seed: FITTED[name].load(editor_file(weights, name))


def _from_directions(method: str) -> Callable[[Path, int], Editor]:
    def make(weights: Path, seed: int) -> LinearEditor:
        directions = Directions.load(directions_file(weights, method))
        return LinearEditor(directions.T, directions.attributes)

    return make


def _random_directions(weights: Path, seed: int) -> RandomEditor:
    reference = Directions.load(directions_file(weights, "baseline"))
    return RandomEditor(reference.T, reference.attributes, seed=seed)


EDITORS: dict[str, Callable[[Path, int], Editor]] = {
    "baseline": _from_directions("baseline"),
    "hfld": _from_directions("hfld"),
    "baseline_w": _from_directions("baseline_w"),
    "hfld_w": _from_directions("hfld_w"),
    **{name: _from_file(name) for name in FITTED},
    "random": _random_directions,
    "none": lambda weights, seed: NoEdit(),
}
"""name -> how to make it from the folder of trained weights and a seed."""


def make_editor(name: str, *, weights: Path, seed: int = 0, models: Models | None = None) -> Editor:
    """The editor `name`; ValueError names the nearest, a missing weight file what makes it.

    The editors in TRAINED read the images of the latents they edit, and need `models` for that.
    """
    index_of(name, EDITORS, "editor")
    editor = EDITORS[name](Path(weights), seed)
    return editor.connect(models) if models is not None and isinstance(editor, TrainedEditor) else editor
