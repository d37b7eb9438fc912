"""The measured table: one CSV line per point, columns as `serveplan validate` reads them. Nothing is converted."""

from __future__ import annotations

import csv
import io

from planner.calibrate.readers.base import READERS, Measured, Reader
from planner.errors import BadInput, Problem, Where

NEEDED = ("ttft_mean_ms", "ttft_p50_ms", "tpot_mean_ms", "tpot_p50_ms", "e2e_mean_ms")


def recognises(head: str) -> bool:
    names = _names(head.split("\n", 1)[0])
    return any(name in names for name in NEEDED)


def read(text: str, file: str) -> list[Measured]:
    """Every line that is not blank; BadInput names lines with too many cells."""
    lines = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip() for name in next(lines)]
    points, problems = [], []
    for cells in lines:
        where = Where(file, lines.line_num, 1)
        if len(cells) > len(header):
            problems.append(Problem(f"{len(cells)} cells under {len(header)} column names", where, "quote the commas"))
        elif any(cells):
            points.append(Measured(dict(zip(header, cells, strict=False)), where))
    if problems:
        raise BadInput(*problems[:20])
    return points


def _names(line: str) -> list[str]:
    return [name.strip().strip('"') for name in line.split(",")]


READERS.register("table")(
    Reader("a CSV table with columns like isl_mean, osl_mean, load_kind, load_value, ttft_mean_ms, tpot_mean_ms",
           "(e2e - ttft) / (output tokens - 1), as is", recognises, read)
)  # fmt: skip
