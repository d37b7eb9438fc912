"""Document: plan.json between disk and Plan, with the rules of its schema version. Not a judgement of the plan."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from planner.errors import BadInput, Problem, Where
from planner.spec.plan import SCHEMA_VERSION, Plan


def read_plan(path: str | Path) -> Plan:
    """The plan in a file. Unknown fields of a newer minor version are ignored; another major version is refused."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(Problem(_why_unreadable(error), Where(str(path)))) from error
    return parse_plan(text, str(path))


def parse_plan(text: str, file: str = "") -> Plan:
    """The plan in a JSON text; BadInput names every mistake with its place in `file`."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(Problem(f"not JSON: {error.msg}", Where(file, error.lineno, error.colno))) from error
    except RecursionError as error:
        raise BadInput(Problem("not a plan: nested too deeply", Where(file))) from error
    _check_version(data, file)
    try:
        return Plan.model_validate(data, extra="ignore")
    except ValidationError as error:
        raise BadInput(*problems_of(error, file)) from error


def problems_of(error: ValidationError, file: str, *inside: str) -> list[Problem]:
    """Every mistake that pydantic found, `inside` being the fields above it."""
    return [Problem(_message((*inside, *e["loc"]), e["msg"]), Where(file)) for e in error.errors()]


def dump_plan(plan: Plan) -> str:
    """The one text of a plan: equal plans give equal bytes."""
    return plan.model_dump_json(indent=2) + "\n"


def write_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan so that a reader sees the old file or the new one, never a part."""
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_text(dump_plan(plan), encoding="utf-8")
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise BadInput(Problem(f"cannot write: {error.strerror}", Where(str(path)))) from error


def _check_version(data: Any, file: str) -> None:
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, str):
        raise BadInput(
            Problem("not a plan: `schema_version` is missing", Where(file), "write one with `serveplan plan`")
        )
    ours, theirs = SCHEMA_VERSION.split(".")[0], version.split(".")[0]
    if ours != theirs:
        what = f"schema_version {version} cannot be read, this serveplan reads {ours}.x"
        newer = theirs.isdigit() and int(theirs) > int(ours)
        hint = "install a newer serveplan" if newer else "plan the scenario again"
        raise BadInput(Problem(what, Where(file), hint))


def _message(location: tuple[int | str, ...], message: str) -> str:
    words = message.removeprefix("Value error, ")
    place = "".join(f"{part}." for part in location)[:-1]
    return f"{place}: {words[0].lower()}{words[1:]}" if place else words


def _why_unreadable(error: OSError | UnicodeDecodeError) -> str:
    return "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"cannot read: {error.strerror}"
