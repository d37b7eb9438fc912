"""ShareGPT-like length files: CSV isl,osl or a JSON array of records with token counts; no times. Not a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from planner.errors import BadInput, Problem, Where
from planner.traffic.readers.base import READERS, Columns, Reader, header, number, read_columns
from planner.traffic.recorded import Recorded, Sheet

COLUMNS = Columns("", "isl", "osl")
KEYS = (("isl", "osl"), ("input_tokens", "output_tokens"), ("prompt_len", "output_len"))
_SPACE = " \t\r\n"


def recognises(head: str) -> bool:
    """True for a JSON array, or for the columns isl and osl without times."""
    return head.lstrip().startswith("[") or (header(head) >= set(COLUMNS.all) and "t_s" not in header(head))


def read(text: TextIO, file: str) -> Recorded:
    """Pairs of lengths in file order."""
    content = text.read()
    text.seek(0)
    if not content.lstrip().startswith("["):
        return read_columns(text, file, COLUMNS).finish(timed=False)
    sheet = Sheet(file)
    for line, record in _records(content, file):
        try:
            sheet.add(line, 0.0, *_row(record))
        except ValueError as error:
            sheet.refuse(line, str(error))
    return sheet.finish(timed=False)


def _row(record: Any) -> tuple[float, float]:
    if not isinstance(record, dict):
        raise ValueError("expected an object with isl and osl")
    for one, other in KEYS:
        if one in record:
            return number(record, one), number(record, other)
    if "conversations" in record:
        raise ValueError("the file holds text, not token counts: count the tokens first and give isl and osl")
    raise ValueError("expected isl and osl")


def _records(content: str, file: str) -> Iterator[tuple[int, Any]]:
    """Items of a JSON array with the line each starts on."""
    decode = json.JSONDecoder().raw_decode
    at, counted, line = _skip(content, content.index("[") + 1), 0, 1
    while content[at : at + 1] != "]":
        line, counted = line + content.count("\n", counted, at), at
        try:
            record, end = decode(content, at)
        except json.JSONDecodeError as error:
            raise BadInput(Problem(f"not JSON: {error.msg}", Where(file, error.lineno, error.colno))) from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits; thousands of brackets
            raise BadInput(Problem(f"cannot read the record: {error}", Where(file, line))) from error
        yield line, record
        at = _skip(content, end)
        if content[at : at + 1] == ",":
            at = _skip(content, at + 1)
        elif content[at : at + 1] != "]":
            raise BadInput(Problem("not JSON: expected , or ] after a record", Where(file, line)))


def _skip(content: str, at: int) -> int:
    while at < len(content) and content[at] in _SPACE:
        at += 1
    return at


READERS.register("sharegpt")(Reader("isl,osl or a JSON array of such records", recognises, read))
