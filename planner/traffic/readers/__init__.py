"""Trace file -> Recorded: one file per format, chosen by name or by the columns. Not what a trace means for a plan.

Files may be gzipped.
"""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from planner.errors import BadInput, Problem, Where
from planner.traffic.readers import azure, burstgpt, mooncake, plain, sharegpt
from planner.traffic.readers.base import READERS
from planner.traffic.recorded import Recorded

__all__ = ["READERS", "azure", "burstgpt", "mooncake", "plain", "read", "read_named", "sharegpt"]

_HEAD = 65536


def read(path: Path, format: str | None = None) -> Recorded:
    """The requests of a trace file; BadInput names file and line of everything that is wrong."""
    return read_named(path, format)[1]


def read_named(path: Path, format: str | None = None) -> tuple[str, Recorded]:
    """The same, after the name of the format it was read in."""
    where = Where(str(path))
    try:
        with path.open("rb") as raw, io.TextIOWrapper(_unzipped(raw), encoding="utf-8-sig", newline="") as text:
            name = format or _recognise(text, where)
            return name, READERS.get(name).read(text, str(path))
    except UnicodeDecodeError as error:
        raise BadInput(Problem("the trace is not UTF-8 text", where)) from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(Problem(f"cannot read the trace: {reason}", where)) from error


def _unzipped(raw: io.BufferedReader) -> BinaryIO:
    """The bytes of a file, gunzipped if the first two say so (names lie)."""
    return cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if raw.peek(2)[:2] == b"\x1f\x8b" else raw


def _recognise(text: TextIO, where: Where) -> str:
    """Name of the one reader that knows this head, rewinding the text."""
    head = text.read(_HEAD)
    text.seek(0)
    if not head.strip():
        raise BadInput(Problem("the trace is empty", where))
    for name in READERS:
        if READERS.get(name).recognises(head):
            return name
    expected = "; ".join(f"{name}: {READERS.get(name).looks_like}" for name in READERS)
    raise BadInput(Problem("no trace format has these columns", where, f"known formats are {expected}"))
