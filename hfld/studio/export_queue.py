"""Files of an edit made in the background, one after the other: a film draws dozens of faces."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hfld.studio.file_formats import write_together
from hfld.studio.latest_queue import LatestQueue, Overtaken, Rest, Stage
from hfld.studio.session import Session
from hfld.studio.state import State

PATIENCE = 1.0  # seconds that each picture of a file waits for the sliders' pictures

Files = list[tuple[Path, bytes]]
"""What has been written."""


@dataclass(frozen=True)
class Export:
    """One wish for files: of the state at that time, whatever is moved meanwhile."""

    kind: str  # of Session.files
    state: State
    cancelled: threading.Event = field(default_factory=threading.Event, compare=False)


@dataclass(frozen=True)
class ExportProgress:
    """How far an export is."""

    kind: str
    share: float | None  # of its pictures; None where they are not counted
    waiting: int  # exports behind it


class ExportQueue:
    """Exports one at a time, in the order in which they were asked for."""

    def __init__(
        self,
        session: Session,
        folder: Path,
        *,
        tell: Callable[
            [ExportProgress | None], None
        ],  # hears of every picture, in the exports' thread; None: idle
        saved: Callable[[Files], None],
        failed: Callable[[Exception], None],  # the next export follows
        rest: Rest,
    ) -> None:
        self._session, self._folder, self._tell, self._rest = session, folder, tell, rest
        self._saved, self._failed = saved, failed
        self._turn = threading.Lock()  # of what waits and what is made now
        self._waiting: deque[Export] = deque()
        self._now: Export | None = None
        self._queue = LatestQueue([Stage(self._drain, lambda job, result: None)], failed)

    def save(self, kind: str) -> None:
        """Ask for the files of the present state; returns at once."""
        with self._turn:
            self._waiting.append(Export(kind, self._session.state))
        self._queue.submit(None)

    def cancel(self) -> None:
        """End what is made at its next picture, and forget what waits."""
        with self._turn:
            self._waiting.clear()
            if self._now is not None:
                self._now.cancelled.set()

    def wait(self, timeout: float) -> bool:
        """Until nothing is left to do; False if `timeout` seconds were not enough."""
        return self._queue.wait(timeout)

    def close(self) -> None:
        self.cancel()
        self._queue.close()

    def _drain(self, _: None) -> None:
        try:
            while (export := self._next()) is not None:
                try:
                    self._saved(self._made(export))
                except Overtaken:
                    pass  # cancelled
                except Exception as error:
                    self._failed(error)
        finally:
            self._tell(None)

    def _next(self) -> Export | None:
        """What is made now: a cancel comes before or after, never between the queue and the work."""
        with self._turn:
            self._now = self._waiting.popleft() if self._waiting else None
            return self._now

    def _made(self, export: Export) -> Files:
        def tell(share: float | None) -> None:
            if export.cancelled.is_set():
                raise Overtaken
            self._tell(ExportProgress(export.kind, share, len(self._waiting)))
            self._rest(PATIENCE)

        tell(None)
        made = list(self._session.files(export.kind, export.state, stop=export.cancelled.is_set, tell=tell))
        if export.cancelled.is_set():
            raise Overtaken
        paths = write_together(self._folder, made)
        return [(path, content) for path, (_, content) in zip(paths, made, strict=True)]
