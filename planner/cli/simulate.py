"""serveplan simulate: what a given deployment does under a scenario's traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.options import CatalogDirs, Json, NoColor, ScenarioFile, Seed

if TYPE_CHECKING:
    from planner.catalog import Catalog
    from planner.spec.deployment import Deployment
    from planner.spec.scenario import Scenario


def simulate(
    scenario: ScenarioFile,
    deployment: Annotated[
        Path, typer.Argument(metavar="DEPLOYMENT", help="Deployment (YAML), or a plan.json.", show_default=False)
    ],
    factor: Annotated[float, typer.Option("--factor", help="Multiply the scenario's traffic by this.")] = 1.0,
    catalog: CatalogDirs = None,
    seed: Seed = None,
    json: Json = False,
    no_color: NoColor = False,
) -> None:
    """Simulate a deployment under a scenario's traffic."""
    from planner.catalog import load_scenario
    from planner.cli.output import print_json, print_text, terminal_width, wants_color
    from planner.cli.planning import open_catalog
    from planner.errors import BadInput, Problem
    from planner.report.terminal import outcome_text
    from planner.search.predict import simulate

    if factor <= 0:
        raise BadInput(Problem("--factor must be positive"))
    opened = open_catalog(catalog)
    asked = load_scenario(scenario, opened)
    found = simulate(asked, _deployment(deployment, opened, asked.scenario), catalog=opened, factor=factor, seed=seed)
    if json:
        print_json(
            {
                "deployment": found.deployment.model_dump(mode="json"),
                "pools": [pool.model_dump(mode="json") for pool in found.pools],
                "classes": [one.model_dump(mode="json") for one in found.classes],
                "bill": found.bill.model_dump(mode="json"),
                "warnings": list(found.warnings),
            }
        )
    else:
        print_text(outcome_text(found, terminal_width(), wants_color(no_color)))


def _deployment(file: Path, catalog: Catalog, scenario: Scenario) -> Deployment:
    from planner.catalog import load_deployment
    from planner.review import read_plan

    return read_plan(file).deployment if file.suffix == ".json" else load_deployment(file, catalog, scenario)
