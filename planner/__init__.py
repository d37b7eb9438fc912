"""serveplan: plans how to serve AI models. The public door; import everything a user needs from here.

    from planner import load_scenario, plan
    answer = plan(load_scenario("scenarios/quickstart.yaml"))
    print(answer.bill.usd_per_hour)

Names are loaded when they are first used, so `import planner` itself is quick.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from planner.catalog import Catalog, ResolvedScenario
    from planner.review import check, diff, read_plan, write_plan
    from planner.search.plan import plan
    from planner.search.predict import simulate
    from planner.spec.deployment import Deployment
    from planner.spec.plan import Plan
    from planner.spec.scenario import Scenario

__version__ = "0.1.0"
__all__ = [
    "Catalog",
    "Plan",
    "Scenario",
    "check",
    "diff",
    "load_deployment",
    "load_scenario",
    "plan",
    "read_plan",
    "simulate",
    "write_plan",
]

_HOME = {
    "Catalog": "planner.catalog",
    "Plan": "planner.spec.plan",
    "Scenario": "planner.spec.scenario",
    "check": "planner.review",
    "diff": "planner.review",
    "plan": "planner.search.plan",
    "read_plan": "planner.review",
    "simulate": "planner.search.predict",
    "write_plan": "planner.review",
}


def load_scenario(path: str | Path, catalog: Catalog | None = None) -> ResolvedScenario:
    """The scenario in a YAML file, with every name resolved in the catalog (the shipped one, unless another is given).

    Raises planner.errors.BadInput with every mistake, each with its place in the file.
    """
    from planner.catalog import Catalog, load_scenario

    return load_scenario(path, catalog or Catalog.open())


def load_deployment(path: str | Path, catalog: Catalog | None = None, scenario: Scenario | None = None) -> Deployment:
    """A deployment written by hand; with a scenario, its nodes and classes are those of the scenario."""
    from planner.catalog import Catalog, load_deployment

    return load_deployment(path, catalog or Catalog.open(), scenario)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'planner' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
