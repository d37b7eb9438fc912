"""Engine versions in free text ("lmsysorg/sglang:v0.5.9-cu130", "nightly-dev-20260216", a date) -> comparable tuples.

Not a list of profiles: `planner.engines` says which profile covers a version.
"""

from __future__ import annotations

import datetime
import re
from functools import cache
from importlib.resources import files

import yaml

Version = tuple[int, ...]

# Other software whose version stands in the same text: its numbers must not be taken for the engine's.
_FOREIGN = re.compile(
    r"(?:cuda|cudnn|rocm|driver|pytorch(?:_release)?|torch|ubuntu|py|python|cu|dali|triton|tensorrt|jetpack)"
    r"(?![-_]?llm)[ _:v]*(?:version )?[\d.]+(?:rc\d+)?",
    re.IGNORECASE,
)
_RELEASE = re.compile(r"(?<![\d.])v?(\d{1,2})\.(\d{1,3})(?:\.(\d{1,3}))?")
_COMPACT_DATE = re.compile(r"(?<!\d)(20\d\d)(\d\d)(\d\d)(?!\d)")
_DATE = re.compile(r"(20\d\d)-(\d\d)(?:-(\d\d))?")
# NVIDIA Dynamo images carry the version of Dynamo, not of the engine inside: there the date decides.
_DYNAMO = re.compile(r"(?:tensorrtllm|vllm|sglang)-runtime:")


@cache
def releases(engine: str) -> tuple[tuple[Version, datetime.date], ...]:
    """(version, date) of the releases of `engine` that are known, oldest first."""
    text = (files("planner.calibrate") / "releases.yaml").read_text(encoding="utf-8")
    known = yaml.safe_load(text).get(engine, [])
    return tuple((tuple(int(n) for n in str(v).split(".")), _as_date(d)) for v, d in known)


def version_of(engine: str, text: str, source_date: str = "") -> Version | None:
    """Version named by `text`; else the newest release at the date in it or at `source_date`; None = no clue."""
    named = re.search(rf"{re.escape(engine)}\W{{0,5}}{_RELEASE.pattern}", text, re.IGNORECASE)
    plain = None if _DYNAMO.search(text) else _RELEASE.search(_FOREIGN.sub(" ", text))
    if found := named or plain:
        return tuple(int(part or 0) for part in found.groups())
    day = _compact_date(text) or first_date(source_date) or first_date(text)
    return _at_date(engine, day) if day else None


def first_date(text: str) -> datetime.date | None:
    """First ISO date or month in free text; a month counts as its middle."""
    found = _DATE.search(text) or _COMPACT_DATE.search(text)
    if not found:
        return None
    year, month, day = found[1], found[2], found[3]
    return _valid(int(year), int(month), int(day or 15))


def _compact_date(text: str) -> datetime.date | None:
    found = _COMPACT_DATE.search(text)
    return _valid(int(found[1]), int(found[2]), int(found[3])) if found else None


def _valid(year: int, month: int, day: int) -> datetime.date | None:
    try:
        return datetime.date(year, month, day)
    except ValueError:
        return None


def _as_date(value: object) -> datetime.date:
    if isinstance(value, datetime.date):
        return value
    return datetime.date.fromisoformat(str(value))


def _at_date(engine: str, day: datetime.date) -> Version | None:
    """Newest release of `engine` on that day; the oldest known one when the day is before all."""
    known = releases(engine)
    past = [version for version, released in known if released <= day]
    return past[-1] if past else (known[0][0] if known else None)
