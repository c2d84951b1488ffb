"""An engine in the toy world: two editors of five attributes, one of which drags the landmarks along."""

import torch
from toy_evaluator import toy_judges
from toy_world import ROWS, W_DIM, toy_models

from hfld.attributes import ATTRIBUTES
from hfld.editors import LinearEditor
from hfld.studio.engine import Engine

NAMES = ATTRIBUTES[:5]


def toy_editor(*, gain: float = 2.0, drag: float = 0.0) -> LinearEditor:
    """Direction k moves coordinate k of w, and `drag` times coordinate 11."""
    T = torch.zeros(len(NAMES), ROWS, W_DIM)
    for k in range(len(NAMES)):
        T[k, :, k], T[k, :, 11] = gain, gain * drag
    return LinearEditor(T, NAMES)


def toy_engine(**changes) -> Engine:
    models = toy_models()
    editors = {"hfld": toy_editor(), "baseline": toy_editor(drag=0.5)}
    return Engine(**{"models": models, "editors": editors, "judges": toy_judges(models)} | changes)
