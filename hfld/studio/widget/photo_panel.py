"""The part of the editor where one's own photo becomes a face, and the edited face goes back into it."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as W
import numpy as np
from ipywidgets import Layout

from hfld.studio import markup, phrases
from hfld.studio.engine import Engine
from hfld.studio.latest_queue import Rest
from hfld.studio.own_face import Found, OwnFace, OwnFaces, summary

EVERY = 0.25  # seconds between two pictures of a search
PATIENCE = 1.0  # seconds that each step of a search waits for the sliders' pictures
HINT = (
    "Choose a picture: its face is turned upright and aligned, and the latent that draws it is searched. "
    "The picture stays on the machine that this notebook runs on. The sliders work meanwhile. It takes "
    f"{phrases.uploads()}."
)


class PhotoPanel(W.VBox):
    """Choose a picture, watch the search, take its best or cancel; save the photo with the edited face."""

    searches: OwnFaces | None = None

    def __init__(
        self,
        engine: Engine,
        *,
        use: Callable[[OwnFace], None],  # takes the face that was found
        save: Callable[[str], None],  # "photo" or "photo_face"
        say: Callable[..., None],  # text, error=
        redraw: Callable[[], None],  # the pasted photo is wanted in another way
        rest: Rest,
    ) -> None:
        self._engine, self._use, self._say, self._redraw, self._rest = engine, use, say, redraw, rest
        self._quiet, self._shown = False, 0.0
        self._turn = threading.RLock()  # of what is shown: by the search, by the pictures, and by a person
        self._own: OwnFace | None = None  # that is shown
        small = Layout(width="auto")
        self.upload = W.FileUpload(
            accept="image/*", description="Choose a picture", tooltip=phrases.uploads(), layout=small
        )
        self.face = W.Dropdown(
            tooltip="which face of the photo", layout=Layout(width="150px", display="none")
        )
        self.aligned = W.Checkbox(description="it is an aligned face already", indent=False, layout=small)
        self.view = W.HTML(markup.hint(HINT))
        self.take = W.Button(description="Use this now", tooltip="end the search with its best", layout=small)
        self.cancel = W.Button(description="Cancel", tooltip="keep the face that is edited now", layout=small)
        self.save = W.Button(
            description="Save photo", tooltip="the edited face in it, marked as synthetic", layout=small
        )
        self.oval = W.Checkbox(
            value=engine.judges is not None, description="change only the face, not hair and background",
            indent=False, layout=Layout(width="auto", display=None if engine.judges is not None else "none"),
        )  # fmt: skip
        self.sharpen = W.Button(
            description="Sharpen the fit", layout=Layout(width="auto"),  # hidden by itself
            tooltip="adapt a copy of the generator to this photo; edits stay, Undo takes it back",
        )  # fmt: skip
        self.plain = W.Button(
            description="Unsharpen", layout=Layout(width="auto"),
            tooltip="draw the face by the generator as it was",
        )  # fmt: skip
        bar = Layout(flex_flow="row wrap", align_items="center", overflow="visible")
        self.searching = W.HBox([self.take, self.cancel])
        self.finished = W.HBox([self.sharpen, self.plain, self.save, self.oval], layout=bar)
        self.searches = OwnFaces(engine, tell=self._tell, found=self._found, failed=self._failed)
        self._react(self.upload, self._chosen)
        self._react(self.face, lambda _: self._again())
        self._react(self.aligned, lambda _: self._again())
        self._react(self.oval, lambda _: redraw())
        self.take.on_click(lambda _: self.searches.take())
        self.cancel.on_click(lambda _: self._cancel())
        self.save.on_click(lambda _: save("photo_face" if self.oval.value else "photo"))
        self.sharpen.on_click(lambda _: self._start_sharpening())
        self.plain.on_click(lambda _: self._unsharpen())
        top = W.HBox([self.upload, self.face, self.aligned], layout=bar)
        super().__init__([top, self.view, self.searching, self.finished])
        self._arrange(busy=False, own=None)

    def close(self) -> None:
        if self.searches is not None:
            self.searches.close()
        super().close()

    def search(self, name: str, content: bytes) -> str:
        """Start a search; returns what to say meanwhile."""
        with self._turn:
            self._set(self.face, options=())
            self._arrange(busy=True, own=None)
            self.view.value = markup.hint(f"Looking for a face in {name} …")
            self.searches.open(name, content, aligned=self.aligned.value)
        return f"{name} is opened"

    def show(self, own: OwnFace | None, pasted: np.ndarray | None, warning: str = "") -> None:
        """The photo that the edited face belongs to, None if there is none, and what is missing in it."""
        with self._turn:
            if self.searches.busy:
                return  # with another photo; its progress is shown
            self._arrange(busy=False, own=own)
            if own is None:
                self.view.value = markup.hint(HINT)
            else:
                words = f"{summary(self._engine, own)} {markup.fidelity(own.fidelity)} {warning}"
                self.view.value = markup.own(own.square, own.image, pasted, words)

    def _react(self, widget: W.Widget, action: Callable[[Any], Any]) -> None:
        def handle(change: Mapping[str, Any]) -> None:
            with self._turn:  # what another thread sets is not this person's doing
                quiet = self._quiet
            if not quiet:
                action(change["new"])

        widget.observe(handle, names="value")

    def _set(self, widget: W.Widget, **values: Any) -> None:
        """Set a control without its reaction."""
        with self._turn:
            self._quiet = True
            try:
                for name, value in values.items():
                    setattr(widget, name, value)
            finally:
                self._quiet = False

    def _arrange(self, *, busy: bool, own: OwnFace | None) -> None:
        self._own = own
        several = len(self.face.options) > 1
        tuned, stranger = own is not None and own.tuned != "", own is not None and own.found.stranger
        for widget, shown in ((self.searching, busy), (self.finished, not busy and own is not None),
                              (self.face, several), (self.sharpen, not (tuned or stranger)),
                              (self.plain, tuned)):  # fmt: skip
            widget.layout.display = None if shown else "none"

    def _chosen(self, files: Any) -> None:
        if files:
            name, content = files[0]["name"], bytes(files[0]["content"])
            self._set(self.upload, value=())  # so that the same file can be chosen again
            self._say(self.search(name, content))

    def _again(self) -> None:
        """Another face of the same picture, or the whole of it."""
        with self._turn:
            if self.searches.again(face=self.face.value or 0, aligned=self.aligned.value):
                self._arrange(busy=True, own=None)

    def _start_sharpening(self) -> None:
        with self._turn:
            if (own := self._own) is None:
                return  # a second click, before the button had gone
            self._arrange(busy=True, own=None)
            self.searches.sharpen(own)

    def _unsharpen(self) -> None:
        if (own := self._own) is not None and own.plain is not None:
            self._use(own.plain)

    def _cancel(self) -> None:
        with self._turn:
            self.searches.cancel()
            self.show(None, None)
        self._redraw()
        self._say("cancelled; the face is the one before")

    def _tell(self, found: Found) -> None:
        """In the thread of the search, at every step."""
        with self._turn:
            if not self.searches.busy:
                return  # cancelled meanwhile
            count, now = len(found.photo.faces), time.monotonic()
            if found.image is None and count > 1 and len(self.face.options) != count:
                self._set(self.face, options=[(f"face {i + 1} of {count}", i) for i in range(count)])
                self.face.layout.display = None
            if found.image is None or now - self._shown > EVERY:
                self._shown = now
                self.view.value = markup.search(
                    found.square, found.image, share=found.share, text=found.words
                )
        self._rest(PATIENCE)

    def _found(self, own: OwnFace) -> None:
        """In the thread of the search. What is shown leaves the search at once: drawing may fail."""
        self.show(own, None)
        self._use(own)

    def _failed(self, error: Exception) -> None:
        self.show(None, None)
        self._redraw()
        self._say(phrases.error_text(error), error=True)
