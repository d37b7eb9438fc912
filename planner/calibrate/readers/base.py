"""What readers of benchmark results share: the registry, JSON with places, numbers that are checked. Not any format.

Every reader turns a result into the cells of the measured table (`rows.py`): milliseconds, tokens per second of the
whole deployment, and TPOT = (e2e - ttft) / (output tokens - 1). What a result does not say stays empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from planner.catalog.yaml_reader import parse_yaml
from planner.errors import BadInput, Problem, Where
from planner.registry import Registry

Cells = dict[str, str]
LARGEST = 1e18
LOCATED_BYTES = 2 * 2**20
"""Up to this size a mistake in a JSON file is told with its line; finding it means reading the text again."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured point as cells of the table, and where it was read."""

    cells: Cells
    where: Where


@dataclass(frozen=True, slots=True)
class Reader:
    """One format. tpot: how it defines the time per output token, and what the reader does about it."""

    looks_like: str
    tpot: str
    recognises: Callable[[str], bool]
    read: Callable[[str, str], list[Measured]]


READERS: Registry[Reader] = Registry("result-reader")


@dataclass(frozen=True, slots=True)
class Json:
    """A JSON object inside a file. `path` leads to it; mistakes are told with file, line and path."""

    file: str
    text: str
    data: Any
    path: tuple[str | int, ...] = ()
    line: int = 0

    def at(self, *path: str | int) -> Json:
        """The part at `path`; BadInput when it is not there."""
        part = self.data
        for depth, step in enumerate(path):
            inside = part.get(step) if isinstance(part, dict) else None
            if isinstance(part, list) and isinstance(step, int) and step < len(part):
                inside = part[step]
            if inside is None:
                raise BadInput(Problem(f"{self._name(*path[: depth + 1])}: is missing", self.where(*path[:depth])))
            part = inside
        return Json(self.file, self.text, part, (*self.path, *path), self.line)

    def has(self, *path: str | int) -> bool:
        try:
            self.at(*path)
        except BadInput:
            return False
        return True

    def number(self, *path: str | int) -> float:
        """A finite number that is not negative."""
        found = self.at(*path).data
        wrong = isinstance(found, bool) or not isinstance(found, int | float)
        if wrong or not 0 <= found <= LARGEST:
            what = f"{self._name(*path)}: expected a finite number, not negative, not {str(found)[:40]!r}"
            raise BadInput(Problem(what, self.where(*path)))
        return float(found)

    def problem(self, what: str, *path: str | int, hint: str = "") -> BadInput:
        return BadInput(Problem(f"{self._name(*path)}: {what}", self.where(*path), hint))

    def where(self, *path: str | int) -> Where:
        """Line and column of a part, as far as they can be told."""
        if self.line or len(self.text) > LOCATED_BYTES:
            return Where(self.file, self.line, 1 if self.line else 0)
        try:
            return parse_yaml(self.text, self.file).where((*self.path, *path))
        except BadInput:  # JSON that is no YAML (a repeated key): the file is all that can be told
            return Where(self.file)

    def _name(self, *path: str | int) -> str:
        text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in (*self.path, *path))
        return text.removeprefix(".") or "the document"


def read_json(text: str, file: str, line: int = 0) -> Json:
    """A JSON object; BadInput with line and column when it is none. `line`: of the text inside its file."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        raise BadInput(_not_json(error, file, line)) from error
    if not isinstance(data, dict):
        raise BadInput(Problem("expected a JSON object", Where(file, line or 1, 1)))
    return Json(file, text, data, (), line)


def _not_json(error: Exception, file: str, line: int) -> Problem:
    if isinstance(error, json.JSONDecodeError):
        place = Where(file, (line or 1) + error.lineno - 1, error.colno)
        return Problem(f"not JSON: {error.msg.lower()}", place)
    what = "nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"
    return Problem(f"not JSON to read here: {what}", Where(file, line))


def as_object(head: str) -> bool:
    """Whether a text starts as a JSON object."""
    return head.lstrip("\ufeff \t\r\n").startswith("{")


def cells_of(values: Mapping[str, float | str | None]) -> Cells:
    """Cells of what is known; numbers keep every digit."""
    return {
        name: value if isinstance(value, str) else repr(value) for name, value in values.items() if value is not None
    }
