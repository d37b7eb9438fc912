"""Text tables and documents of recorded runs, plain or gzip, as dicts. Not their meaning: each kind has a reader."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

from planner.errors import BadInput, Problem, Where, raise_all


def text_of(path: Path) -> str:
    """The text of a file; BadInput when it cannot be read."""
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise BadInput(Problem(f"cannot be read: {error}", Where(str(path)))) from error


def rows_of(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """Rows of a CSV file; BadInput when one of `columns` is missing."""
    reader = csv.DictReader(io.StringIO(text_of(path)))
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise BadInput(Problem(f"has no column {', '.join(missing)}", Where(str(path)), "is it the file of this run?"))
    return list(reader)


def entries_of(path: Path, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    """The runs that a JSON document describes, one or a list; BadInput when one lacks a field."""
    document = document_of(path)
    entries = document if isinstance(document, list) else [document]
    raise_all([problem for entry in entries for problem in _lacking(entry, fields, Where(str(path)))])
    return entries


def _lacking(entry: Any, fields: tuple[str, ...], where: Where) -> list[Problem]:
    if not isinstance(entry, dict):
        return [Problem("holds something that describes no run", where)]
    missing = [field for field in fields if field not in entry]
    return [Problem(f"a run states no {', '.join(missing)}", where)] if missing else []


def document_of(path: Path) -> Any:
    """A JSON document; BadInput when it is none."""
    try:
        return json.loads(text_of(path))
    except json.JSONDecodeError as error:
        where = Where(str(path), error.lineno, error.colno)
        raise BadInput(Problem(f"is not JSON: {error.msg}", where)) from error
