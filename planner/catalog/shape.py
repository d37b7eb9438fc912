"""Which nouns and fields are inside a noun: what error messages and schemas are made of. Not a validator."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from planner.catalog.document import Path_


def fields_at(noun: type[BaseModel], path: Path_, kind: object = None) -> list[str]:
    """YAML names of the fields that may stand in the mapping at `path`; only those of branch `kind` of a union."""
    branches = _nouns_at(noun, path)
    chosen = [branch for branch in branches if kind is not None and _kind(branch) == kind] or branches
    return sorted({name for branch in chosen for name in _by_name(branch)})


def kinds_at(noun: type[BaseModel], path: Path_) -> list[str]:
    """Values of `kind` that tell the branches at `path` apart."""
    return [kind for branch in _nouns_at(noun, path) if (kind := _kind(branch))]


def is_required(noun: type[BaseModel], path: Path_) -> bool:
    """Whether the field at `path` may not be left out."""
    fields = [_by_name(found).get(str(path[-1])) for found in _nouns_at(noun, path[:-1])] if path else []
    return any(field is not None and field.is_required() for field in fields)


def nouns_in(noun: type[BaseModel]) -> list[type[BaseModel]]:
    """The noun and every noun that its fields hold, each once."""
    found: dict[type[BaseModel], None] = {}
    waiting: list[Any] = [noun]
    while waiting:
        kind = waiting.pop()
        if _is_noun(kind) and kind not in found:
            found[kind] = None
            waiting += [field.annotation for field in kind.model_fields.values()]
        elif not _is_noun(kind):
            waiting += [part for part in get_args(kind) if part is not kind]
    return list(found)


def _kind(branch: type[BaseModel]) -> str:
    field = branch.model_fields.get("kind")
    return field.default if field is not None and isinstance(field.default, str) else ""


def _by_name(noun: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in noun.model_fields.items()}


def _nouns_at(noun: type[BaseModel], path: Path_) -> list[type[BaseModel]]:
    kinds: list[Any] = [noun]
    for step in path:
        kinds = [inner for kind in kinds for inner in _inside(kind, step)]
    return [kind for kind in kinds if _is_noun(kind)]


def _is_noun(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _inside(kind: Any, step: str | int) -> Iterator[Any]:
    if _is_noun(kind):
        field = _by_name(kind).get(str(step))
        yield from _alternatives(field.annotation) if field else ()
    elif get_origin(kind) is dict:
        yield from _alternatives(get_args(kind)[1])
    elif get_origin(kind) in (tuple, list):
        for item in get_args(kind):
            yield from _alternatives(item)


def _alternatives(kind: Any) -> Iterator[Any]:
    """The branches of a union, without Annotated wrappers."""
    if get_origin(kind) is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif get_origin(kind) in (Union, types.UnionType):
        for branch in get_args(kind):
            yield from _alternatives(branch)
    else:
        yield kind
