"""Onlooker: what a person sees of a long simulation, and how Ctrl-C ends it without losing what is done. Not the plans.

Short runs show nothing. The first Ctrl-C lets the run end where it stands; the second leaves at once.
"""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType
from typing import Any, Self

from planner.cli.output import Progress, note, show_log

PATIENCE_S = 1.0
"""Runs that end sooner after their first slice show no progress."""


class Onlooker:
    """Call it with (requests finished, requests, what); False when the run shall end."""

    def __init__(self, quiet: bool = False, no_color: bool = False):
        self.interrupted = False
        self._quiet, self._no_color = quiet, no_color
        self._what, self._begin_s = "", 0.0
        self._progress: Progress | None = None
        self._handler: Any = None

    def __call__(self, done: int, total: int, what: str) -> bool:
        if what != self._what:
            self._what, self._begin_s = what, time.monotonic()
        if self._progress is None and time.monotonic() - self._begin_s > PATIENCE_S:
            self._progress = Progress(self._quiet, self._no_color).__enter__()
        if self._progress is not None:
            self._progress(done, total, what)
        return not self.interrupted

    def __enter__(self) -> Self:
        show_log(self._quiet)
        self._handler = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._handler)
        if self._progress is not None:
            self._progress.__exit__(kind, error, trace)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        note("stopping: what is done follows (Ctrl-C again leaves at once)")
