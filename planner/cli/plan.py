"""serveplan plan: from a scenario to plan.json and a report."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.options import CatalogDirs, Engine, Jobs, Json, NoColor, Quiet, ScenarioFile, Seed, TimeLimit
from planner.errors import BadInput, Problem

if TYPE_CHECKING:
    from planner.catalog import Catalog, ResolvedScenario
    from planner.cli.planning import Run
    from planner.spec.scenario import Scenario

STOPPED_AT_LIMIT = 4


def plan(
    scenario: ScenarioFile,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write plan.json here.")] = None,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", metavar="FILE", help="Keep finished evaluations here; default beside the output."),
    ] = None,
    catalog: CatalogDirs = None,
    seed: Seed = None,
    jobs: Jobs = None,
    engine: Engine = "processes",
    shard: Annotated[
        str | None,
        typer.Option("--shard", metavar="I/N", help="Only simulate part I of N, into --journal."),
    ] = None,
    time_limit: TimeLimit = None,
    unconstrained: Annotated[
        bool,
        typer.Option("--unconstrained", help="Also search what the engine cannot run, as a second result."),
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Plan a scenario and print the plan."""
    from planner.catalog import Catalog, load_scenario
    from planner.cli.output import note, print_text, terminal_width, wants_color
    from planner.cli.planning import Run, journal_beside, make_plan
    from planner.review import dump_plan, write_plan
    from planner.search.demand import require_plain

    opened = Catalog.open(catalog or ())
    asked = load_scenario(scenario, opened)
    require_plain(asked)
    if unconstrained:
        asked = replace(asked, scenario=_opened(asked.scenario))
    if shard is not None:
        run = Run(seed, jobs, time_limit, journal, quiet, no_color, engine)
        print_text(_shard(asked, opened, shard, run, output, json))
        return
    beside = journal_beside(output, asked.scenario, opened) if output and not journal else nullcontext(journal)
    with beside as kept:
        run = Run(seed, jobs, time_limit, kept, quiet, no_color, engine)
        answer = make_plan(asked.scenario, asked.folder, opened, run)
        if output is not None:
            write_plan(answer, output)
            note(f"wrote {output}", quiet)
    if json:
        print_text(dump_plan(answer))
    else:
        from planner.report.terminal import as_text

        print_text(as_text(answer, terminal_width(), wants_color(no_color)))
    if answer.status != "optimal":
        raise typer.Exit(STOPPED_AT_LIMIT)


def _opened(scenario: Scenario) -> Scenario:
    """The scenario that also asks for what no limit of the engine holds back."""
    return scenario.model_copy(update={"search": scenario.search.model_copy(update={"unconstrained": True})})


def _shard(asked: ResolvedScenario, opened: Catalog, shard: str, run: Run, output: Path | None, json: bool) -> str:
    """Do one shard; what was done, as text or JSON."""
    from dataclasses import asdict
    from json import dumps

    from planner.cli.planning import make_part
    from planner.search.shards import Shard

    if output is not None:
        raise BadInput(Problem("a shard makes no plan", hint="leave out --output; `merge` all journals, then plan"))
    part = make_part(asked.scenario, asked.folder, opened, Shard.parse(shard), run)
    if json:
        return dumps({"shard": shard, "journal": str(run.journal), **asdict(part)}, indent=2)
    return f"{run.journal}: shard {shard}, {part.families} of {part.of_families} families, {part.candidates} candidates"
