"""Which engine profile covers an engine and version. Not what a profile means; that is `planner.engines`."""

from __future__ import annotations

from collections.abc import Sequence

from planner.catalog.document import quoted
from planner.errors import BadInput, Problem, did_you_mean
from planner.spec.engine import EngineProfile, narrowest_profile, version_tuple


def profile(profiles: Sequence[EngineProfile], engine: str, version: str) -> EngineProfile:
    """The profile of `engine` that covers `version`, or the engine's default without one; BadInput names the known."""
    same = [p for p in profiles if p.engine.casefold() == engine.strip().casefold()]
    if not same:
        known = sorted({p.engine for p in profiles})
        hint = did_you_mean(engine, known) or f"known: {', '.join(known)}"
        raise BadInput(Problem(f"unknown engine {quoted(engine)}", hint=hint))
    found = [p for p in same if (p.covers(version) if version else p.default)]
    if not found:
        what = f"no profile of {same[0].engine} covers version {quoted(version)}" if version else "`version` is missing"
        raise BadInput(Problem(what, hint=f"known versions: {', '.join(_range(p) for p in _nearest(same, version))}"))
    chosen = narrowest_profile(found)
    if version and _beyond(chosen, version):
        what = f"{chosen.engine} {version} is newer than any version that is known here"
        raise BadInput(Problem(what, hint=f"the newest is {chosen.known_to}; a profile in your own catalog adds yours"))
    return chosen


def _beyond(chosen: EngineProfile, version: str) -> bool:
    """Whether nobody has looked at this minor version or a later one."""
    last, asked = version_tuple(chosen.known_to), version_tuple(version)
    return last is not None and asked is not None and asked[:2] > last[:2]


def _nearest(profiles: Sequence[EngineProfile], version: str, most: int = 4) -> list[EngineProfile]:
    """Up to `most` profiles, those that begin nearest to `version`, oldest first."""
    wanted = version_tuple(version) or (0, 0, 0)

    def distance(p: EngineProfile) -> tuple[int, ...]:
        start = version_tuple(p.since) or (0, 0, 0)
        return tuple(abs(a - b) for a, b in zip(wanted, start, strict=True))

    return sorted(sorted(profiles, key=distance)[:most], key=lambda p: version_tuple(p.since) or ())


def _range(p: EngineProfile) -> str:
    if p.since and p.before:
        return f"{p.since} up to {p.before}"
    return f"{p.since} and later" if p.since else f"before {p.before}" if p.before else "any"
