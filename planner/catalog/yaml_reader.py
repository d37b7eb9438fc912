"""YAML text -> plain data, and the line and column of each part of it.

Not a general YAML library: it reads what a person writes by hand. Scalars are those of the YAML 1.2 core schema (only
true and false are booleans, 1e3 is a number, 12:30 is text). Anchors, tags, duplicate keys, infinities and a second
document are refused, so that a file means what it shows and cannot grow while it is read.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from planner.catalog.document import Document, Path_, Spot, printable
from planner.catalog.yaml_errors import not_yaml
from planner.errors import BadInput, Problem, Where

MAX_BYTES = 16 * 2**20
MAX_DEPTH = 64
_MAX_DIGITS = 300

# YAML 1.2.2, section 10.3.2 (core schema): which plain scalars are not text.
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+$")
_RADIX = re.compile(r"0o[0-7]+$|0x[0-9a-fA-F]+$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$")
_NUMBER_STARTS = frozenset("+-.0123456789")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_yaml(path: str | Path, shown_as: str = "") -> Document:
    """The document in a file; BadInput when it cannot be opened or is not YAML."""
    file = shown_as or str(path)
    return parse_yaml(read_text(Path(path), file), file)


def parse_yaml(text: str, file: str = "") -> Document:
    """The document in a text; BadInput when it is not YAML."""
    if found := _UNPRINTABLE.search(text):
        line, column = text.count("\n", 0, found.start()), found.start() - text.rfind("\n", 0, found.start())
        code = f"U+{ord(found[0]):04X}"
        raise BadInput(Problem(f"not text: the control character {code} stands here", Where(file, line + 1, column)))
    return _Builder(file, text).document()


def read_text(path: Path, file: str) -> str:
    """The UTF-8 text of a file of at most MAX_BYTES."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise BadInput(_cannot_open(path, file, error)) from None
    if len(content) > MAX_BYTES:
        raise BadInput(Problem(f"larger than {MAX_BYTES // 2**20} MiB: not a file to read here", Where(file)))
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = content[: error.start].decode("utf-8-sig")
        place = Where(file, good.count("\n") + 1, len(good) - good.rfind("\n"))
        what = f"not UTF-8 text: byte 0x{content[error.start]:02x} stands here"
        raise BadInput(Problem(what, place, "save the file as UTF-8")) from None


def _cannot_open(path: Path, file: str, error: Exception) -> Problem:
    if isinstance(error, FileNotFoundError):
        return Problem("no such file", Where(file), _similar_file(path))
    if isinstance(error, IsADirectoryError):
        return Problem("a directory, not a file", Where(file))
    if isinstance(error, PermissionError):
        return Problem("may not be read: permission denied", Where(file))
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Problem(f"cannot be read: {reason.lower()}", Where(file))


def _similar_file(path: Path) -> str:
    try:
        names = [p.name for p in path.parent.iterdir()]
    except (OSError, ValueError):
        return f"the folder {path.parent} does not exist"
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.6)
    return f"did you mean {str(path.parent / close[0])!r}?" if close else ""


class _Parser(Protocol):
    def check_event(self, *choices: type[Event]) -> bool: ...
    def get_event(self) -> Event | None: ...


def _events(text: str, file: str) -> Iterator[Event]:
    """Parser events; the C parser where it is installed."""
    parser: _Parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        while parser.check_event():
            event = parser.get_event()
            if event is not None:
                yield event
    except yaml.YAMLError as error:
        raise BadInput(not_yaml(error, text, file)) from None


@dataclass(slots=True)
class _Open:
    """A mapping or list that is still being read; `key` is the one that waits for its value, `step` leads to it."""

    data: dict[str, Any] | list[Any]
    spot: Spot
    step: str | int
    key: str | None = None


class _Builder:
    """Builds data and spots from parser events with its own stack, so that depth is bounded and nothing is shared."""

    def __init__(self, file: str, text: str):
        self.file, self.text = file, text
        self.mistakes: list[tuple[Path_, Where, str, str]] = []
        self.stack: list[_Open] = []
        self.data: Any = None
        self.top = Spot(0, 0)

    def document(self) -> Document:
        documents = 0
        for event in _events(self.text, self.file):
            if isinstance(event, ScalarEvent):
                self._scalar(event)
            elif isinstance(event, MappingStartEvent | SequenceStartEvent):
                self._open(event)
            elif isinstance(event, MappingEndEvent | SequenceEndEvent):
                self.stack.pop()
            elif isinstance(event, AliasEvent):
                self._stop(event, f"*{event.anchor} repeats another part", "write the part out again")
            elif isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._stop(event, "a second document starts here", "one file holds one document: remove '---'")
        if self.data is None and not self.mistakes:
            raise BadInput(Problem("the file is empty", Where(self.file, 1, 1)))
        return Document(self.file, self.data, self.top, self._problems())

    def _problems(self) -> tuple[Problem, ...]:
        read = Document(self.file, self.data, self.top)
        named = ((f"{name}: {what}" if (name := read.name(path)) else what, w, h) for path, w, what, h in self.mistakes)
        return tuple(Problem(what, where, hint) for what, where, hint in named)

    def _mistake(self, event: Event, path: Path_, what: str, hint: str) -> None:
        """A mistake that does not stop the reading."""
        self.mistakes.append((path, self._where(event), what, hint))

    def _path(self) -> Path_:
        """Path of the value that is read next."""
        if not self.stack:
            return ()
        inner = self.stack[-1]
        return (
            *(part.step for part in self.stack[1:]),
            len(inner.data) if isinstance(inner.data, list) else inner.key or "",
        )

    def _open(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        self._plain_only(event)
        data: dict[str, Any] | list[Any] = {} if isinstance(event, MappingStartEvent) else []
        if self.stack and isinstance(self.stack[-1].data, dict) and self.stack[-1].key is None:
            self._stop(event, "a key must be a word", "text that starts with { or [ needs quotes")
        if len(self.stack) >= MAX_DEPTH:
            self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
        spot = Spot(*_place_of(event))
        path = self._path()
        self._place(data, spot)
        self.stack.append(_Open(data, spot, path[-1] if path else ""))

    def _scalar(self, event: ScalarEvent) -> None:
        self._plain_only(event)
        parent = self.stack[-1] if self.stack else None
        if parent and isinstance(parent.data, dict) and parent.key is None:
            self._key(parent, event)
            return
        plain = not event.style  # the C parser says "", the other None
        spot = Spot(*_place_of(event), event.value if plain else None)
        self._place(self._value(event) if plain else event.value, spot)

    def _key(self, parent: _Open, event: ScalarEvent) -> None:
        key = event.value
        if key == "<<" and not event.style:
            self._stop(event, "'<<' merges another part", "write the part out again")
        if first := parent.spot.keys.get(key):
            path = (*self._path()[:-1], key)
            self._mistake(event, path, "is given twice", f"first at line {first[0] + 1}, keep one")
        else:
            parent.spot.keys[key] = _place_of(event)
        parent.key = key

    def _place(self, value: Any, spot: Spot) -> None:
        if not self.stack:
            self.data, self.top = value, spot
            return
        parent = self.stack[-1]
        if isinstance(parent.data, list):
            parent.spot.parts[len(parent.data)] = spot
            parent.data.append(value)
        elif parent.key is not None:
            if parent.key not in parent.data:  # of duplicates the first one stays
                parent.data[parent.key] = value
                parent.spot.parts[parent.key] = spot
            parent.key = None

    def _value(self, event: ScalarEvent) -> bool | int | float | str | None:
        text: str = event.value
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if text[0] not in _NUMBER_STARTS:
            return text
        if _INT.match(text) or _FLOAT.match(text) or _NOT_FINITE.match(text):
            return self._number(event)
        return int(text, 0) if _RADIX.match(text) and len(text) < _MAX_DIGITS else text

    def _number(self, event: ScalarEvent) -> int | float | None:
        """A finite number; 1e3 and 2.5e6 are whole numbers because nobody writes a million otherwise."""
        text: str = event.value
        value = math.inf if _NOT_FINITE.match(text) or len(text) > _MAX_DIGITS else float(text)
        if not math.isfinite(value):
            self._mistake(event, self._path(), f"must be a finite number, not {printable(text, 40)}", "")
            return None
        if _INT.match(text):
            return int(text)
        return int(value) if value.is_integer() and abs(value) < 2**53 and "e" in text.lower() else value

    def _plain_only(self, event: ScalarEvent | MappingStartEvent | SequenceStartEvent) -> None:
        if event.anchor is not None:
            self._stop(
                event, f"&{event.anchor} marks a part for repetition", "remove it and write parts out where used"
            )
        if event.tag is not None:
            self._stop(event, f"the tag {event.tag} is not used here", "quote text that starts with '!'")

    def _where(self, event: Event) -> Where:
        line, column = _place_of(event)
        return Where(self.file, line + 1, column + 1)

    def _stop(self, event: Event, what: str, hint: str = "") -> None:
        raise BadInput(*self._problems(), Problem(what, self._where(event), hint))


def _place_of(event: Event) -> tuple[int, int]:
    mark = event.start_mark
    return (mark.line, mark.column) if mark is not None else (0, 0)
