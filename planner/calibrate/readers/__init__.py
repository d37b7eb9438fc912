"""Benchmark result -> measured points: one file per format, known by its content. Not what a point means for a plan.

Files may be gzipped.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from planner.calibrate.readers import aiperf, guidellm, table, vllm_bench
from planner.calibrate.readers.base import READERS, Measured, Reader
from planner.errors import BadInput, Problem, Where

__all__ = ["READERS", "Measured", "Reader", "aiperf", "guidellm", "read_results", "table", "vllm_bench"]

_ORDER = ("table", "aiperf-csv", "vllm-bench", "guidellm", "aiperf")


def read_results(path: Path, format: str = "") -> list[Measured]:
    """The points of a result file; BadInput names file, line and field of what is wrong."""
    text = _text(path)
    if not text.strip():
        raise BadInput(Problem("the file is empty", Where(str(path))))
    reader = READERS.get(format or _recognise(text, path))
    points = reader.read(text, str(path))
    if not points:
        raise BadInput(Problem("it holds no measured point", Where(str(path))))
    return points


def _recognise(text: str, path: Path) -> str:
    for name in (*_ORDER, *(name for name in READERS if name not in _ORDER)):
        if READERS.get(name).recognises(text):
            return name
    known = "; ".join(f"{name}: {READERS.get(name).looks_like}" for name in READERS)
    raise BadInput(Problem("no known result format", Where(str(path), 1, 1), known))


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except OSError as error:
        raise BadInput(Problem(f"cannot read it: {error.strerror or error}", Where(str(path)))) from error
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise BadInput(Problem("it is not UTF-8 text or a whole gzip file", Where(str(path)))) from error
