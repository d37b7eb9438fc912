"""serveplan simulate: what a given deployment does under a scenario's traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.cli.options import CatalogDirs, Json, NoColor, Quiet, ScenarioFile, Seed

if TYPE_CHECKING:
    from planner.search.measurements import Measurement
    from planner.search.predict import Asked, Prediction
    from planner.spec.deployment import Deployment
    from planner.spec.scenario import Scenario


def simulate(
    scenario: ScenarioFile,
    plan: Annotated[Path | None, typer.Option("--plan", metavar="FILE", help="Simulate what this plan runs.")] = None,
    deployment: Annotated[
        Path | None, typer.Option("--deployment", metavar="FILE", help="Simulate this deployment (YAML).")
    ] = None,
    factor: Annotated[float, typer.Option("--factor", help="Multiply the scenario's traffic by this.")] = 1.0,
    seeds: Annotated[
        int,
        typer.Option("--seeds", min=1, metavar="N", help="Independent draws: mean and 90 % interval of each metric."),
    ] = 1,
    period: Annotated[
        str | None,
        typer.Option("--period", metavar="TIME", help="Metrics by time of arrival, over one round of the profiles."),
    ] = None,
    timeline: Annotated[
        Path | None, typer.Option("--timeline", metavar="FILE", help="Write trace events for Perfetto or Chrome.")
    ] = None,
    timeline_requests: Annotated[
        int, typer.Option("--timeline-requests", min=1, metavar="N", help="Requests shown in the timeline.")
    ] = 1000,
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
    from planner.cli.output import note, print_json, print_text, terminal_width, wants_color, write_text
    from planner.errors import BadInput, Problem
    from planner.review import read_plan
    from planner.search.predict import Asked, simulate

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
    wanted = Asked(seeds, _seconds(period), _room(timeline_requests) if timeline else 0)
    with Onlooker(quiet, no_color) as onlooker:
        found = simulate(asked, given, catalog=opened, factor=factor, seed=seed, asked=wanted, onlooker=onlooker)
    if timeline is not None:
        write_text(timeline, _trace(found, timeline_requests))
        note(f"wrote {timeline}: open it in ui.perfetto.dev or chrome://tracing", quiet)
    if json:
        print_json(_document(found, wanted))
    else:
        print_text(_text(found, wanted, terminal_width(), wants_color(no_color)))
    if found.interrupted:
        raise typer.Exit(INTERRUPTED)


def _seconds(period: str | None) -> float | None:
    from planner.errors import BadInput, Problem
    from planner.units import parse

    if period is None:
        return None
    try:
        found = parse(period, "time")
    except ValueError as error:
        raise BadInput(Problem(f"--period: {error}")) from error
    if found <= 0:
        raise BadInput(Problem("--period must be longer than 0 s"))
    return found


def _room(requests: int) -> int:
    from planner.sim.timeline import FLIGHTS_PER_REQUEST

    return FLIGHTS_PER_REQUEST * requests


def _trace(found: Prediction, requests: int) -> str:
    from json import dumps

    from planner.sim.timeline import trace

    runs = [(one.part.deployment, one.run) for one in found.seen]
    return dumps(trace(runs, requests), separators=(",", ":"), allow_nan=False)


def _document(found: Prediction, asked: Asked) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "deployment": found.deployment.model_dump(mode="json"),
        "pools": [pool.model_dump(mode="json") for pool in found.pools],
        "classes": [one.model_dump(mode="json") for one in found.classes],
        "bill": found.bill.model_dump(mode="json"),
        "warnings": list(found.warnings),
        "too_long": [asdict(one) for one in found.too_long],
        "interrupted": found.interrupted,
        "saturated": [one.part.load.name for one in found.seen if one.saturated],
        "seeds": asked.draws,
        "period_s": asked.period_s,
        "metrics": [_row(row) for row in found.measurements],
    }


def _row(row: Measurement) -> dict[str, Any]:
    from dataclasses import asdict

    return {name: value for name, value in asdict(row).items() if name != "period" or value >= 0}


def _text(found: Prediction, asked: Asked, width: int, color: bool) -> str:
    from planner.report.measurements import sections
    from planner.report.terminal import outcome_text

    rows = found.measurements
    bounds = frozenset((r.name, r.metric, r.statistic) for r in rows if r.scope == "class" and r.at_least)
    return outcome_text(found, width, color, bounds=bounds, more=sections(rows, asked.draws, asked.period_s))


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
