"""serveplan: plans how to serve AI models. The public door; import everything a user needs from here.

    from planner import load_scenario, plan
    answer = plan(load_scenario("scenarios/quickstart.yaml"))

Names are loaded when they are first used, so `import planner` itself is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.review import check, diff
    from planner.spec.plan import Plan
    from planner.spec.scenario import Scenario

__version__ = "0.1.0"
__all__ = ["Plan", "Scenario", "check", "diff", "load_scenario", "plan", "simulate"]

_HOME = {
    "Plan": "planner.spec.plan",
    "Scenario": "planner.spec.scenario",
    "check": "planner.review",
    "diff": "planner.review",
    "load_scenario": "planner.catalog",
    "plan": "planner.search.plan",
    "simulate": "planner.search.confirm",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'planner' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
