"""Text tables and documents of recorded runs, plain or gzip, as dicts. Not their meaning: one reader per kind has it."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

from planner.errors import BadInput, Problem, Where


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


def document_of(path: Path) -> Any:
    """A JSON document; BadInput when it is none."""
    try:
        return json.loads(text_of(path))
    except json.JSONDecodeError as error:
        where = Where(str(path), error.lineno, error.colno)
        raise BadInput(Problem(f"is not JSON: {error.msg}", where)) from error
