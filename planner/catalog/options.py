"""Which settings of a scenario's engine the engine has no flag for. Not what they do (`planner.search.options`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from planner.spec.engine import EngineProfile, Option
from planner.spec.scenario import Engine

OPTIONS: tuple[Option, ...] = get_args(Option)


def without_flag(engine: Mapping[str, Any], profile: EngineProfile) -> Iterator[tuple[Option, str, str]]:
    """(field, what is wrong, hint) of each setting that differs from the default and that the engine does not have."""
    for name in OPTIONS:
        default = Engine.model_fields[name].default
        if engine.get(name, default) not in (default, None) and name not in profile.can.options:
            has = ", ".join(profile.can.options)
            what = f"{profile.engine} in the versions of profile {profile.name} has no such setting"
            yield name, what, f"it has: {has}" if has else "leave it out"
