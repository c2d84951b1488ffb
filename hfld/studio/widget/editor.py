"""The latent editor on ipywidgets 8: JupyterLab, Notebook 7, VS Code, Voila. Its logic is in hfld.studio.

LatentEditor("portraits")                       # a profile, after `dvc repro`
LatentEditor(Engine(models=..., editors=...))   # any networks
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ipywidgets as W
import numpy as np
from ipywidgets import Layout

from hfld.config import ROOT, Profile, load_profile
from hfld.studio import markup, phrases
from hfld.studio.drawing import difference, landmark_overlay
from hfld.studio.engine import Engine, Face, offered
from hfld.studio.gauges import Gauges
from hfld.studio.latest_queue import LatestQueue, Stage
from hfld.studio.own_face import OwnFace
from hfld.studio.session import Session
from hfld.studio.state import LARGEST_SEED, State
from hfld.studio.widget.arrangement import arrange, picture_place, tick_when_pressed
from hfld.studio.widget.photo_panel import PhotoPanel
from hfld.studio.widget.save_panel import SavePanel
from hfld.studio.widget.sliders import AttributeList

GALLERY = range(1, 9)  # seeds
REST = 0.1  # seconds without a newer edit before gauges are read
LOCK_LEFT_OUT = "Without held landmarks, which takes long; a saved film has it."


class LatentEditor(W.VBox):
    """Sliders that edit a face, the same edit by a second editor beside it, and what each disturbs."""

    queue: LatestQueue | None = None
    photo: PhotoPanel | None = None
    saves: SavePanel | None = None

    def __init__(
        self,
        source: str | Profile | Engine,  # a profile, or networks
        *,
        seed: int = 4,  # of a portrait that is drawn sharply, and smiles
        folder: Path | None = None,  # of saved faces; runs/<profile>/faces if None
    ) -> None:
        if isinstance(source, Engine):
            engine, runs = source, ROOT / "runs" / source.profile
        else:
            profile = load_profile(source) if isinstance(source, str) else source
            engine = Engine.from_profile(profile, offered(profile))
            runs = profile.paths.runs
        self.folder = folder or runs / "faces"
        second = [*engine.editors, None][1]
        opens = self._open_photo if engine.inversion is not None else None
        self.session = Session(engine, seed=seed, second=second, open_photo=opens, changed=self._changed)
        self._guard, self._quiet = threading.RLock(), False
        self._faces: dict[str, Face] = {}  # the newest pictures,
        self._drawn: State | None = None  # and the state that they show
        self._make_controls(engine)
        super().__init__(self._arrange())
        self.add_class("hfld")
        self.queue = LatestQueue(
            self._stages(), lambda error: self.say(phrases.error_text(error), error=True)
        )
        self._changed(self.session.state)

    def close(self) -> None:
        for panel in (self.photo, self.saves):
            if panel is not None:
                panel.close()
        if self.queue is not None:
            self.queue.close()
        super().close()

    def say(self, text: str, *, error: bool = False) -> None:
        """One line under the title; an error in plain words, or what has been done."""
        self.message.value = markup.message(text, error=error)

    def _rest(self, seconds: float) -> None:
        """Work in the background waits until the sliders' pictures are drawn, at most so long."""
        self.queue.wait(seconds)

    def _make_controls(self, engine: Engine) -> None:
        names = [(phrases.title(name), name) for name in engine.editors]
        small = Layout(width="auto")
        self.seed = W.BoundedIntText(
            min=0, max=LARGEST_SEED, description="Seed", style={"description_width": "38px"},
            layout=Layout(width="150px"),
        )  # fmt: skip
        self.dice = W.Button(description="⚄ Dice", tooltip="another face", layout=small)
        self.upload = W.FileUpload(
            accept=".json,.safetensors,image/*", description="Open", layout=small,
            tooltip=f"a recipe, a saved face or latent, or a photo; {phrases.uploads()}",
        )  # fmt: skip
        self.undo = W.Button(description="↶ Undo", tooltip="take back the last step", layout=small)
        self.redo = W.Button(description="↷ Redo", tooltip="the step that was taken back", layout=small)
        self.reset = W.Button(description="Reset all", tooltip="all sliders but held ones", layout=small)
        pick = {"style": {"description_width": "52px"}, "layout": Layout(width="190px")}
        self.editor = W.Dropdown(options=names, description="Editor", **pick)
        self.second = W.Dropdown(options=[("nothing", None), *names], description="beside", **pick)
        self.lock = W.Checkbox(
            description="hold landmarks", indent=False, layout=_shown(engine.lock_expression)
        )
        self.message = W.HTML()
        self.attributes = AttributeList(engine)
        self.original, self.edited, self.compared = (picture_place() for _ in range(3))
        self.show_difference = W.ToggleButton(description="Difference", tooltip="what changed", layout=small)
        self.show_landmarks = W.ToggleButton(
            description="Landmarks",
            tooltip="106 landmarks by the judge, orange crosses before and blue dots after",
            layout=_shown(engine.judges),
        )
        self.unreached, self.trajectory, self.gauges = W.HTML(), W.HTML(), W.HTML()
        self.layers = W.IntRangeSlider(
            min=0, max=engine.rows - 1, value=(0, engine.rows - 1), description="Layers",
            layout=Layout(width="420px", max_width="98%"),
        )  # fmt: skip
        self.snapshot = W.Button(description="Take a snapshot", layout=small)
        self.snapshots = W.HBox(layout=Layout(flex_flow="row wrap"))
        self.faces = W.HBox(layout=Layout(flex_flow="row wrap"))
        self.saves = SavePanel(self.session, self.folder, say=self.say, rest=self._rest)
        self.photo = PhotoPanel(
            engine,
            use=self._use,
            save=self.saves.save,
            say=self.say,
            redraw=lambda: self.queue.submit(self.session.state),
            rest=self._rest,
        )
        self._connect()

    def _connect(self) -> None:
        session = self.session
        self._on(self.seed, session.set_seed)
        self._on(self.editor, session.set_editor)
        self._on(self.second, session.set_second)
        self._on(self.lock, session.set_expression_lock)
        self._on(self.layers, session.set_layers)
        self._on(self.upload, self._open)
        for toggle in (self.show_difference, self.show_landmarks):
            tick_when_pressed(toggle)
            self._on(toggle, lambda _: self.queue.submit(session.state))
        clicks = {
            self.dice: session.throw_dice,
            self.undo: session.undo,
            self.redo: session.redo,
            self.reset: session.reset,
            self.snapshot: self._take_snapshot,
        }
        for button, action in clicks.items():
            self._click(button, action)
        for name, row in self.attributes.rows.items():
            self._on(row.slider, lambda value, name=name: session.set_target(name, value))
            self._on(row.hold, lambda value, name=name: session.hold(name, value))
            self._click(row.reset, lambda name=name: session.reset(name))

    def _arrange(self) -> list[W.Widget]:
        layers = markup.hint(
            "Rows of W+ that an edit may touch: the first shape the face, the last colour it."
        )
        children, self.tabs = arrange(
            source=[self.seed, self.dice, self.upload, self.undo, self.redo, self.reset],
            message=self.message,
            attributes=self.attributes,
            choice=[self.editor, self.second, self.lock, self.show_difference, self.show_landmarks],
            pictures=[self.original, self.edited, self.compared],
            words=self.unreached,
            tabs={
                "Trajectory": W.VBox([self.trajectory]),
                "Gallery": self.faces,
                "Own photo": self.photo,
                "Snapshots": W.VBox([self.snapshot, self.snapshots]),
                "Save": self.saves,
                "Advanced": W.VBox([self.layers, W.HTML(layers)]),
            },
            gauges=self.gauges,
        )
        self.tabs.observe(self._show_tab, names="selected_index")
        return children

    def _on(self, widget: W.Widget, action: Callable[[Any], Any]) -> None:
        """Call `action` with the new value when a person has changed it."""

        def handle(change: Mapping[str, Any]) -> None:
            with self._guard:
                if not self._quiet:
                    self._try(lambda: action(change["new"]))

        widget.observe(handle, names="value")

    def _click(self, button: W.Button, action: Callable[[], Any]) -> None:
        def handle(_: W.Button) -> None:
            with self._guard:
                self._try(action)

        button.on_click(handle)

    def _try(self, action: Callable[[], Any]) -> None:
        """An error is shown, and the controls go back to the state, which it has not changed."""
        try:
            action()
        except Exception as error:
            self._sync(self.session.state)
            self.say(phrases.error_text(error), error=True)

    @contextmanager
    def _silently(self) -> Iterator[None]:
        """Controls are set by the program; nothing that happens is a person's doing."""
        with self._guard:
            before, self._quiet = self._quiet, True
            try:
                yield
            finally:
                self._quiet = before

    def _changed(self, state: State) -> None:
        self._sync(state)
        self.say("")
        self.queue.submit(state)

    def _sync(self, state: State) -> None:
        """Controls show the state."""
        with self._silently():
            if state.source.seed is not None:
                self.seed.value = state.source.seed
            self.editor.value, self.second.value = state.editor, state.second
            self.lock.value = state.expression_lock
            self.layers.value = state.layers or (0, self.layers.max)
            self.undo.disabled = not self.session.history.can_undo
            self.redo.disabled = not self.session.history.can_redo
            known = self._drawn is not None and self._drawn.source == state.source
            start = self._faces["original"].scores if known else None
            self.attributes.show(state, self.session.engine.known(state.editor), start)

    def _stages(self) -> list[Stage]:
        """Quick pictures at once; when the hand rests those at their targets; then what takes longer."""
        session = self.session
        return [
            Stage(self._previews, self._show_previews),
            Stage(self._new_faces, self._deliver_faces, after=REST),
            Stage(self._views, self._show_views),
            Stage(self._pasted, self._show_pasted),
            Stage(lambda state: session.gauges(state, self._faces), self._show_gauges, after=REST),
            Stage(lambda state: session.gauges(state, self._faces, floor=True), self._show_gauges),
            Stage(self._trajectories, self._show_trajectory, after=REST),
        ]

    def _previews(self, state: State) -> dict[str, np.ndarray]:
        return {} if self._drawn == state else self.session.previews(state)

    def _new_faces(self, state: State) -> dict[str, Face]:
        return self.session.faces(state, stop=self.queue.overtaken)

    def _trajectories(self, state: State) -> dict[str, list[np.ndarray]] | None:
        """None while another tab is shown."""
        if self.tabs.selected_index != 0:
            return None
        return self.session.trajectories(state, lock=False, stop=self.queue.overtaken)

    def _deliver_faces(self, state: State, faces: dict[str, Face]) -> None:
        with self._silently():
            self._faces, self._drawn = faces, state
            if state.source == self.session.state.source:
                self._sync(self.session.state)
            self.attributes.show_scores(faces[state.editor].scores)
            self.unreached.value = markup.hint(phrases.unreached(self.session.engine, state, faces))

    def _pasted(self, state: State) -> np.ndarray | None:
        return self.session.pasted(state, oval=self.photo.oval.value, preview=True)

    def _show_pasted(self, state: State, picture: np.ndarray | None) -> None:
        left = phrases.outside_the_face(state) if self.photo.oval.value else ""
        self.photo.show(self.session.own_face(state), picture, left)

    def _open_photo(self, name: str, content: bytes) -> str:
        """A picture without a recipe: its face is searched in the background."""
        words = self.photo.search(name, content)
        self.tabs.selected_index = self.tabs.children.index(self.photo)
        return words

    def _use(self, own: OwnFace) -> None:
        """A face was found, in the thread of the search."""
        with self._guard:
            self._try(lambda: self.session.use(own))
            self.queue.submit(self.session.state)  # where it failed too: the panel shows what is edited

    def _show_previews(self, state: State, pictures: Mapping[str, np.ndarray]) -> None:
        if not pictures:
            return
        original = pictures["original"]
        if self._drawn is None or self._drawn.source != state.source:
            self.original.value = self._original(state, original)
        for name, place in self._places(state).items():
            image = pictures[name]
            changes = self.show_difference.value and image.shape == original.shape
            if changes:
                image = difference(original, image)
            alt = phrases.alt_text(state, name, difference=changes)
            place.value = markup.figure(image, markup.words(name), "preview", alt)

    def _original(self, state: State, image: np.ndarray, *, landmarks: bool = False) -> str:
        alt = f"the unedited face, {state.source.label}{'; its landmarks' if landmarks else ''}"
        return markup.figure(image, "Original", state.source.label, alt)

    def _places(self, state: State) -> dict[str, W.HTML]:
        """Where the pictures of the state's one or two editors are."""
        self.compared.layout.display = "none" if state.second is None else None
        return {state.editor: self.edited} | ({} if state.second is None else {state.second: self.compared})

    def _views(self, state: State) -> dict[str, str]:
        """The newest pictures, as the toggles ask for them."""
        original = self._faces["original"]
        old = self.session.original_points(state.source) if self.show_landmarks.value else None
        shown = original.image if old is None else landmark_overlay(original.image, old)
        views = {"original": self._original(state, shown, landmarks=old is not None)}
        changes = self.show_difference.value
        for name in (name for name in (state.editor, state.second) if name is not None):
            image = self._faces[name].image
            view = difference(original.image, image) if changes else image
            if old is not None:
                view = landmark_overlay(view, old, self.session.points(image))
            note = phrases.note(state, original, self._faces[name])
            alt = phrases.alt_text(state, name, difference=changes, landmarks=old is not None)
            views[name] = markup.figure(view, markup.words(name), note, alt, original=original.image)
        return views

    def _show_views(self, state: State, views: Mapping[str, str]) -> None:
        self.original.value = views["original"]
        for name, place in self._places(state).items():
            place.value = views[name]

    def _show_gauges(self, state: State, found: Mapping[str, Gauges]) -> None:
        self.gauges.value = markup.gauges(found, size=self.session.size)

    def _show_trajectory(self, state: State, rows: Mapping[str, Sequence[np.ndarray]] | None) -> None:
        if rows is not None:
            shown = markup.trajectory(rows, state.active or "")
            self.trajectory.value = shown + markup.hint(LOCK_LEFT_OUT if state.expression_lock else "")

    def _open(self, files: Sequence[Mapping[str, Any]]) -> None:
        if not files:
            return
        name, content = files[0]["name"], bytes(files[0]["content"])
        with self._silently():
            self.upload.value = ()  # so that the same file can be opened again
        self.say(self.session.load(name, content))

    def _take_snapshot(self) -> None:
        drawn = self._drawn == self.session.state
        image = self._faces[self.session.state.editor].image if drawn else None
        snapshot = self.session.take_snapshot(image)
        entry = self._thumbnail(snapshot.label, snapshot.image, lambda: self.session.restore(snapshot))
        self.snapshots.children += (entry,)

    def _thumbnail(self, label: str, image: np.ndarray, choose: Callable[[], Any]) -> W.Widget:
        """A small picture with a button that goes to what it shows."""
        picture = W.HTML(markup.thumbnail(image, label))
        button = W.Button(description=label, tooltip=f"open {label}", layout=Layout(width="auto"))
        self._click(button, choose)
        return W.VBox([picture, button], layout=Layout(width="104px", overflow="hidden"))

    def _show_tab(self, change: Mapping[str, Any]) -> None:
        """What takes long is made when its tab is opened."""
        if change["new"] == 0:
            self.queue.submit(self.session.state)
        elif change["new"] == 1:
            self._try(self._fill_gallery)

    def _fill_gallery(self) -> None:
        """Some seeds, and the faces that were saved here, newest first."""
        entries = self.session.gallery(GALLERY, self.folder)
        self.faces.children = [self._thumbnail(*entry) for entry in entries]


def _shown(thing: object) -> Layout:
    """Of a control that is hidden where the session has no such thing."""
    return Layout(width="auto", display="none" if thing is None else None)
