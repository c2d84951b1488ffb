"""One worker thread that always works on the newest job: drawing never lags behind the hand."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Rest = Callable[[float], object]
"""Waits until the sliders' pictures are drawn, at most so many seconds: other work goes second."""


class Overtaken(Exception):
    """Raised by a stage's work that has seen that it is overtaken."""


@dataclass(frozen=True)
class Stage:
    """One part of a job."""

    work: Callable[[Any], Any]  # job -> result, in the worker thread
    deliver: Callable[[Any, Any], None]  # job, result; called only if no newer job has come
    after: float = 0.0  # seconds without a newer job before the stage starts


class LatestQueue:
    """Runs the stages of the newest job; a newer one replaces what waits and ends the older at a stage.

    A result that a newer job has overtaken is not delivered, unless it is the first stage's: while a slider
    is dragged the picture follows, although every position but the last is old by then. What a stage raises
    goes to `failed`; the thread lives on.
    """

    def __init__(self, stages: Sequence[Stage], failed: Callable[[Exception], None]) -> None:
        self._stages, self._failed = tuple(stages), failed
        self._condition = threading.Condition()
        self._job: Any = None
        self._number = self._done = self._working = 0  # of the newest job; that ended; that is worked on
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="hfld-latest", daemon=True)
        self._thread.start()

    def submit(self, job: Any) -> None:
        """Replace whatever waits; returns at once."""
        with self._condition:
            if self._closed:
                raise ValueError("the rendering queue is closed")
            self._job, self._number = job, self._number + 1
            self._condition.notify_all()

    def overtaken(self) -> bool:
        """Whether the job that is worked on is old, so that its stage may end early."""
        with self._condition:
            return self._closed or self._number != self._working

    def wait(self, timeout: float) -> bool:
        """Until the newest job has ended; False if `timeout` seconds were not enough."""
        with self._condition:
            return self._condition.wait_for(lambda: self._done == self._number, timeout)

    def close(self) -> None:
        """End the thread after its present stage."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._closed or self._done < self._number)
                if self._closed:
                    return
                job, number = self._job, self._number
                self._working = number
            try:
                self._work(job, number)
            except Overtaken:
                pass  # the newer job is next
            except Exception as error:
                self._report(error)
            with self._condition:
                self._done = max(self._done, number)
                self._condition.notify_all()

    def _report(self, error: Exception) -> None:
        """The thread outlives a `failed` that fails itself, so that nobody waits for ever."""
        try:
            self._failed(error)
        except Exception:
            logging.getLogger(__name__).exception("an error could not be shown: %r", error)

    def _work(self, job: Any, number: int) -> None:
        for index, stage in enumerate(self._stages):
            if self._overtaken(number, stage.after):
                return
            result = stage.work(job)
            if index and self._overtaken(number):
                return
            stage.deliver(job, result)

    def _overtaken(self, number: int, patience: float = 0.0) -> bool:
        """Whether a newer job is there, or comes within `patience` seconds."""
        with self._condition:
            end = time.monotonic() + patience
            while not self._closed and self._number == number and (left := end - time.monotonic()) > 0:
                self._condition.wait(left)
            return self._closed or self._number != number
