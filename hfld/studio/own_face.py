"""One's own photo in the editor: from a picture file to a latent, in the background and in words."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np

from hfld.images import sha256, to_uint8
from hfld.inversion import Fidelity, Inversion, Progress, fidelity, invert, tune
from hfld.photos.own_photo import Photo, open_photo
from hfld.studio.engine import Engine
from hfld.studio.file_formats import check_size
from hfld.studio.latest_queue import LatestQueue, Stage

PREVIEW_SIDE = 420  # px: longer side of the photo on the screen
SHARPENED = (
    "the generator is adapted to this photo. A saved recipe shows these pixels in this session only, "
    "elsewhere the face without it"
)


@dataclass(frozen=True)
class OwnFace:
    """A photo, and the face of this generator that stands for it."""

    name: str  # of the file, without its ending
    photo: Photo
    found: Inversion
    fidelity: Fidelity | None  # None for strangers, and without judges
    tuned: str = ""  # digest of the generator that was tuned to the photo
    plain: "OwnFace | None" = field(default=None, repr=False)  # the same by the session's own generator

    @cached_property
    def square(self) -> np.ndarray:
        """The aligned face as the search saw it, uint8 [S, S, 3]."""
        return to_uint8(self.found.target)[0]

    @cached_property
    def image(self) -> np.ndarray:
        """The face that was found, uint8 [S, S, 3]."""
        return to_uint8(self.found.image)[0]

    @cached_property
    def digest(self) -> str:
        """sha256 of the picture and of the square of the chosen face."""
        return sha256(self.photo.picture, self.photo.quad.corners.astype("<f4"))

    @cached_property
    def preview(self) -> Photo:
        """The photo for the screen."""
        height, width = self.photo.picture.shape[:2]
        zoom = min(1.0, PREVIEW_SIDE / max(height, width))
        size = max(1, round(width * zoom)), max(1, round(height * zoom))
        scale = np.array(size) / (width, height)
        picture = cv2.resize(self.photo.picture, size, interpolation=cv2.INTER_AREA)
        return replace(self.photo, picture=picture, quad=self.photo.quad.moved(scale, np.zeros(2)))


@dataclass(frozen=True, kw_only=True)
class Task:
    """What ends by itself, or when a person takes what there is, or cancels."""

    taken: threading.Event = field(default_factory=threading.Event, compare=False)
    cancelled: threading.Event = field(default_factory=threading.Event, compare=False)
    finished: threading.Event = field(default_factory=threading.Event, compare=False)

    @property
    def ended(self) -> bool:
        return self.taken.is_set() or self.cancelled.is_set()


@dataclass(frozen=True)
class Search(Task):
    """One wish to open a photo."""

    name: str
    content: bytes = field(repr=False)
    face: int = 0  # which of several, 0 the largest
    aligned: bool = False  # the picture is an aligned face: none is looked for


@dataclass(frozen=True)
class Sharpening(Task):
    """One wish to tune a copy of the generator to a photo whose face was found."""

    own: OwnFace


@dataclass(frozen=True)
class Found:
    """How far a search or a tuning is: the opened picture, and the best face so far."""

    photo: Photo
    square: np.ndarray  # uint8 [S, S, 3]
    words: str
    image: np.ndarray | None = None  # uint8 [S, S, 3]; None before the first step
    share: float = 0.0  # of the steps


Tell = Callable[[Found], None]


class OwnFaces:
    """Searches in the background, one at a time: a newer one ends the older."""

    def __init__(
        self,
        engine: Engine,
        *,
        tell: Tell,  # hears of every step, in the thread of the search
        found: Callable[[OwnFace], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._engine, self._tell, self._found = engine, tell, found
        self._search: Search | None = None  # the newest,
        self._task: Task | None = None  # and what is done now
        self._queue = LatestQueue([Stage(self._work, self._deliver)], failed)

    def open(self, name: str, content: bytes, *, face: int = 0, aligned: bool = False) -> None:
        """Start to look for the face of a picture file; returns at once."""
        self._search = Search(name, content, face, aligned)
        self._start(self._search)

    def sharpen(self, own: OwnFace) -> None:
        """Start to tune a copy of the generator to the photo of `own`; returns at once."""
        self._start(Sharpening(own))

    def _start(self, task: Task) -> None:
        self.cancel()
        self._task = task
        self._queue.submit(task)

    def again(self, *, face: int = 0, aligned: bool = False) -> bool:
        """The same picture once more, another face of it; False if there was none yet."""
        if self._search is None:
            return False
        self.open(self._search.name, self._search.content, face=face, aligned=aligned)
        return True

    def take(self) -> None:
        """End the search or the tuning and use its best so far."""
        if self._task is not None:
            self._task.taken.set()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancelled.set()

    @property
    def busy(self) -> bool:
        """Whether the newest task is still worked on, and wanted."""
        task = self._task
        return task is not None and not (task.finished.is_set() or task.cancelled.is_set())

    def wait(self, timeout: float) -> bool:
        """Until the newest task has ended; False if `timeout` seconds were not enough."""
        return self._queue.wait(timeout)

    def close(self) -> None:
        self.cancel()
        self._queue.close()

    def _work(self, task: Task) -> OwnFace | None:
        def tell(now: Found) -> None:
            if task is self._task and not task.cancelled.is_set():
                self._tell(now)

        try:
            make = find_own_face if isinstance(task, Search) else sharpen
            return make(self._engine, task, tell=tell)
        except Exception:
            if task.cancelled.is_set():
                return None  # nobody waits for it any more
            raise
        finally:
            task.finished.set()

    def _deliver(self, task: Task, own: OwnFace | None) -> None:
        if own is not None and not task.cancelled.is_set():
            self._found(own)


def find_own_face(engine: Engine, search: Search, *, tell: Tell = lambda found: None) -> OwnFace | None:
    """Open, align, invert. None if cancelled.

    ValueError says in plain words why the picture cannot be used.
    """
    if (config := engine.inversion) is None:
        raise ValueError("this session does not open photos; it loads recipes and saved faces")
    photo = _open(engine, search)
    target = photo.image(engine.size)
    now = Found(photo, to_uint8(target)[0], "aligned; compared with random faces first")
    tell(now)

    def watch(best: Progress) -> bool:
        share = best.step / max(best.steps, 1)
        tell(replace(now, words="looking for its latent", image=to_uint8(best.image)[0], share=share))
        return search.ended

    found = invert(engine.models, target, config, watch=watch, progress=False)
    if search.cancelled.is_set():
        return None
    report = None if found.stranger else _report(engine, found)
    return OwnFace(search.name.rpartition(".")[0] or search.name, photo, found, report)


def sharpen(engine: Engine, task: Sharpening, *, tell: Tell = lambda found: None) -> OwnFace | None:
    """The same face, drawn by a copy of the generator that is tuned to the photo (hfld.inversion.tune), which
    the engine adopts; None if cancelled.
    """
    own, seen = task.own, []
    if own.found.stranger:
        raise ValueError("only a face that was found in the photo can be sharpened, and this is its nearest")
    engine.check_room()

    def watch(now: Progress) -> bool:
        seen[:] = [now]
        share, image = now.step / max(now.steps, 1), to_uint8(now.image)[0]
        tell(Found(own.photo, own.square, "adapting the generator to the photo", image, share))
        return task.ended

    generator = tune(engine.models, own.found, engine.inversion, watch=watch, progress=False)
    if task.cancelled.is_set():
        return None
    if not all(map(math.isfinite, seen[0].terms.values())):
        raise ValueError("the generator could not be adapted to this photo; the face is the one before")
    found = replace(own.found, image=seen[0].image, terms={**own.found.terms, **seen[0].terms})
    return replace(
        own, found=found, fidelity=_report(engine, found), tuned=engine.adopt(generator), plain=own
    )


def _report(engine: Engine, found: Inversion) -> Fidelity | None:
    if (judges := engine.judges) is None:
        return None
    return fidelity(found, identity=judges.identity, landmarks=judges.landmarks)


def summary(engine: Engine, own: OwnFace) -> str:
    """What was found, in plain words."""
    found, parts = own.found, [own.photo.message]
    if found.stranger:
        parts.append(_nearest(engine))
    elif not found.complete:
        parts.append("taken before the search had ended")
        limit = engine.inversion.stranger
        if limit is not None and found.terms["perceptual"] > limit:
            parts.append(_unlike(engine))
    if own.tuned:
        parts.append(SHARPENED)
    return " ".join(f"{part[:1].upper()}{part[1:]}." for part in parts)


def _unlike(engine: Engine) -> str:
    """Of a search that was ended before it could tell a stranger."""
    if engine.world is None:
        return "it is not like the picture yet, and a picture of another kind never becomes so"
    return (
        "it is not like the picture yet. This world draws portraits: if yours is a photograph, no search "
        "makes a likeness of it"
    )


def _nearest(engine: Engine) -> str:
    count = engine.inversion.samples
    if engine.world is None:
        what, faces = "this generator draws no such pictures", f"{count} of its faces"
    else:
        what, faces = "the picture is a photograph, and this world draws portraits", f"{count} portraits"
    return f"{what}. This is the nearest of {faces}: not a likeness, but a face to edit"


def _open(engine: Engine, search: Search) -> Photo:
    """A picture of exactly the generator's size is an aligned face."""
    check_size(search.content)
    whole = open_photo(search.content, aligned=True)
    if search.aligned or whole.picture.shape[:2] == (engine.size, engine.size):
        return whole
    if engine.world is not None:
        return open_photo(whole, face=search.face, world="portraits")
    return open_photo(whole, face=search.face, landmarks=engine.models.landmarks)
