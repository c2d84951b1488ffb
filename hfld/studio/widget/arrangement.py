"""Where the parts of the latent editor stand: sliders to the left, pictures to the right, tabs under them."""

from collections.abc import Mapping, Sequence

import ipywidgets as W
from ipywidgets import Layout

from hfld.studio import markup

GAP, MARGIN = 14, 4  # px between the halves (markup.STYLE), and around every widget
SLIDERS, PICTURES = 340, 380  # px that the halves ask for; from about 760 px on they stand side by side
SMALLEST = 100  # px of one of three pictures


def bar(widgets: Sequence[W.Widget]) -> W.HBox:
    """Controls in a row that breaks where it must."""
    layout = Layout(flex_flow="row wrap", align_items="center", overflow="visible")
    return W.HBox(list(widgets), layout=layout)


def tick_when_pressed(toggle: W.ToggleButton) -> None:
    """A tick says that a button is pressed, which browsers show by a shade only."""
    name = toggle.description
    toggle.observe(
        lambda change: setattr(toggle, "description", f"✓ {name}" if change["new"] else name), names="value"
    )


def picture_place() -> W.HTML:
    """Where a picture is shown."""
    return W.HTML(layout=Layout(flex=f"1 1 {SMALLEST}px", max_width="300px", min_width=f"{SMALLEST}px"))


def arrange(
    *,
    source: Sequence[W.Widget],  # which face
    message: W.Widget,
    attributes: W.Widget,
    choice: Sequence[W.Widget],  # which editors and views
    pictures: Sequence[W.Widget],
    words: W.Widget,  # about the pictures
    tabs: Mapping[str, W.Widget],
    gauges: W.Widget,
) -> tuple[list[W.Widget], W.Tab]:
    """The editor's children, and the tabs among them."""
    head = W.HTML(f"{markup.STYLE}<h2>Latent editor</h2>")
    left = W.VBox([attributes], layout=Layout(flex=f"1 1 {SLIDERS}px", min_width="300px", max_width="440px"))
    left.add_class("hfld-panel")
    row = W.HBox(list(pictures), layout=Layout(overflow="visible"))
    row.add_class("hfld-pictures")
    tab = W.Tab(list(tabs.values()), titles=list(tabs))
    right = W.VBox(
        [bar(choice), row, words, W.HTML(markup.LEGEND), tab, gauges],
        layout=Layout(flex=f"3 1 {PICTURES}px", min_width="0"),
    )
    body = W.HBox([left, right], layout=Layout(overflow="visible", align_items="stretch"))
    body.add_class("hfld-body")
    return [head, bar(source), message, body], tab
