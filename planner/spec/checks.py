"""Small checks that several nouns share: shares written as percentages, names, and mistakes with the field they are in.

Not a validation framework: pydantic does the work.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

Path = tuple[str | int, ...]
_PERCENT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*%\s*$")
_LONGEST_NAME = 80
_Percent = Annotated[str, Field(pattern=r"^\s*(\d+(\.\d*)?|\.\d+)\s*%\s*$", examples=["5%"])]


def _as_share(value: object) -> object:
    """0.05 from "5%"; anything else is left to the field."""
    found = _PERCENT.match(value) if isinstance(value, str) else None
    if found:
        return float(found[1]) / 100
    if isinstance(value, str):
        raise ValueError(f"expected a share like 0.95 or 95%, not {value!r}")
    return value


def _is_a_name(text: str) -> str:
    if not text.strip():
        raise ValueError("a name is needed, not empty text")
    if not text.isprintable():
        raise ValueError("a name is one line without control characters")
    if len(text) > _LONGEST_NAME:
        raise ValueError(f"a name has at most {_LONGEST_NAME} characters, not {len(text)}")
    return text


Share = Annotated[float, BeforeValidator(_as_share, json_schema_input_type=float | _Percent)]
"""A ratio: 0.05 or "5%"."""
Name = Annotated[str, AfterValidator(_is_a_name), WithJsonSchema({"type": "string", "minLength": 1})]
"""How the user calls a thing: one line, not empty."""


def wrong(noun: object, mistakes: Iterable[tuple[Path, str]]) -> None:
    """Raise all mistakes of a noun at once, each at its path inside the noun; do nothing when there is none."""
    details = [InitErrorDetails(type=_error(what), loc=path, input=None) for path, what in mistakes]
    if details:
        raise ValidationError.from_exception_data(type(noun).__name__, details)


def twice(names: Iterable[object]) -> Iterable[int]:
    """Positions of the names that stand earlier already."""
    seen: set[Any] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield index
        seen.add(name)


def _error(what: str) -> PydanticCustomError:
    return PydanticCustomError("wrong", "{what}", {"what": what})
