"""Document: a YAML file as plain data that still knows the line of each part. It neither reads nor validates."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from planner.errors import Problem, Where

Path_ = tuple[str | int, ...]
"""Keys of mappings and positions in lists, from the top of a document to one of its parts."""


@dataclass(slots=True)
class Spot:
    """Where one value stands (from 0), its text as written, and the spots of its parts."""

    line: int
    column: int
    raw: str | None = None
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    parts: dict[str | int, Spot] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """One file as data. `problems` are mistakes that did not stop the reading; `file` is how the user called it."""

    file: str
    data: Any
    top: Spot
    problems: tuple[Problem, ...] = ()

    def where(self, path: Path_ = (), *, key: bool = False) -> Where:
        """Place of the value at `path`, or of its key; of the nearest part above when the path does not exist."""
        spot, place = self.top, (self.top.line, self.top.column)
        for step in path:
            if step not in spot.parts:
                break
            parent, spot = spot, spot.parts[step]
            place = parent.keys.get(str(step), (spot.line, spot.column)) if key else (spot.line, spot.column)
        return Where(self.file, place[0] + 1, place[1] + 1)

    def raw(self, path: Path_) -> str | None:
        """The text of an unquoted scalar exactly as written; None for anything else."""
        spot: Spot | None = self.top
        for step in path:
            spot = spot.parts.get(step) if spot else None
        return spot.raw if spot else None

    def value(self, path: Path_) -> Any:
        """The data at `path`; None where nothing stands."""
        data = self.data
        for step in path:
            data = _inside(data, step)
        return data

    def name(self, path: Path_) -> str:
        """`("classes", 0, "slo")` -> `classes[chat].slo`, or `classes[#1].slo` when the item has no name."""
        text, data = "", self.data
        for step in path:
            data = _inside(data, step)
            text += f"[{printable(_item_name(data, step))}]" if isinstance(step, int) else f".{printable(step)}"
        return text.removeprefix(".")

    def mapping(self, *path: str) -> dict[str, Any]:
        """The mapping at `path`; an empty one when something else stands there."""
        data = self.value(path)
        return data if isinstance(data, dict) else {}

    def items(self, *path: str) -> list[dict[str, Any]]:
        """The list at `path`; an empty mapping stands for each entry that is none, so that positions hold."""
        data = self.mapping(*path[:-1]).get(path[-1])
        return [item if isinstance(item, dict) else {} for item in data] if isinstance(data, list) else []

    def problem(self, path: Path_, what: str, hint: str = "", *, key: bool = False) -> Problem:
        """A problem with the part at `path`, located and named."""
        name = self.name(path)
        return Problem(f"{name}: {what}" if name else what, self.where(path, key=key), hint)


def printable(text: str, most: int = 60) -> str:
    """Text of a file as one short line of a message: no line breaks, no terminal codes, not endless."""
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def quoted(text: str, most: int = 60) -> str:
    """Text of a file in quotes, on one line and not endless."""
    return repr(text if len(text) <= most else f"{text[: most - 3]}...")


def _item_name(item: Any, index: int) -> str:
    """How a person would call an item of a list: by its name where it has one, else by its number from 1."""
    names = [item.get(key) for key in ("name", "node")] if isinstance(item, dict) else []
    return next((name for name in names if isinstance(name, str) and name), f"#{index + 1}")


def _inside(data: Any, step: str | int) -> Any:
    if isinstance(data, dict):
        return data.get(str(step))
    return data[step] if isinstance(data, list) and isinstance(step, int) and step < len(data) else None
