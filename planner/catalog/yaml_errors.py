"""The YAML parser's complaints in words that say what to mend. Not a parser: it only translates."""

from __future__ import annotations

from typing import Any

import yaml

from planner.errors import Problem, Where

_INDENT = "check the indentation of this line and of the one above"
# (what the parser reports, what to say, hint); the first entry whose words occur in the report is used
_SAYINGS = (
    ("mapping values are not allowed", "a ':' cannot stand here", f"{_INDENT}, or quote text that contains ': '"),
    ("could not find expected ':'", "expected 'key: value'", "a ':' is missing on this line or the one above"),
    ("did not find expected key", "expected a key of the mapping above", _INDENT),
    ("did not find expected '-' indicator", "expected another '- ' item of the list above", _INDENT),
    ("did not find expected <document start>", "expected the document to end here", _INDENT),
    ("block sequence entries are not allowed", "a '- ' item cannot stand here", "start the list on a new line"),
    (
        "found unknown escape character",
        "unknown escape in a double-quoted text",
        "use single quotes, or \\\\ for one \\",
    ),
    ("found duplicate anchor", "anchors are not used here", "write the part out again"),
    ("directive", "a line that starts with % cannot stand here", "quote it"),
    ("parsing a tag", "a value that starts with ! needs quotes", ""),
    ("anchor", "a value that starts with & or * needs quotes", ""),
    ("expected comment or line break", "text after | or > starts on the next line", "put quotes around the value"),
    ("did not find expected node content", "a value is missing here", "quote text that starts with a bracket"),
    ("Exceeded maximum", "nested too deep", ""),
)
_UNCLOSED = {
    "scanning a quoted scalar": "this quote is never closed",
    "parsing a flow sequence": "this list has no closing ']' or lacks a comma",
    "parsing a flow mapping": "this mapping has no closing '}' or lacks a comma",
}


def not_yaml(error: yaml.YAMLError, text: str, file: str) -> Problem:
    """The parser's error as a located problem."""
    problem, context = getattr(error, "problem", None) or str(error), getattr(error, "context", None) or ""
    mark, opened = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    for phrase, what in _UNCLOSED.items():
        if phrase in context and opened is not None and _is_unclosed(problem):
            return Problem(what, _where(file, opened), _noticed(mark, opened))
    where = _where(file, mark or opened)
    if "cannot start any token" in problem:
        return _bad_start(text, where)
    for phrase, what, hint in _SAYINGS:
        if phrase in problem or phrase in context:
            return Problem(what, where, hint)
    return Problem(f"not YAML: {problem}", where)


def _is_unclosed(problem: str) -> bool:
    return (
        "unexpected end of stream" in problem
        or "document indicator" in problem
        or "did not find expected ','" in problem
    )


def _noticed(mark: Any, opened: Any) -> str:
    return f"noticed at line {mark.line + 1}" if mark is not None and mark.line > opened.line else ""


def _bad_start(text: str, where: Where) -> Problem:
    """A tab used as indentation, or one of the characters that YAML reserves."""
    lines = text.splitlines()
    line = lines[where.line - 1] if 0 < where.line <= len(lines) else ""
    character = line[where.column - 1 : where.column]
    if "\t" in line[: where.column]:
        return Problem("a tab indents this line", where, "YAML is indented with spaces")
    return Problem(f"a value cannot start with {character!r}", where, "put quotes around it")


def _where(file: str, mark: Any) -> Where:
    return Where(file, mark.line + 1, mark.column + 1) if mark is not None else Where(file)
