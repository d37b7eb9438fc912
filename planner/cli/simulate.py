"""serveplan simulate: what a given deployment does under a scenario's traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.options import CatalogDirs, Json, NoColor, Quiet, ScenarioFile, Seed

if TYPE_CHECKING:
    from planner.spec.deployment import Deployment
    from planner.spec.scenario import Scenario


def simulate(
    scenario: ScenarioFile,
    plan: Annotated[Path | None, typer.Option("--plan", metavar="FILE", help="Simulate what this plan runs.")] = None,
    deployment: Annotated[
        Path | None, typer.Option("--deployment", metavar="FILE", help="Simulate this deployment (YAML).")
    ] = None,
    factor: Annotated[float, typer.Option("--factor", help="Multiply the scenario's traffic by this.")] = 1.0,
    catalog: CatalogDirs = None,
    seed: Seed = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Simulate a deployment under a scenario's traffic.

    Ctrl-C ends a long run where it stands: what is done is printed, marked as interrupted, with exit code 130.
    """
    from planner.catalog import Catalog, load_deployment, load_scenario
    from planner.cli.main import INTERRUPTED
    from planner.cli.onlooker import Onlooker
    from planner.cli.output import print_json, print_text, terminal_width, wants_color
    from planner.errors import BadInput, Problem
    from planner.report.terminal import outcome_text
    from planner.review import read_plan
    from planner.search.predict import simulate

    if factor <= 0:
        raise BadInput(Problem("--factor must be positive"))
    opened = Catalog.open(catalog or ())
    asked = load_scenario(scenario, opened)
    if plan is not None and deployment is None:
        given = read_plan(plan).deployment
        _refuse_strangers(given, asked.scenario, plan)
    elif deployment is not None and plan is None:
        given = load_deployment(deployment, opened, asked.scenario)
    else:
        raise BadInput(Problem("give one of --plan and --deployment"))
    with Onlooker(quiet, no_color) as onlooker:
        found = simulate(asked, given, catalog=opened, factor=factor, seed=seed, onlooker=onlooker)
    if json:
        print_json(
            {
                "deployment": found.deployment.model_dump(mode="json"),
                "pools": [pool.model_dump(mode="json") for pool in found.pools],
                "classes": [one.model_dump(mode="json") for one in found.classes],
                "bill": found.bill.model_dump(mode="json"),
                "warnings": list(found.warnings),
                "interrupted": found.interrupted,
            }
        )
    else:
        print_text(outcome_text(found, terminal_width(), wants_color(no_color)))
    if found.interrupted:
        raise typer.Exit(INTERRUPTED)


def _refuse_strangers(deployment: Deployment, scenario: Scenario, plan: Path) -> None:
    """BadInput when the plan speaks of nodes, models or classes that the scenario does not have."""
    from planner.errors import BadInput, Problem, Where

    spoken = {
        "node": ({pool.node for pool in deployment.pools}, {n.name or n.node for n in scenario.fleet.nodes}),
        "model": ({pool.model for pool in deployment.pools}, {m.model for m in scenario.models.values()}),
        "class": ({route.request_class for route in deployment.routes}, {c.name for c in scenario.classes}),
    }
    problems = [
        Problem(f"{kind} {name!r} of the plan is not in the scenario", Where(str(plan)))
        for kind, (used, known) in spoken.items()
        for name in sorted(used - known)
    ]
    problems += [
        Problem(f"no pool of the plan serves the class {name!r} of the scenario", Where(str(plan)))
        for name in sorted(spoken["class"][1] - spoken["class"][0])
    ]
    if problems:
        raise BadInput(*problems)
