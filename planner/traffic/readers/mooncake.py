"""Mooncake JSONL traces: timestamp (ms), input_length, output_length on each line, and prefix hashes if there are any.

A hash names 512 prompt tokens and all before them; the last one of a prompt may stand for fewer and is left out.
Format: github.com/kvcache-ai/Mooncake, FAST25 release (Apache-2.0). Its conversation trace has times rounded to 3 s.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any, TextIO

import numpy as np

from planner.spec.requests import Chains
from planner.traffic.readers.base import READERS, Reader, number
from planner.traffic.recorded import Recorded, Sheet

COARSEST_GRID_S = 3.0
"""The coarsest rounding that was published; a short file may show a larger step by chance."""


HASHED_TOKENS = 512


def recognises(head: str) -> bool:
    """True when the first line is an object with a timestamp and an input length."""
    first = head.lstrip().split("\n", 1)[0]
    return first.startswith("{") and '"timestamp"' in first and '"input_length"' in first


def read(text: TextIO, file: str) -> Recorded:
    """One request per line; times from the first, with the grid they were rounded to."""
    sheet, hashes = Sheet(file), list[list[int]]()
    for line, content in enumerate(text, start=1):
        if content.strip():
            _add(sheet, hashes, line, content)
    recorded = sheet.finish(grid_s=min(_grid_s(sheet.times), COARSEST_GRID_S))
    return replace(recorded, chains=_chains(hashes)) if any(hashes) else recorded


def _add(sheet: Sheet, hashes: list[list[int]], line: int, content: str) -> None:
    try:
        record = json.loads(content)
        if not isinstance(record, dict):
            raise ValueError("expected an object")
        time_s, inputs, outputs = _row(record)
        hashes.append(_whole(record.get("hash_ids", []), inputs))
        sheet.add(line, time_s, inputs, outputs)
    except json.JSONDecodeError as error:
        sheet.refuse(line, f"not JSON: {error.msg}")
    except (ValueError, RecursionError) as error:
        sheet.refuse(line, str(error))


def _row(record: dict[str, Any]) -> tuple[float, float, float]:
    return number(record, "timestamp") / 1e3, number(record, "input_length"), number(record, "output_length")


def _whole(hashes: Any, input_tokens: float) -> list[int]:
    """Hashes of whole blocks of the prompt."""
    if not isinstance(hashes, list) or not all(type(one) is int and one >= 0 for one in hashes):
        raise ValueError(f"'hash_ids' is not a list of whole numbers from 0: {str(hashes)[:40]!r}")
    return hashes[: int(input_tokens // HASHED_TOKENS)]


def _chains(hashes: list[list[int]]) -> Chains:
    count = np.array([len(row) for row in hashes], np.int64)
    links = np.array([one for row in hashes for one in row], np.int64)
    return Chains(np.cumsum(count) - count, count, links, HASHED_TOKENS)


def _grid_s(times_s: list[float]) -> float:
    """Smallest step between times where several requests share one time; 0 when none do."""
    distinct = sorted(set(times_s))
    if len(distinct) == len(times_s):
        return 0.0
    return min((after - before for before, after in pairwise(distinct)), default=0.0)


LOOKS_LIKE = '{"timestamp": ms, "input_length": n, "output_length": n[, "hash_ids": [...]]} per line'
READERS.register("mooncake")(Reader(LOOKS_LIKE, recognises, read))
