"""A user's own measured operators and steps: CSV -> rows by kind and shape, each with its line. It prices nothing.

Columns are those of COLUMNS (docs/estimators.md); which of them a kind needs is in SHAPES. Shapes of operators are
those on one GPU. Other columns are ignored.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import get_args

from planner.errors import BadInput, Problem, Where, did_you_mean, raise_all
from planner.spec.precision import Dtype, KvDtype

# kind -> (columns that name one shape, columns along which it was measured)
SHAPES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "gemm": (("weights", "n", "k"), ("tokens",)),
    "moe": (("weights", "experts", "top_k", "ep", "width", "inner"), ("tokens",)),
    "decode_attention": (("kv", "heads", "kv_heads", "head_dim"), ("batch", "context")),
    "prefill_attention": (("heads", "kv_heads", "head_dim"), ("tokens",)),
    "all_reduce": (("gpus",), ("bytes",)),
    "all_gather": (("gpus",), ("bytes",)),
    "reduce_scatter": (("gpus",), ("bytes",)),
    "all_to_all": (("gpus",), ("bytes",)),
    "decode_step": (("model", "weights", "kv", "tp", "dp", "ep"), ("batch", "context")),
    "prefill_step": (("model", "weights", "kv", "tp", "dp", "ep"), ("tokens",)),
}
DEFAULTS = {"kv": "bf16", "tp": "1", "dp": "1", "ep": "1"}
WORDS = {"model": (), "weights": get_args(Dtype), "kv": get_args(KvDtype)}
COLUMNS = ("kind", "seconds", *dict.fromkeys(name for shape, along in SHAPES.values() for name in (*shape, *along)))
MOST_PROBLEMS = 20

Shape = tuple[str | float, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement: `along` in the order of SHAPES. where: the cell of its seconds."""

    along: tuple[float, ...]
    seconds: float
    where: Where


@dataclass(frozen=True, slots=True)
class MeasuredTable:
    """Rows by kind and shape."""

    path: str
    rows: Mapping[tuple[str, Shape], tuple[Row, ...]]

    def find(self, kind: str, *shape: str | float) -> tuple[Row, ...]:
        """All rows of one shape; none when it was not measured."""
        return self.rows.get((kind, shape), ())


def measured_table(path: str) -> MeasuredTable:
    """The table in a CSV file; BadInput with line, column and name of every cell that cannot be read."""
    return _read(path, Path(path).stat().st_mtime_ns if Path(path).is_file() else 0)


@cache
def _read(path: str, _stamp: int) -> MeasuredTable:
    lines = csv.reader(io.StringIO(_text(path), newline=""))
    header = [name.strip() for name in next(lines, [])]
    _check_header(path, header)
    found: dict[tuple[str, Shape], list[Row]] = {}
    problems: list[Problem] = []
    for cells in filter(any, lines):
        line = _Line(path, lines.line_num, header, cells)
        kind, shape, row = line.read()
        problems += line.problems
        if row:
            found.setdefault((kind, shape), []).append(row)
    raise_all(problems[:MOST_PROBLEMS])
    return MeasuredTable(path, {key: tuple(rows) for key, rows in found.items()})


def _text(path: str) -> str:
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadInput(Problem(f"cannot read it: {error.strerror or error}", Where(path))) from error
    except UnicodeDecodeError as error:
        raise BadInput(Problem("it is not UTF-8 text", Where(path))) from error


def _check_header(path: str, header: list[str]) -> None:
    missing = [name for name in ("kind", "seconds") if name not in header]
    if missing:
        hint = did_you_mean(missing[0], header) or f"columns are {', '.join(COLUMNS)}"
        raise BadInput(Problem(f"no column {' and no column '.join(missing)}", Where(path, 1, 1), hint))


class _Line:
    """One line being read; `problems` fills up."""

    def __init__(self, path: str, line: int, header: list[str], cells: list[str]):
        self.place, self.header = (path, line), header
        self.cells = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
        self.problems: list[Problem] = []

    def read(self) -> tuple[str, Shape, Row | None]:
        kind = self.cells.get("kind", "")
        if kind not in SHAPES:
            self._wrong("kind", f"{kind!r} is no kind", did_you_mean(kind, SHAPES) or f"one of {', '.join(SHAPES)}")
            return kind, (), None
        shape, along = SHAPES[kind]
        named = tuple(self._word(name) if name in WORDS else self._number(name) for name in shape)
        measured, seconds = tuple(map(self._number, along)), self._number("seconds")
        return kind, named, None if self.problems else Row(measured, seconds, self._where("seconds"))

    def _word(self, name: str) -> str:
        text, known = self.cells.get(name) or DEFAULTS.get(name, ""), WORDS[name]
        if not text or (known and text not in known):
            hint = did_you_mean(text, known) or (f"one of {', '.join(known)}" if known else "")
            self._wrong(name, f"{text!r} is not a {name} format" if known else "is missing", hint)
        return text

    def _number(self, name: str) -> float:
        text = self.cells.get(name) or DEFAULTS.get(name, "")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            self._wrong(name, f"{text!r} is not a positive number" if text else "is missing")
        return value

    def _wrong(self, name: str, what: str, hint: str = "") -> None:
        self.problems.append(Problem(f"{name}: {what}", self._where(name), hint))

    def _where(self, name: str) -> Where:
        """Line of the file and number of the column, 1 where the column is missing."""
        column = self.header.index(name) + 1 if name in self.header else 1
        return Where(*self.place, column)
