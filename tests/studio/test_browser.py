"""The editor in a real browser, as a person uses it: JupyterLab, Notebook 7 and Voila on the smoke profile.

Skipped where there is no Chromium (Debian: apt-get install chromium), unless HFLD_BROWSER=1 asks for it.
"""

import json
import os
from contextlib import suppress
from pathlib import Path

import browser
import pytest
import torch
from PIL import Image
from skimage import data

from hfld.directions import Directions
from hfld.editors import directions_file
from hfld.studio.engine import ALWAYS_OFFERED

missing = browser.CHROMIUM is None and os.environ.get("HFLD_BROWSER") != "1"
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(missing, reason="no Chromium in PATH: apt-get install chromium"),
]
NAMES = ("Male", "Bald", "Young")
NOTEBOOK = "notebooks/10_edit_smoke.ipynb"


@pytest.fixture(scope="module")
def project(smoke_root) -> Path:
    """The toy copy with random directions, and the notebook with `profile = "smoke"`."""
    for seed, name in enumerate(ALWAYS_OFFERED):
        T = torch.randn(len(NAMES), 10, 32, generator=torch.Generator().manual_seed(seed))
        Directions(T, NAMES, name).save(directions_file(smoke_root / "weights" / "smoke", name))
    notebook = json.loads((smoke_root / "notebooks" / "05_edit.ipynb").read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            cell["source"] = ['profile = "smoke"']
    (smoke_root / NOTEBOOK).write_text(json.dumps(notebook), encoding="utf-8")
    return smoke_root


def test_jupyter_lab(project, tmp_path):
    failure = project / "runs" / "lab_failed.png"
    with browser.jupyter_lab(project, tmp_path) as address, browser.page(failure) as view:
        browser.run_all(view, address, NOTEBOOK)
        use(view, project, "lab")


def test_notebook_7(project):
    failure = project / "runs" / "notebook_failed.png"
    with browser.jupyter_notebook(project) as address, browser.page(failure) as view:
        browser.run_all_in_notebook_7(view, address, NOTEBOOK)
        use(view, project, "notebook")


def test_voila(project):
    failure = project / "runs" / "voila_failed.png"
    with browser.voila(project, NOTEBOOK) as address, browser.page(failure) as view:
        view.goto(address)
        use(view, project, "voila")


def use(view, project: Path, name: str) -> None:
    """Drag, undo, redo, save, reset, open the recipe; pictures are compared after every step."""
    original, edited = (view.locator(f"figure:has(figcaption:has-text('{n}'))") for n in ("Original", "HFLD"))
    edited.wait_for()
    view.locator(".hfld").scroll_into_view_if_needed()
    start, shown = source(edited), edited.screenshot()
    assert "unedited" in original.locator("img").get_attribute("alt")
    for words in (".hfld h2", ".hfld figcaption", ".hfld-row .widget-label", ".hfld .soft"):
        assert contrast(view, words) > 4.5, words

    drag(view, "Young")
    target = view.locator(".hfld-row:has-text('Young') .widget-readout").inner_text()
    edited.locator(f"img[alt*='Young towards {target}']").wait_for()
    view.wait_for_selector(".hfld-strip img")
    view.wait_for_selector(".hfld-card:has-text('Target reached')")
    moved = source(edited)
    assert moved != start
    assert edited.screenshot() != shown
    assert view.locator(".hfld-row.hfld-edited").count() == 1

    exhaust(view, "Undo")
    until(view, edited, start)
    assert view.locator(".hfld-row.hfld-edited").count() == 0
    exhaust(view, "Redo")
    until(view, edited, moved)

    view.locator(".hfld .lm-TabBar-tab:has-text('Save')").click()
    press(view, "Save face")
    view.wait_for_selector(".hfld-message:has-text('saved')")
    saved = max((project / "runs" / "smoke" / "faces").glob("*.json"), key=lambda path: path.stat().st_mtime)
    press(view, "Reset all")
    until(view, edited, start)

    with view.expect_file_chooser() as chooser:
        press(view, "Open")
    chooser.value.set_files(saved)
    until(view, edited, moved)
    view.wait_for_selector(".hfld-message:has-text('pixel for pixel')")
    face = source(original)

    with view.expect_file_chooser() as chooser:
        press(view, "Open")
    chooser.value.set_files(photo(project))
    view.wait_for_selector(".hfld-own figure.wide img")
    view.wait_for_selector(".hfld-words:has-text('this world draws portraits')")
    original.locator("figcaption:has-text('photo astronaut')").wait_for()
    assert source(original) != face
    press(view, "Save photo")
    view.wait_for_selector(".hfld-message:has-text('_pasted')")  # a second one is ..._pasted-2.png
    view.screenshot(path=project / "runs" / f"{name}_photo.png")

    with view.expect_file_chooser() as chooser:
        press(view, "Open")
    chooser.value.set_files(project / "params.yaml")
    view.wait_for_selector(".hfld-error[role=alert]:has-text('no picture')")
    view.screenshot(path=project / "runs" / f"{name}.png")


def photo(project: Path) -> Path:
    """A real photo in the public domain (NASA), from the wheel of scikit-image."""
    path = project / "astronaut.png"
    Image.fromarray(data.astronaut()).save(path)
    return path


def source(figure) -> str:
    return figure.locator("img").first.get_attribute("src")


def contrast(view, selector: str) -> float:
    """WCAG's ratio of the first such text and what is behind it: JupyterLab is dark here, Voila light."""
    return view.locator(selector).first.evaluate("""element => {
        const parse = text => text.match(/[\\d.]+/g).map(Number);
        const light = rgb => rgb.slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        let paper = [255, 255, 255];
        for (let at = element; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length == 3 || colour[3] > 0) { paper = colour; break; }
        }
        const [r, g, b, alpha = 1] = parse(getComputedStyle(element).color);
        const shown = [r, g, b].map((v, i) => alpha * v + (1 - alpha) * paper[i]);
        const ink = light(shown), under = light(paper);
        return (Math.max(ink, under) + 0.05) / (Math.min(ink, under) + 0.05);
    }""")


def press(view, text: str) -> None:
    view.locator(f".hfld button:has-text('{text}')").first.click()


def exhaust(view, text: str) -> None:
    """Press until nothing is left: on a slow machine a drag may have paused, and be two steps."""
    from playwright.sync_api import TimeoutError as Disabled

    button = view.locator(f".hfld button:has-text('{text}')")
    for _ in range(browser.START):
        if button.is_disabled():
            return
        with suppress(Disabled):  # just now
            button.click(timeout=1000)
        view.wait_for_timeout(1000)
    raise AssertionError(f"{text} never ends")


def until(view, figure, wanted: str) -> None:
    """Wait for the picture."""
    for _ in range(10 * browser.START):
        if source(figure) == wanted:
            return
        view.wait_for_timeout(100)
    raise AssertionError("the picture did not come back")


def drag(view, attribute: str) -> None:
    """Take the slider's handle with the mouse and pull it to the other half of its track."""
    row = view.locator(f".hfld-row:has-text('{attribute}')")
    row.scroll_into_view_if_needed()
    handle, track = (row.locator(f".noUi-{part}").bounding_box() for part in ("handle", "target"))
    y = handle["y"] + handle["height"] / 2
    x = handle["x"] + handle["width"] / 2
    right = x < track["x"] + track["width"] / 2
    view.mouse.move(x, y)
    view.mouse.down()
    view.mouse.move(track["x"] + track["width"] * (0.95 if right else 0.05), y, steps=8)
    view.mouse.up()
