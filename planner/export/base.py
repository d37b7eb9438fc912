"""The seam of exporters: from a plan to texts by file name. Writing them is the caller's business."""

from __future__ import annotations

from collections.abc import Callable

from planner.errors import BadInput, Problem
from planner.registry import Registry
from planner.spec.plan import Plan

Exporter = Callable[[Plan], dict[str, str]]

EXPORTERS: Registry[Exporter] = Registry("export target")


def engine_of(plan: Plan, name: str, oldest: tuple[int, int]) -> str:
    """The engine version of a plan made for `name`; BadInput for another engine or a version before `oldest`."""
    engine = plan.scenario["engine"]
    if engine["name"] != name:
        raise BadInput(
            Problem(f"the plan is for {engine['name']}, not {name}", hint=f"export it --to {engine['name']}")
        )
    version: str = engine["version"]
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < oldest:
        since = ".".join(str(part) for part in oldest)
        raise BadInput(Problem(f"{name} {version}: its flags are not known here", hint=f"plan for {since} or newer"))
    return version
