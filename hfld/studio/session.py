"""One person's session: what controls may do, the newest pictures and gauges, files in and out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hfld.attributes import attribute_index
from hfld.photos.own_photo import paste_back
from hfld.photos.synthetic import synthetic_png
from hfld.studio import file_formats, recipes
from hfld.studio.drawing import sheet
from hfld.studio.engine import Engine, Face, Stop, never
from hfld.studio.gauges import Floor, Gauges, measure_floor, read_gauges, read_judges, read_points
from hfld.studio.own_face import OwnFace
from hfld.studio.state import LARGEST_SEED, History, Source, State

STEPS = 7  # pictures of a trajectory
SAVED_SHOWN = 16  # faces in the gallery
EXPORT_SIDE = 256  # px of films and sheets of smaller faces

Tell = Callable[[float], object]
"""Hears how much is done, in [0, 1]."""

OpenPhoto = Callable[[str, bytes], str]
"""Name and content of a picture file: starts to look for its face, and says so."""


def silent(share: float) -> None:
    pass


@dataclass(frozen=True)
class Snapshot:
    """A state put aside, with its picture."""

    state: State
    image: np.ndarray  # uint8 [H, W, 3]
    label: str


class Session:
    """Logic of the editor. What changes the state calls `changed` with the new one."""

    def __init__(
        self,
        engine: Engine,
        *,
        seed: int = 1,
        second: str | None = None,  # the editor beside the engine's first
        open_photo: OpenPhoto | None = None,  # None: photos are refused
        changed: Callable[[State], None] = lambda state: None,
    ) -> None:
        start = State(source=Source.of_seed(seed), editor=next(iter(engine.editors)), second=second)
        self.engine, self.changed, self._open_photo = engine, changed, open_photo
        self._own: dict[str, OwnFace] = {}  # by the key of their source
        self.history = History(engine.check(start))
        self.snapshots: list[Snapshot] = []
        self._floor = lru_cache(maxsize=64)(self._measure_floor)
        self._points = lru_cache(maxsize=32)(lambda source: self.points(engine.original(source).image))
        self._before = lru_cache(maxsize=32)(
            lambda source: read_judges(engine, engine.original(source).image[None])
        )

    @property
    def state(self) -> State:
        return self.history.state

    def _go(self, state: State, kind: str = "") -> None:
        self.history.push(self.engine.check(state), kind)
        self.changed(self.state)

    def set_target(self, attribute: str, target: float) -> None:
        """Move a slider; a drag is one step of the history."""
        if attribute not in self.engine.known(self.state.editor):
            raise ValueError(f"the editor {self.state.editor!r} does not know {attribute!r}")
        self._go(self.state.with_target(attribute, float(target)), f"target {attribute}")

    def reset(self, attribute: str | None = None) -> None:
        """Take back the edit of one attribute, or of all that are not held."""
        state = self.state
        self._go(state.without_targets() if attribute is None else state.without_target(attribute))

    def hold(self, attribute: str, held: bool) -> None:
        self._go(self.state.holding(attribute, held))

    def set_seed(self, seed: int) -> None:
        """Another face under the same edits."""
        self._go(replace(self.state, source=Source.of_seed(seed)))

    def throw_dice(self) -> None:
        self.set_seed(int(np.random.default_rng().integers(LARGEST_SEED)))

    def set_latent(self, ws: Tensor) -> None:
        """A face that may be edited already, without further edits."""
        self._go(replace(self.state, source=Source.of_latent(ws), targets={}, active=None))

    def use(self, own: OwnFace) -> None:
        """The face of a photo, unedited; its edits stay where only its generator is tuned, or no more."""
        source, now = Source.of_latent(own.found.ws, own.name, own.digest, own.tuned), self.state
        same = now.source.photo == own.digest and bool(now.source.tuned) != bool(own.tuned)
        self._own[source.key] = own
        edits = {} if same else {"targets": {}, "active": None}
        self._go(replace(now, source=source, **edits))

    def own_face(self, state: State) -> OwnFace | None:
        """The photo that the state's face was found in here."""
        return self._own.get(state.source.key)

    def pasted(self, state: State, *, oval: bool = True, preview: bool = False) -> np.ndarray | None:
        """The photo with the edited face in its place, uint8 [H, W, 3]; None where there is no photo.

        `oval`: only the face changes, neither hair nor background.
        """
        if (own := self.own_face(state)) is None:
            return None
        face, points = self.engine.result(state).image, None
        if oval and self.engine.judges is not None:
            points = np.stack([self.original_points(state.source), self.points(face)])
        return paste_back(own.preview if preview else own.photo, face, landmarks=points)

    def set_editor(self, name: str) -> None:
        """Choose the editor; if it stood beside, the two change places."""
        state = self.state
        second = state.editor if name == state.second else state.second
        self._go(replace(state, editor=name, second=second))

    def set_second(self, name: str | None) -> None:
        self._go(replace(self.state, second=name))

    def set_layers(self, layers: tuple[int, int] | None) -> None:
        whole = (0, self.engine.rows - 1)
        self._go(replace(self.state, layers=None if layers == whole else layers), "layers")

    def set_expression_lock(self, on: bool) -> None:
        self._go(replace(self.state, expression_lock=on))

    def undo(self) -> None:
        self.history.undo()
        self.changed(self.state)

    def redo(self) -> None:
        self.history.redo()
        self.changed(self.state)

    def take_snapshot(self, image: np.ndarray | None = None) -> Snapshot:
        """Put the state aside; its picture is drawn if it is not at hand."""
        state = self.state
        edits = ", ".join(f"{name.replace('_', ' ')} {target:.2f}" for name, target in state.targets.items())
        image = self.engine.result(state).image if image is None else image
        snapshot = Snapshot(state, image, f"{state.source.label}: {edits or 'no edit'}")
        self.snapshots.append(snapshot)
        return snapshot

    def restore(self, snapshot: Snapshot) -> None:
        self._go(snapshot.state)

    def faces(self, state: State, *, stop: Stop = never) -> dict[str, Face]:
        """Pictures under "original" and the names of the state's one or two editors."""
        return {"original": self.engine.original(state.source)} | {
            name: self.engine.result(state, name, stop=stop) for name in state.editors
        }

    def previews(self, state: State) -> dict[str, np.ndarray]:
        """Quick pictures while a slider is dragged, small where the full ones are large, and the original."""
        return {"original": self.engine.original(state.source).image} | {
            name: self.engine.picture(self.engine.quick(state, name), self.engine.preview, state.source)[0]
            for name in state.editors
        }

    def points(self, image: np.ndarray) -> np.ndarray:
        """The judge's landmarks [106, 2] (x, y) / side of a picture."""
        return read_points(self.engine, image)

    def original_points(self, source: Source) -> np.ndarray:
        """The same of an unedited face, read once."""
        return self._points(source)

    def gauges(self, state: State, faces: Mapping[str, Face], *, floor: bool = False) -> dict[str, Gauges]:
        """Gauges of each edited face; with `floor` (half a second when it is new) they have lights."""
        if self.engine.judges is None:
            return {}
        size = len(faces["original"].image)
        before = self._before(state.source)
        ends = tuple((name, target > 0.5) for name, target in state.targets.items())
        limits = self._floor(ends) if floor and ends else None
        return {
            name: read_gauges(
                state.targets, before, read_judges(self.engine, face.image[None]), size=size, floor=limits
            )
            for name, face in faces.items()
            if name != "original"
        }

    def _measure_floor(self, ends: tuple[tuple[str, bool], ...]) -> Floor:
        return measure_floor(self.engine, {name: float(end) for name, end in ends})

    def trajectories(
        self,
        state: State,
        steps: int = STEPS,
        *,
        lock: bool = True,
        stop: Stop = never,
        tell: Tell = silent,  # the share that is drawn
    ) -> dict[str, list[np.ndarray]]:
        """editor -> `steps` pictures uint8 [H, W, 3]: the attribute moved last, from target 0 to 1.

        `lock=False` leaves the expression lock out, which takes too long while somebody waits.
        """
        state = state if lock else replace(state, expression_lock=False)
        shown = [name for name in state.editors if state.active in self.engine.known(name)]
        rows: dict[str, list[np.ndarray]] = {name: [] for name in shown}
        for name, images in rows.items():
            for target in np.linspace(0, 1, steps):
                one = state.with_target(state.active, float(target))
                images.append(self.engine.result(one, name, stop=stop).image)
                tell(sum(map(len, rows.values())) / (steps * len(rows)))
        return rows

    def score(self, attribute: str) -> float:
        """R's score of the unedited face: where the slider stands before it is moved."""
        return float(self.engine.original(self.state.source).scores[attribute_index(attribute)])

    def load(self, name: str, content: bytes) -> str:
        """Take in a file: recipe, saved picture, saved latent, or a photo. Returns what happened."""
        if name.lower().endswith(".safetensors"):
            ws = file_formats.read_latent(content)
            if (text := file_formats.recipe_in_latent(content)) is None:
                self.set_latent(ws)
                return f"{name}: latent loaded, unedited"
        else:
            text = content if name.lower().endswith(".json") else file_formats.recipe_in_png(content)
        if text is not None:
            return f"{name}: {self.load_recipe(text)}"
        file_formats.open_upload(content)
        if self._open_photo is None:
            raise ValueError(
                f"{name} is a picture without a recipe. To edit a photo it must be inverted into the "
                "generator's latents, which this session cannot do; it loads recipes and saved faces"
            )
        return self._open_photo(name, content)

    def load_recipe(self, text: str | bytes) -> str:
        """Go to a recipe's state; ValueError if it belongs to other weights."""
        values = recipes.parse(text)
        self._go(recipes.state_of(self.engine, values))
        return recipes.same_pixels(self.engine, self.state, values) or "recipe loaded, pixel for pixel"

    def gallery(
        self, seeds: Sequence[int], folder: Path
    ) -> list[tuple[str, np.ndarray, Callable[[], object]]]:
        """(label, picture, what opens it) of some seeds and of the newest saved faces in `folder`; files that
        cannot be read are left out.
        """
        ws = [self.engine.original(Source.of_seed(seed)).ws for seed in seeds]
        entries = [
            (f"seed {seed}", image, lambda seed=seed: self.set_seed(seed))
            for seed, image in zip(
                seeds, self.engine.picture(torch.cat(ws), self.engine.preview), strict=True
            )
        ]
        saved = sorted(folder.glob("*.png"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in saved[:SAVED_SHOWN]:
            try:
                image = np.asarray(file_formats.open_upload(path.read_bytes()).convert("RGB"))
            except (OSError, SyntaxError, ValueError):
                continue  # a file that is no picture, or half of one, must not hide the others
            entries.append((path.stem, image, lambda path=path: self.load(path.name, path.read_bytes())))
        return entries

    def files(
        self, kind: str, state: State | None = None, *, stop: Stop = never, tell: Tell = silent
    ) -> Iterator[tuple[str, bytes]]:
        """Names and contents of an export of `state`, the present one if None: "face" (picture, latent,
        recipe), "gif", "mp4", "sheet", "photo" (the edited face in it) or "photo_face" (only its oval).

        Overtaken if `stop` says so before a picture; `tell` hears what share of a film or sheet is drawn.
        """
        state = self.state if state is None else state
        stem = _stem(state)
        recipe = recipes.recipe(self.engine, state)
        if kind == "face":
            face = self.engine.result(state)
            yield f"{stem}.png", synthetic_png(face.image, recipe, kind="generated")
            yield f"{stem}.safetensors", file_formats.latent(face.ws, recipe)
            yield f"{stem}.json", recipes.to_text(recipe).encode()
        elif kind in ("gif", "mp4"):
            encode = file_formats.gif if kind == "gif" else file_formats.mp4
            yield f"{stem}.{kind}", encode(self._film(state, stop, tell))
        elif kind == "sheet":
            sheet = self._sheet(state, stop, tell)
            yield f"{stem}_sheet.png", synthetic_png(sheet, recipe, kind="generated")
        elif kind in ("photo", "photo_face"):
            if (picture := self.pasted(state, oval=kind == "photo_face")) is None:
                raise ValueError("this face is not from a photo that was opened here; open one first")
            yield f"{stem}_pasted.png", synthetic_png(picture, recipe, kind="composite")
        else:
            raise ValueError(f"kind must be face, gif, mp4, sheet, photo or photo_face, not {kind!r}")

    def _film(self, state: State, stop: Stop, tell: Tell) -> list[np.ndarray]:
        """Frames of the trajectory, the editors beside each other."""
        if not (rows := self.trajectories(state, steps=2 * STEPS - 1, stop=stop, tell=tell)):
            raise ValueError("move a slider first: the film shows the attribute that was moved last")
        side = max(EXPORT_SIDE, self.size)
        return [sheet([frames], side=side) for frames in zip(*rows.values(), strict=True)]

    def _sheet(self, state: State, stop: Stop, tell: Tell) -> np.ndarray:
        """Original and edits, then trajectories, then snapshots."""
        pictures = [snapshot.image for snapshot in self.snapshots]
        rows = [[face.image for face in self.faces(state, stop=stop).values()]]
        rows += self.trajectories(state, stop=stop, tell=tell).values()
        rows += [pictures[i : i + STEPS] for i in range(0, len(pictures), STEPS)]
        return sheet(rows, side=max(EXPORT_SIDE // 2, self.size))

    @property
    def size(self) -> int:
        """Image side, px."""
        return self.engine.size


def _stem(state: State) -> str:
    """A file name that says what is in it: seed7_hfld_Male100_Young20."""
    edits = [f"{name}{round(100 * target)}" for name, target in state.targets.items()]
    return "_".join([state.source.label.replace(" ", ""), state.editor, *edits])[:100]
