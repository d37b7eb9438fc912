"""BurstGPT traces: 6 columns, or 8 with session and elapsed time, read by name. Not its sessions.

Format: github.com/HPMLL/BurstGPT (CC-BY-4.0). Timestamps are whole seconds in most releases; rows whose response has
0 tokens are requests that the recorded service failed, which cost it no decoding: they are counted and left out.
"""

from __future__ import annotations

from typing import TextIO

from planner.traffic.readers.base import READERS, Columns, Reader, header, read_columns
from planner.traffic.recorded import Recorded, Sheet

COLUMNS = Columns("timestamp", "request tokens", "response tokens")


def recognises(head: str) -> bool:
    """True for the three columns that matter, whatever else there is."""
    return header(head) >= set(COLUMNS.all)


def read(text: TextIO, file: str) -> Recorded:
    """Answered requests; whole-second times are marked as rounded to 1 s."""
    sheet = _answered(read_columns(text, file, COLUMNS))
    whole = all(time == int(time) for time in sheet.times if abs(time) < 2**53)
    return sheet.finish(grid_s=1.0 if whole else 0.0)


def _answered(sheet: Sheet) -> Sheet:
    kept = Sheet(sheet.file, problems=sheet.problems)
    for row in zip(sheet.lines, sheet.times, sheet.inputs, sheet.outputs, strict=True):
        if row[3] == 0:
            kept.failed += 1
        else:
            kept.add(*row)
    return kept


READERS.register("burstgpt")(Reader("Timestamp,...,Request tokens,Response tokens,...", recognises, read))
