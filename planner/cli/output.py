"""Output: where results and progress go. Results to stdout, progress to stderr; a closed pipe is no error."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from planner.errors import BadInput, Problem, Where

LINE_EVERY_S = 5.0


def print_text(text: str) -> None:
    """Write a result to stdout; when the reader has gone, say nothing more."""
    try:
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(document: Any) -> None:
    print_text(json.dumps(document, indent=2, ensure_ascii=False))


def write_text(file: Path, text: str) -> None:
    """Write a side file; BadInput when that cannot be done."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(Problem(f"cannot write: {error.strerror}", Where(str(file)))) from error


def note(text: str, quiet: bool = False) -> None:
    """A line about the work, not its result."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)


def terminal_width() -> int:
    return shutil.get_terminal_size((100, 24)).columns


def wants_color(no_color: bool) -> bool:
    """True on a terminal unless --no-color, NO_COLOR (no-color.org) or a dumb terminal forbids it."""
    forbidden = no_color or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not forbidden


class Progress:
    """Progress on stderr: a bar on a terminal, else a line every few seconds. Call it with (done, total, what)."""

    def __init__(self, quiet: bool = False, no_color: bool = False):
        self._quiet, self._last_s = quiet, time.monotonic()
        self._what = self._line_before = ""
        self._bar = None if quiet or not sys.stderr.isatty() else _bar(no_color)

    def __call__(self, done: int, total: int, what: str) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done, total=total, description=what)
        elif not self._quiet:
            self._line(done, total, what)

    def _line(self, done: int, total: int, what: str) -> None:
        line, now_s = f"{what}: {done}/{total}", time.monotonic()
        due = what != self._what or now_s - self._last_s >= LINE_EVERY_S or done == total
        if due and line != self._line_before:
            self._what, self._last_s, self._line_before = what, now_s, line
            note(line)

    def __enter__(self) -> Self:
        show_log(self._quiet)
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def show_log(quiet: bool) -> None:
    """Let what the package logs (the one-time compilation) appear among the progress."""
    log = logging.getLogger("planner")
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    if not log.handlers:
        log.addHandler(logging.StreamHandler(sys.stderr))


def _bar(no_color: bool) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    bars = Bars(*columns, console=Console(stderr=True, no_color=no_color or None), transient=True)
    bars.add_task("starting", total=None)
    return bars
