"""Plain CSV traces: arrival_s, input_tokens, output_tokens; other columns are ignored. Not a published format."""

from __future__ import annotations

from typing import TextIO

from planner.traffic.readers.base import READERS, Columns, Reader, header, read_columns
from planner.traffic.recorded import Recorded

COLUMNS = Columns("arrival_s", "input_tokens", "output_tokens")


def recognises(head: str) -> bool:
    """True for the three columns, in any order and among others."""
    return header(head) >= set(COLUMNS.all)


def read(text: TextIO, file: str) -> Recorded:
    """Rows as they stand; times in seconds from any start."""
    return read_columns(text, file, COLUMNS).finish()


READERS.register("csv")(Reader("arrival_s,input_tokens,output_tokens", recognises, read))
