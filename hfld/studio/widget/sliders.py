"""The list of attribute sliders, grouped and searchable."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as W
import numpy as np
from ipywidgets import Layout

from hfld.attributes import ATTRIBUTES, GROUPS, attribute_index
from hfld.studio import markup
from hfld.studio.engine import Engine
from hfld.studio.state import State

SYNONYMS = {
    "5_o_Clock_Shadow": "stubble, unshaven",
    "Attractive": "beautiful, pretty, handsome",
    "Bags_Under_Eyes": "tired",
    "Bald": "baldness, hairless, no hair",
    "Bangs": "fringe",
    "Big_Lips": "full lips",
    "Black_Hair": "dark hair",
    "Blond_Hair": "blonde, fair hair",
    "Blurry": "sharp, unsharp",
    "Brown_Hair": "brunette",
    "Bushy_Eyebrows": "thick brows",
    "Chubby": "fat, thick, thin, slim, weight",
    "Eyeglasses": "spectacles",
    "Goatee": "chin beard",
    "Gray_Hair": "grey, white hair, old",
    "Heavy_Makeup": "make-up, cosmetics",
    "Male": "female, woman, man, sex",
    "Mouth_Slightly_Open": "open mouth, teeth",
    "Mustache": "moustache",
    "Narrow_Eyes": "squint",
    "No_Beard": "shaven, clean",
    "Pale_Skin": "white, light skin",
    "Receding_Hairline": "balding, high forehead",
    "Rosy_Cheeks": "blush, red cheeks",
    "Sideburns": "whiskers",
    "Smiling": "smile, happy, laugh, grin",
    "Straight_Hair": "smooth hair",
    "Wavy_Hair": "curly, curls",
    "Wearing_Hat": "cap",
    "Young": "old, older, younger",
}
"""Other words that people search for; a search matches the beginnings of these words."""
_GROUP = {name: group for group, names in GROUPS.items() for name in names}


def called(name: str, text: str) -> bool:
    """Whether somebody who searches for `text` may mean the attribute."""
    wanted = text.strip().lower().replace("_", " ")
    itself = name.replace("_", " ").lower()
    return (
        wanted in itself
        or wanted in _GROUP[name]
        or re.search(rf"(?<!\w){re.escape(wanted)}", SYNONYMS.get(name, "")) is not None
    )


class AttributeRow:
    """Slider in target units, the edited face's score, hold and reset."""

    def __init__(self, name: str, styles: Mapping[str, Any]) -> None:
        self.name, label = name, name.replace("_", " ")
        self.slider = W.FloatSlider(
            min=0, max=1, step=0.01, description=label, readout_format=".2f", **styles["slider"]
        )
        self.score = W.Label("", **styles["score"])
        self.score.add_class("hfld-score")
        self.hold = W.ToggleButton(description="hold", tooltip=f"keep the score of {label}", **styles["hold"])
        self.reset = W.Button(description="↺", tooltip=f"take back the edit of {label}", **styles["reset"])
        for button in (self.hold, self.reset):
            button.add_class("hfld-small")
        self.box = W.HBox([self.slider, self.score, self.hold, self.reset])
        self.box.add_class("hfld-row")

    def show(self, *, target: float | None, start: float | None, held: bool, known: bool) -> None:
        value = start if target is None else target
        if value is not None:
            # Rounded, because a browser would round to the step, and report that as if a person had moved it.
            self.slider.value = round(min(max(value, 0.0), 1.0), 2)
        self.slider.disabled = self.hold.disabled = not known
        self.reset.disabled = target is None
        self.hold.value, self.hold.description = held, "held" if held else "hold"
        (self.box.add_class if target is not None else self.box.remove_class)("hfld-edited")


class AttributeList(W.VBox):
    """Rows of all attributes that some editor knows, grouped and searchable."""

    def __init__(self, engine: Engine) -> None:
        some = {name for editor in engine.editors for name in engine.known(editor)}
        styles = {
            "slider": {"layout": Layout(flex="1 1 auto", width="auto", min_width="0"),
                       "style": {"description_width": "126px"}},
            "score": {"layout": Layout(width="32px", flex="0 0 auto")},
            "hold": {"layout": Layout(width="42px", flex="0 0 auto")},
            "reset": {"layout": Layout(width="28px", flex="0 0 auto")},
        }  # fmt: skip
        self.rows = {name: AttributeRow(name, styles) for name in ATTRIBUTES if name in some}
        self.search = W.Text(
            placeholder="search attributes", tooltip="search attributes by name, group or another word",
            continuous_update=True, layout=Layout(width="auto"),
        )  # fmt: skip
        self.search.observe(lambda change: self.filter(change["new"]), names="value")
        self._groups = []
        for group, names in GROUPS.items():
            rows = [self.rows[name] for name in names if name in self.rows]
            if rows:
                self._groups.append((W.HTML(f"<h3>{group}</h3>"), rows))
        missing = [name.replace("_", " ") for name in ATTRIBUTES if name not in some]
        note = f"{len(missing)} more have no direction yet: {', '.join(missing)}." if missing else ""
        self.note = W.HTML(markup.hint(note))
        lines = [widget for head, rows in self._groups for widget in (head, *(row.box for row in rows))]
        scroll = Layout(max_height="560px", overflow="hidden auto", display="block")
        heads = W.HTML(markup.columns("target", "score"))
        self.nothing = W.HTML()
        super().__init__([self.search, self.nothing, heads, W.VBox([*lines, self.note], layout=scroll)])

    def filter(self, text: str) -> None:
        """Show the rows that `text` may mean, by name, group or another word; say if there are none."""
        found = {name for name in ATTRIBUTES if called(name, text)}
        for head, rows in self._groups:
            for row in rows:
                row.box.layout.display = None if row.name in found else "none"
            head.layout.display = None if any(row.name in found for row in rows) else "none"
        words = ""
        if not found:
            words = f"Nothing here is called “{text.strip()}”."
        elif not found & self.rows.keys():
            names = ", ".join(name.replace("_", " ") for name in ATTRIBUTES if name in found)
            words = f"Nothing to move: no editor here has a direction for {names}."
        self.nothing.value = markup.hint(words) if words else ""

    def show(self, state: State, known: Sequence[str], start: np.ndarray | None) -> None:
        """Put every row where the state says; `start` [40] are the scores of the unedited face."""
        for name, row in self.rows.items():
            first = None if start is None else float(start[attribute_index(name)])
            target = state.targets.get(name)
            row.show(target=target, start=first, held=name in state.held, known=name in known)

    def show_scores(self, scores: np.ndarray) -> None:
        for name, row in self.rows.items():
            row.score.value = f"{scores[attribute_index(name)]:.2f}"
