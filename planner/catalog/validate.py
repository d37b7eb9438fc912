"""Data -> noun; every mistake becomes a Problem with file, line, column, path and a sentence a person can act on.

Not where rules live: fields and limits are declared in `planner.spec`; this file only finds words and places for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from planner.catalog.document import Document, Path_
from planner.catalog.shape import fields_at, is_required, kinds_at
from planner.errors import BadInput, Problem, did_you_mean
from planner.spec.base import yaml_name

Noun = TypeVar("Noun", bound=BaseModel)
_Say = Callable[[ErrorDetails], tuple[str, str]]


def as_noun(document: Document, noun: type[Noun]) -> Noun:
    """The document as a `noun`; BadInput with every mistake in it."""
    value, problems = check_noun(document, noun)
    if value is None or problems:
        raise BadInput(*problems)
    return value


def check_noun(document: Document, noun: type[Noun]) -> tuple[Noun | None, tuple[Problem, ...]]:
    """The document as a noun, or None; and the mistakes, in the order of the file."""
    try:
        # Through JSON, because strict JSON takes a list for a tuple but never true for 1 or "3" for 3.
        value = noun.model_validate_json(json.dumps(document.data), strict=True)
    except ValidationError as error:
        found = [_problem(document, noun, e) for e in error.errors(include_url=False) if _is_true(e)]
        read = {p.where for p in document.problems}  # said already, in better words
        return None, in_order((*document.problems, *(p for p in found if p.where not in read)))
    return value, document.problems


def in_order(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Problems by place, each place named once."""
    by_place = {(p.where, p.what.partition(":")[0]): p for p in reversed(problems)}
    return tuple(sorted(by_place.values(), key=lambda p: (p.where.file, p.where.line, p.where.column)))


def _is_true(error: ErrorDetails) -> bool:
    """pydantic also calls a list too short whose entries are wrong."""
    return error["type"] != "too_short" or len(error["input"]) < error["ctx"]["min_length"]


def _problem(document: Document, noun: type[BaseModel], error: ErrorDetails) -> Problem:
    kind = error["type"]
    loc = _real_path(document, error["loc"], missing=kind == "missing")
    if kind == "extra_forbidden":
        known = fields_at(noun, loc[:-1], document.value((*loc[:-1], "kind")))
        return document.problem(loc, "unknown field", _nearest(str(loc[-1]), known), key=True)
    if kind == "missing":
        return document.problem(loc, "is missing")
    if kind == "union_tag_not_found":
        return document.problem((*loc, "kind"), "is missing", f"one of {', '.join(kinds_at(noun, loc))}")
    error["input"] = document.value(loc)  # as written, before any conversion
    what, hint = _SAY.get(kind, _as_it_is)(error)
    return document.problem(loc, what, hint or _hint(document, noun, loc, kind))


def _nearest(word: str, known: list[str]) -> str:
    return did_you_mean(word, known) or (f"known here: {', '.join(known)}" if known else "")


def _hint(document: Document, noun: type[BaseModel], path: Path_, kind: str) -> str:
    """Hints that need the text as written: about empty values, quotes and brackets."""
    given, raw = document.value(path), document.raw(path)
    if given is None:
        return "" if is_required(noun, path) else "give a value or leave the line out"
    if kind == "string_type" and raw:
        return f"put it in quotes: '{raw}'"
    if kind in ("tuple_type", "list_type") and raw:
        return f"write [{raw}]"
    return "remove the quotes" if raw is None and isinstance(given, str) and _is_number(given) else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _real_path(document: Document, loc: Path_, *, missing: bool) -> Path_:
    """pydantic's location in the words of the file: without names of union branches, with the key as it is written."""
    spot, path = document.top, cast(Path_, ())
    for step in loc:
        written = _written(step, spot.parts)
        if written is not None:
            path, spot = (*path, written), spot.parts[written]
    return (*path, loc[-1]) if missing else path


def _written(step: str | int, parts: Mapping[str | int, object]) -> str | int | None:
    """The key in the file: the YAML name, or the full name with its unit, which is accepted too."""
    if step in parts:
        return step
    return next((key for key in parts if isinstance(key, str) and yaml_name(key) == step), None)


def _shown(value: Any) -> str:
    """The user's value in a message: text in quotes, long things by their kind."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1] if isinstance(value, str) else ''}"


def _expected(thing: str) -> _Say:
    def say(error: ErrorDetails) -> tuple[str, str]:
        if error["input"] is None:
            return f"is empty, expected {thing}", ""
        return f"expected {thing}, not {_shown(error['input'])}", ""

    return say


def _bound(words: str, key: str) -> _Say:
    def say(error: ErrorDetails) -> tuple[str, str]:
        return f"must be {words} {error['ctx'][key]:g}, not {_shown(error['input'])}", ""

    return say


def _one_of(error: ErrorDetails) -> tuple[str, str]:
    expected, given = str(error["ctx"]["expected"]), error["input"]
    known = [word.strip("'") for word in expected.replace(" or ", ", ").split(", ")]
    hint = did_you_mean(given, known) if isinstance(given, str) else ""
    return f"must be {expected}, not {_shown(given)}" if len(
        known
    ) == 1 else f"must be one of {expected}, not {_shown(given)}", hint


def _too_few(error: ErrorDetails) -> tuple[str, str]:
    least = error["ctx"]["min_length"]
    return f"needs at least {least} {'entry' if least == 1 else 'entries'}, has {len(error['input'])}", ""


def _too_many(error: ErrorDetails) -> tuple[str, str]:
    return f"takes at most {error['ctx']['max_length']} entries, has {len(error['input'])}", ""


def _our_words(error: ErrorDetails) -> tuple[str, str]:
    """What a validator of `planner.spec` or `planner.units` said."""
    what, _, hint = str(error["ctx"]["error"]).partition(" - ")
    return what, hint


def _located(error: ErrorDetails) -> tuple[str, str]:
    """What `planner.spec.checks.wrong` said."""
    what, _, hint = str(error["ctx"]["what"]).partition(" - ")
    return what, hint


def _branch(error: ErrorDetails) -> tuple[str, str]:
    key, given = str(error["ctx"]["discriminator"]).strip("'"), str(error["ctx"]["tag"])
    known = [word.strip("'") for word in str(error["ctx"]["expected_tags"]).split(", ")]
    return f"unknown {key} {given!r}", did_you_mean(given, known) or f"one of {', '.join(known)}"


def _as_it_is(error: ErrorDetails) -> tuple[str, str]:
    message = error["msg"]
    return message[:1].lower() + message[1:], ""


_WHOLE, _NUMBER, _TEXT = _expected("a whole number"), _expected("a number"), _expected("text")
_LIST, _MAPPING, _FLAG = _expected("a list"), _expected("'key: value' lines"), _expected("true or false")
_SAY: dict[str, _Say] = {
    **dict.fromkeys(("int_type", "int_from_float", "int_parsing", "int_parsing_size"), _WHOLE),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), _NUMBER),
    **dict.fromkeys(("bool_type", "bool_parsing"), _FLAG),
    **dict.fromkeys(("tuple_type", "list_type"), _LIST),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), _MAPPING),
    **dict.fromkeys(("value_error", "assertion_error"), _our_words),
    "union_tag_invalid": _branch,
    "wrong": _located,
    "string_type": _TEXT,
    "literal_error": _one_of,
    "greater_than": _bound("greater than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "too_short": _too_few,
    "too_long": _too_many,
}
