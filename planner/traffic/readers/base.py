"""What every trace reader is made of: the registry, CSV columns by name, JSON fields. Not any one format."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from planner.errors import BadInput, Problem, Where, did_you_mean
from planner.registry import Registry
from planner.traffic.recorded import Recorded, Sheet


@dataclass(frozen=True, slots=True)
class Reader:
    """One trace format: `recognises` the head of a file, `read`s its text (second argument: file name for errors)."""

    looks_like: str
    recognises: Callable[[str], bool]
    read: Callable[[TextIO, str], Recorded]


READERS: Registry[Reader] = Registry("trace-reader")


def header(head: str) -> set[str]:
    """Column names of a CSV head, in lower case."""
    return set(_names(head.split("\n", 1)[0].split(",")))


def _names(cells: Sequence[str]) -> list[str]:
    return [cell.strip().strip('"').lower() for cell in cells]


@dataclass(frozen=True, slots=True)
class Columns:
    """Names (lower case) of the columns of a CSV trace; `time` empty when it holds lengths only."""

    time: str
    input: str
    output: str
    to_seconds: Callable[[str], float] = float

    @property
    def all(self) -> tuple[str, ...]:
        """The names that must be present."""
        return tuple(name for name in (self.time, self.input, self.output) if name)


def read_columns(text: TextIO, file: str, columns: Columns) -> Sheet:
    """Every row of a CSV file by column name; rows that do not parse become problems of the sheet."""
    rows = _rows(text, file)
    first = next(rows, None)
    if first is None:
        raise BadInput(Problem("the trace is empty", Where(file)))
    places = _places(first[1], columns, Where(file, first[0]))
    sheet = Sheet(file)
    for line, cells in rows:
        try:
            values = [cells[place] for place in places]
            time_s = columns.to_seconds(values[0]) if columns.time else 0.0
            sheet.add(line, time_s, float(values[-2]), float(values[-1]))
        except (ValueError, IndexError):
            sheet.refuse(line, _unreadable(cells, places, columns))
    return sheet


def _rows(text: TextIO, file: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not blank."""
    reader = csv.reader(text)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except csv.Error as error:
        raise BadInput(Problem(f"not CSV: {error}", Where(file, reader.line_num))) from error


def _places(cells: list[str], columns: Columns, where: Where) -> list[int]:
    names = _names(cells)
    missing = [name for name in columns.all if name not in names]
    if missing:
        raise BadInput(*(Problem(f"column {name!r} is missing", where, did_you_mean(name, names)) for name in missing))
    return [names.index(name) for name in columns.all]


def _unreadable(cells: list[str], places: list[int], columns: Columns) -> str:
    """Which cell of a row is missing or not a number."""
    readers = [columns.to_seconds, float, float][-len(places) :]
    for place, name, convert in zip(places, columns.all, readers, strict=True):
        if place >= len(cells):
            return f"the row has {len(cells)} cells, {name!r} is cell {place + 1}"
        try:
            convert(cells[place])
        except ValueError:
            kind = "number" if convert is float else "time"
            return f"{name!r} is not a {kind}: {cells[place]!r}"
    raise AssertionError("every cell of a refused row reads well")


def number(record: dict[str, Any], key: str) -> float:
    """A JSON number; ValueError says what is wrong instead."""
    if key not in record:
        raise ValueError(f"{key!r} is missing")
    value = record[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key!r} is not a number: {value!r}")
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{key!r} is too large") from error
