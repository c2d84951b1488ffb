"""What the editor says about an edit, in plain words."""

import os
from collections.abc import Mapping

from hfld.attributes import GROUPS, attribute_index
from hfld.report.labels import LABELS
from hfld.studio.engine import Engine, Face
from hfld.studio.file_formats import MAX_UPLOAD
from hfld.studio.state import State

OUTSIDE_THE_FACE = (*GROUPS["hair"], "Wearing_Earrings", "Wearing_Hat", "Wearing_Necklace", "Wearing_Necktie")
"""Attributes that reach beyond the oval of a face."""
REACHED = 0.05  # distance of a score from a target that counts as reached

SERVER_LIMIT = 10 << 20
"""Bytes of one message that a notebook server takes unless it is told otherwise: Tornado's own limit."""


def uploads(environment: Mapping[str, str] = os.environ) -> str:
    """How large an uploaded file may be. A server drops the connection at a larger message, and the kernel
    never hears of it: it can only be said before. HFLD_UPLOADS, in bytes, is set by `make lab`.
    """
    told = environment.get("HFLD_UPLOADS", "")
    largest = f"files of at most {min(int(told) if told.isdigit() else SERVER_LIMIT, MAX_UPLOAD) >> 20} MB"
    if told.isdigit():
        return largest
    return f"{largest}, which is where most notebook servers drop the connection; `make lab` raises it"


def title(editor: str) -> str:
    """How an editor is called on the screen."""
    return LABELS.get(editor, editor)


def spoken(attribute: str) -> str:
    return attribute.replace("_", " ")


def note(state: State, original: Face, face: Face) -> str:
    """R's score of the attribute moved last, before and after."""
    if state.active is None:
        return ""
    k = attribute_index(state.active)
    return f"{spoken(state.active)} {original.scores[k]:.2f} → {face.scores[k]:.2f}"


def alt_text(state: State, editor: str, *, difference: bool = False, landmarks: bool = False) -> str:
    """The alternative text of an edited picture, or of the map of its changes."""
    edits = ", ".join(f"{spoken(name)} towards {t:.2f}" for name, t in state.targets.items())
    what = "map of the changed places in " if difference else ""
    points = "; landmarks before and after" if landmarks else ""
    return f"{what}the face of {state.source.label} edited by {title(editor)}: {edits or 'no edit'}{points}"


def unreached(engine: Engine, state: State, faces: Mapping[str, Face]) -> str:
    """One sentence for each target that an editor does not reach on this face, or does not know."""
    sentences = []
    for editor in state.editors:
        for attribute, target in state.targets.items():
            if attribute not in engine.known(editor):
                sentences.append(
                    f"{title(editor)} has no direction for {spoken(attribute)} and leaves it out."
                )
                continue
            score = float(faces[editor].scores[attribute_index(attribute)])
            if abs(score - target) > REACHED:
                sentences.append(
                    f"{title(editor)} brings {spoken(attribute)} to {score:.2f} on this face, "
                    f"not to the {target:.2f} that was asked for."
                )
    return " ".join(sentences)


def outside_the_face(state: State) -> str:
    """One sentence if the state edits what a photo with only its face changed does not show."""
    names = [spoken(name) for name in state.targets if name in OUTSIDE_THE_FACE]
    if not names:
        return ""
    return f"Not all of {', '.join(names)} lies in the face: untick “change only the face” to see all."


def error_text(error: Exception) -> str:
    """The error's own words if they were written for people, else with its kind."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
