"""What the editor shows, as HTML: pictures with alternative texts, gauges, strips. Strings in, strings out.

Colours come from the theme of JupyterLab or VS Code where there is one: readable in light and dark.
"""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hfld.inversion import Fidelity
from hfld.report.labels import COLOURS, LABELS
from hfld.studio.drawing import FULL_SCALE
from hfld.studio.gauges import Gauge, Gauges

STYLE = f"<style>\n{Path(__file__).with_name('style.css').read_text(encoding='utf-8')}</style>"

LEGEND = (
    '<div class="hfld-hint">HFLD: directions trained with the landmark loss; baseline: the same without it. '
    "R's score steers the sliders; the judge has not seen the training. hold: R's score stays. "
    "floor: what exact edits change, too. Landmarks: "
    '<b style="color:color-mix(in srgb, #e69f00 60%, var(--ink))">orange ×</b> before, '
    '<b style="color:color-mix(in srgb, #56b4e9 60%, var(--ink))">blue ●</b> after. '
    f"Difference: black where nothing changed, brighter the more, brightest from {FULL_SCALE:.0f} "
    "of 255 gray levels on.</div>"
)
"""One line under the pictures."""

SIGNS = {"green": ("●", "within the floor"), "amber": ("▲", "above the floor"), "red": ("■", "far above it")}
"""A shape for each light: colour is never the only difference."""
SAVED = {
    "face": "the face",
    "gif": "GIF",
    "mp4": "MP4",
    "sheet": "the contact sheet",
    "photo": "the photo",
    "photo_face": "the photo",
}
"""Exports as they are called while they are made."""
ALT = {
    "Aligned": "the face of your photo, cut out and upright",
    "Best so far": "the best likeness so far",
    "Found": "the face that was found for your photo",
}
"""Alternative texts of the pictures of a search, by their captions."""
THUMBNAIL = 192
"""Px: twice a thumbnail's width on the page, for dense screens."""
TARGET_SIGNS = {"green": ("●", "reached"), "amber": ("▲", "partly reached"), "red": ("■", "not reached")}


def data_uri(image: np.ndarray) -> str:
    """A picture for the screen: JPEG, a tenth of a PNG's size. Files are saved as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", quality=92, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def words(name: str) -> str:
    """5_o_Clock_Shadow -> 5 o Clock Shadow; hfld -> HFLD."""
    return html.escape(LABELS.get(name, name).replace("_", " "))


def figure(
    image: np.ndarray,
    caption: str,
    note: str,
    alt: str,
    *,
    original: np.ndarray | None = None,  # shown while the picture is pressed
) -> str:
    """A captioned picture; one with an `original` is a button that shows it while it is held down."""
    shown = f'<img src="{data_uri(image)}" alt="{html.escape(alt)}" decoding="sync" draggable="false">'
    body = f'<div class="hfld-picture">{shown}</div><div class="hfld-hint">&nbsp;</div>'
    if original is not None:
        under = f'<img src="{data_uri(original)}" alt="" decoding="sync" draggable="false">'
        label = "press and hold, or hold the space bar, to see the original"
        body = (
            f'<button type="button" class="hfld-picture" title="{label}">{shown}{under}</button>'
            f'<div class="hfld-hint">{label}</div>'
        )
    head = f'<figcaption>{caption} <span class="soft">{html.escape(note)}</span></figcaption>'
    return f"<figure>{head}{body}</figure>"


def trajectory(rows: Mapping[str, Sequence[np.ndarray]], attribute: str) -> str:
    """Pictures of `attribute` at rising targets, one row an editor."""
    if not rows:
        return '<span class="soft">Move a slider: its whole range is shown here.</span>'
    steps = len(next(iter(rows.values())))
    cells = [f"<span>{words(attribute)}</span>"]
    cells += [f"<span>{i / (steps - 1):.2f}</span>" for i in range(steps)]
    for name, images in rows.items():
        cells.append(_name(name))
        for i, image in enumerate(images):
            alt = f"{words(name)}: {words(attribute)} at target {i / (steps - 1):.2f}"
            cells.append(f'<img src="{data_uri(image)}" alt="{alt}" decoding="sync">')
    columns = f"grid-template-columns: 70px repeat({steps}, minmax(0, 96px))"
    return f'<div class="hfld-strip" style="{columns}">{"".join(cells)}</div>'


def columns(*names: str) -> str:
    """Headings above the right ends of the slider rows, where two buttons follow."""
    return f'<div class="hfld-columns">{"".join(f"<span>{name}</span>" for name in names)}<span></span></div>'


def _name(editor: str) -> str:
    """The editor's name in its colour, mixed with the text's so that it is readable on any paper."""
    colour = f"color-mix(in srgb, {COLOURS.get(editor, 'var(--ink)')} 65%, var(--ink))"
    return f'<span style="color:{colour};font-weight:600">{words(editor)}</span>'


def hint(text: str) -> str:
    """A small remark."""
    return f'<div class="hfld-hint">{html.escape(text)}</div>'


def thumbnail(image: np.ndarray, alt: str) -> str:
    """A picture at most THUMBNAIL px high and wide: what is saved at 1024 px is not sent at 1024 px."""
    scale = THUMBNAIL / max(image.shape[:2])
    if scale < 1:
        size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    shown = f'<img src="{data_uri(image)}" alt="{html.escape(alt)}" decoding="sync">'
    return f'<div class="hfld-thumb">{shown}</div>'


def message(text: str, *, error: bool = False) -> str:
    """A line that screen readers speak; empty text shows nothing."""
    if not text:
        return ""
    kind, role = ("hfld-message hfld-error", "alert") if error else ("hfld-message", "status")
    return f'<div class="{kind}" role="{role}">{html.escape(text)}</div>'


def saved(folder: Path, files: Sequence[tuple[str, bytes, str]]) -> str:
    """Where files are, and links to them within the page: (name, content, MIME type)."""
    links = [
        f'<a download="{html.escape(name)}" href="data:{kind};base64,{base64.b64encode(content).decode()}">'
        f"{html.escape(name)}</a>"
        for name, content, kind in files
    ]
    return f'<div>{" · ".join(links)}</div><div class="hfld-hint">also in {html.escape(str(folder))}</div>'


def saving(kind: str, share: float | None, waiting: int) -> str:
    """A file that is being made; without a share the bar only says that something is done."""
    value = "" if share is None else f' value="{share:.3f}"'
    bar = f'<progress max="1"{value} aria-label="progress of the file"></progress>'
    parts = [
        SAVED[kind],
        *([] if share is None else [f"{share:.0%}"]),
        *([f"{waiting} more"] if waiting else []),
    ]
    return f'<div class="hfld-progress">{bar}<span class="soft">{html.escape(", ".join(parts))}</span></div>'


def search(square: np.ndarray, image: np.ndarray | None, *, share: float, text: str) -> str:
    """A search for a photo's face: the aligned picture, the best so far, how far it is."""
    figures = _pictures([("Aligned", square), *([] if image is None else [("Best so far", image)])])
    bar = f'<progress max="1" value="{share:.3f}" aria-label="progress of the search"></progress>'
    line = f'<span class="soft">{share:.0%}, {html.escape(text)}</span>'
    return f'{figures}<div class="hfld-progress">{bar}{line}</div>'


def own(square: np.ndarray, image: np.ndarray, pasted: np.ndarray | None, text: str) -> str:
    """What was found for a photo, and the photo with the edited face in it."""
    figures = _pictures([("Aligned", square), ("Found", image)], wide=pasted)
    return f'{figures}<div class="hfld-words">{html.escape(text)}</div>'


def fidelity(found: Fidelity | None) -> str:
    """How faithful an inversion is, in one line."""
    if found is None:
        return ""
    return (
        f"Landmarks {found.landmark_px:.2f} px of 128 apart, identity {found.identity:.2f} (cosine), "
        f"perceptual distance {found.perceptual:.0%} of that to a random face."
    )


def _pictures(small: Sequence[tuple[str, np.ndarray]], wide: np.ndarray | None = None) -> str:
    cells = []
    for name, image in small:
        alt = ALT[name]
        shown = f'<img src="{data_uri(image)}" alt="{alt}" decoding="sync">'
        cells.append(f"<figure><figcaption>{name}</figcaption>{shown}</figure>")
    cells = ['<span class="arrow" aria-hidden="true">→</span>'.join(cells)]
    if wide is not None:
        shown = f'<img src="{data_uri(wide)}" alt="your photo with the edited face" decoding="sync">'
        caption = "<figcaption>Your photo, edited</figcaption>"
        cells.append(f'<figure class="wide">{caption}{shown}</figure>')
    return f'<div class="hfld-own">{"".join(cells)}</div>'


def gauges(found: Mapping[str, Gauges], *, size: int) -> str:
    """The readings of one or two editors as cards, the editors' columns beside each other."""
    if not found:
        return '<span class="soft">This session has no judges, so there are no gauges.</span>'
    every, first = list(found.values()), next(iter(found.values()))
    heads = [_name(name) for name in found]
    cards = []
    if first.targets:
        rows = [
            [words(g.name), f"{first.asked[g.name]:.2f}", f"{g.before:.2f}"]
            + [f"{one.targets[i].after:.2f} {_light(one.targets[i], TARGET_SIGNS)}" for one in every]
            for i, g in enumerate(first.targets)
        ]
        cards.append(_card("Target reached, the judge's score", ["", "asked", "before", *heads], rows))
    rows = [
        [g.name, _floor(first, g.name)]
        + [f"{one.drift[i].after:.2f} {_light(one.drift[i])}" for one in every]
        for i, g in enumerate(first.drift)
    ]
    cards.append(_card(f"Landmark drift, px of {size}", ["", "floor", *heads], rows))
    rows = [
        [g.name, _bar(g.before)] + [_bar(one.emotions[i].after) for one in every]
        for i, g in enumerate(first.emotions)
    ]
    rows.append(["strongest", _strongest(first, "before")] + [_strongest(one, "after") for one in every])
    cards.append(_card("Emotion, %", ["", "before", *heads], rows))
    change = [f"{one.emotion_change.after:.1f} {_light(one.emotion_change)}" for one in every]
    same = [f"{one.identity.after:.2f} {_light(one.identity)}" for one in every]
    rows = [
        ["emotion change, points", _floor(first, "emotion"), *change],
        ["identity, cosine", _floor(first, "identity"), *same],
    ]
    cards.append(_card("Expression and identity", ["", "floor", *heads], rows))
    if first.targets:
        rows = [
            [f"{words(g.name)} {g.after - g.before:+.2f} {_light(g)}" for g in effects]
            for effects in zip(*(one.side_effects for one in every), strict=True)
        ]
        cards.append(_card("Largest side effects", heads, rows))
    legend = " ".join(f"{sign} {meaning}" for sign, meaning in SIGNS.values())
    note = f"{legend}; the floor: nine of ten exact edits of the same attributes read less."
    return f'<div class="hfld-cards">{"".join(cards)}</div>{hint(note if first.floor else "")}'


def _card(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    named = not heads[0]  # the first column says what its row is
    head = "".join(f'<th scope="col">{cell}</th>' if cell else "<td></td>" for cell in heads)
    lines = "".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{cell}</th>' if named and i == 0 else f"<td>{cell}</td>"
            for i, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    table = f"<table><caption>{title}</caption><tr>{head}</tr>{lines}</table>"
    return f'<div class="hfld-card">{table}</div>'


def _bar(percent: float) -> str:
    """A percentage with a bar behind it."""
    width = f"{min(max(percent, 0.0), 100.0):.0f}%"
    return f'<div class="hfld-track"><i style="width:{width}" aria-hidden="true"></i>{percent:.0f}</div>'


def _strongest(found: Gauges, when: str) -> str:
    return max(found.emotions, key=lambda g: getattr(g, when)).name


def _floor(found: Gauges, name: str) -> str:
    return f'<span class="soft">{found.floor[name]:.2f}</span>' if name in found.floor else ""


def _light(g: Gauge, signs: Mapping[str, tuple[str, str]] = SIGNS) -> str:
    if not g.light:
        return ""
    sign, meaning = signs[g.light]
    return f'<span class="hfld-{g.light}" role="img" aria-label="{meaning}" title="{meaning}">{sign}</span>'
