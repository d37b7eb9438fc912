"""Mooncake JSONL traces: timestamp (ms), input_length, output_length on each line. Not their prefix hashes.

Format: github.com/kvcache-ai/Mooncake, FAST25 release (Apache-2.0). Its conversation trace has times rounded to 3 s.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, TextIO

from planner.traffic.readers.base import READERS, Reader, number
from planner.traffic.recorded import Recorded, Sheet

COARSEST_GRID_S = 3.0
"""The coarsest rounding that was published; a short file may show a larger step by chance."""


def recognises(head: str) -> bool:
    """True when the first line is an object with a timestamp and an input length."""
    first = head.lstrip().split("\n", 1)[0]
    return first.startswith("{") and '"timestamp"' in first and '"input_length"' in first


def read(text: TextIO, file: str) -> Recorded:
    """One request per line; times from the first, with the grid they were rounded to."""
    sheet = Sheet(file)
    for line, content in enumerate(text, start=1):
        if content.strip():
            _add(sheet, line, content)
    return sheet.finish(grid_s=min(_grid_s(sheet.times), COARSEST_GRID_S))


def _add(sheet: Sheet, line: int, content: str) -> None:
    try:
        record = json.loads(content)
        if not isinstance(record, dict):
            raise ValueError("expected an object")
        sheet.add(line, *_row(record))
    except json.JSONDecodeError as error:
        sheet.refuse(line, f"not JSON: {error.msg}")
    except (ValueError, RecursionError) as error:
        sheet.refuse(line, str(error))


def _row(record: dict[str, Any]) -> tuple[float, float, float]:
    return number(record, "timestamp") / 1e3, number(record, "input_length"), number(record, "output_length")


def _grid_s(times_s: list[float]) -> float:
    """Smallest step between times where several requests share one time; 0 when none do."""
    distinct = sorted(set(times_s))
    if len(distinct) == len(times_s):
        return 0.0
    return min((after - before for before, after in pairwise(distinct)), default=0.0)


LOOKS_LIKE = '{"timestamp": ms, "input_length": n, "output_length": n} per line'
READERS.register("mooncake")(Reader(LOOKS_LIKE, recognises, read))
