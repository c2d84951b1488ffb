"""The editor without a mouse, without colours and without eyes: names, alternative texts, contrast, focus."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import ipywidgets as W
import numpy as np
import pytest
from toy_evaluator import ToyTruth
from toy_studio import toy_engine
from toy_world import toy_models

from hfld.config import load_profile
from hfld.studio import markup
from hfld.studio.drawing import landmark_overlay
from hfld.studio.widget.editor import LatentEditor

SLACK = 20.0  # seconds that a busy machine may take
PAPERS = {"light": ((33, 33, 33), (238, 238, 238)), "dark": ((222, 222, 222), (33, 33, 33))}
"""Text and panel of JupyterLab's themes, RGB."""
BUTTONS = (W.Button, W.ToggleButton, W.FileUpload)
INPUTS = (W.Text, W.Dropdown, W.BoundedIntText, W.FloatSlider, W.IntRangeSlider, W.Checkbox)


@pytest.fixture(scope="module")
def editor(tmp_path_factory):
    models = toy_models()
    inversion = replace(load_profile("smoke").inversion, samples=8, steps=2)
    engine = toy_engine(models=models, world=ToyTruth(models), inversion=inversion)
    made = LatentEditor(engine, seed=8, folder=tmp_path_factory.mktemp("faces"))
    made.session.set_target("Arched_Eyebrows", 0.9)
    assert made.queue.wait(SLACK)  # with its trajectory
    made.tabs.selected_index = 1  # the gallery
    made.snapshot.click()
    assert made.queue.wait(SLACK)
    yield made
    made.close()


def widgets(widget: W.Widget) -> list[W.Widget]:
    return [widget, *(inner for child in getattr(widget, "children", ()) for inner in widgets(child))]


class Tags(HTMLParser):
    """(name, attributes) of all tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def named(text: str) -> bool:
    return re.search(r"[a-z]{3}", text or "", re.IGNORECASE) is not None


def test_every_control_has_a_name_in_words(editor):
    controls = [w for w in widgets(editor) if isinstance(w, (*BUTTONS, *INPUTS))]
    assert {type(control) for control in controls} == {*BUTTONS, *INPUTS}
    for control in controls:
        # A front end shows an input's tooltip only where there is no description.
        assert named(control.description) or named(control.tooltip), control
    signs = {w.tooltip for w in controls if isinstance(w, BUTTONS) and not named(w.description)}
    assert len(signs) == len(editor.attributes.rows)  # the arrows of the rows, each by its attribute


def test_every_picture_says_what_it_shows(editor):
    text = "".join(w.value for w in widgets(editor) if isinstance(w, W.HTML))
    square = np.zeros((8, 8, 3), np.uint8)
    text += markup.search(square, square, share=0.5, text="") + markup.own(square, square, square, "")
    tags = Tags(text).found
    pictures = [attributes for tag, attributes in tags if tag == "img"]
    assert len(pictures) >= 3 + 14 + 8 + 1 + 5
    silent = [one for one in pictures if not named(one.get("alt"))]
    assert [one["alt"] for one in silent] == ["", ""]  # the originals under the two pictures that are pressed
    for _, attributes in tags:
        if attributes.get("role") == "img":
            assert named(attributes["aria-label"])
    assert all(named(attributes["aria-label"]) for tag, attributes in tags if tag == "progress")


def test_what_a_toggle_shows_is_said_and_ticked(editor):
    assert editor.show_difference.description == "Difference"
    for toggle in (editor.show_difference, editor.show_landmarks):
        toggle.set_state({"value": True})
    assert editor.queue.wait(SLACK)
    alt = "map of the changed places in the face of seed 8 edited by HFLD: Arched Eyebrows towards 0.90"
    assert f'alt="{alt}; landmarks before and after"' in editor.edited.value
    assert 'alt="the unedited face, seed 8; its landmarks"' in editor.original.value
    assert editor.show_difference.description == "✓ Difference"
    for toggle in (editor.show_difference, editor.show_landmarks):
        toggle.set_state({"value": False})
    assert editor.queue.wait(SLACK)
    assert "map of" not in editor.edited.value and "landmarks" not in editor.original.value
    assert editor.show_difference.description == "Difference"


def test_a_held_row_says_so(editor):
    hold = editor.attributes.rows["Attractive"].hold
    for held, word in ((True, "held"), (False, "hold")):
        hold.set_state({"value": held})
        assert hold.description == word


def test_rows_and_columns_of_the_gauges_have_heads(editor):
    tags = Tags(editor.gauges.value).found
    scopes = [attributes["scope"] for tag, attributes in tags if tag == "th"]
    assert scopes.count("row") > 10 and scopes.count("col") > 10
    drift = next(card for card in editor.gauges.value.split("<table>") if "Landmark drift" in card)
    assert '<th scope="row">' in drift and '<th scope="col"></th>' not in editor.gauges.value


def test_old_and_new_landmarks_differ_in_shape():
    gray = np.full((16, 16, 3), 128, np.uint8)
    one, away = np.full((106, 2), 160.5 / 320), np.full((106, 2), 2.0)
    old, new = (
        (np.abs(landmark_overlay(gray, *points, side=320).astype(int) - 128) > 30).any(axis=2)
        for points in ((one,), (away, one))
    )
    new &= np.hypot(*(np.mgrid[:320, :320] - 160)) < 6  # without the lines from outside
    cross, dot = old[154:167, 154:167], new[154:167, 154:167]
    assert cross[4, 4] and cross[8, 8] and not cross[4, 6]  # diagonal arms, nothing above the middle
    assert dot[4, 6] and not dot[4, 4]
    for word in ("orange ×", "blue ●", "black where nothing changed", "96 of 255"):
        assert word in markup.LEGEND


def brightness(colour) -> float:
    """Relative luminance by WCAG 2.2 of an RGB colour of 255."""
    part = np.asarray(colour, float) / 255
    return float(
        np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
    )


@pytest.mark.parametrize("theme", PAPERS)
def test_mixed_colours_are_readable_on_any_paper(theme):
    ink, paper = map(np.array, PAPERS[theme])
    mixes = re.findall(r"color-mix\(in srgb, #(\w{6}) (\d+)%, var\(--ink\)\)", markup.STYLE + markup.LEGEND)
    assert len(mixes) == 5
    for colour, share in mixes:
        mixed = ink + (np.array(list(bytes.fromhex(colour))) - ink) * int(share) / 100
        dark, bright = sorted((brightness(mixed), brightness(paper)))
        assert (bright + 0.05) / (dark + 0.05) >= 3, colour  # what WCAG asks of signs and of bold words


def test_colours_are_the_themes():
    rules = re.sub(r"  --\w+: var\(--jp-[\w-]+, var\(--vscode-\w+(-\w+)*, #\w+\)\);", "", markup.STYLE)
    rules = re.sub(r"color-mix\(in srgb, #\w{6} \d+%, var\(--ink\)\)", "", rules)
    assert re.findall(r"#[0-9a-fA-F]{3,6}\b|rgba?\(", rules) == []


def test_the_focus_is_drawn_on_every_control():
    rule = re.search(
        r"\.hfld :is\(([^)]*)\):focus-visible \{\s*outline: 2px solid var\(--ink\)", markup.STYLE
    )
    assert {"button", "input", "select", "a", "[tabindex]"} == set(rule[1].split(", "))
    assert "outline: none" not in markup.STYLE and "outline: 0" not in markup.STYLE
