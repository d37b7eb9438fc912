"""serveplan explain: why a plan is what it is, what its promises cost, and what forcing something else would cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from planner.cli.options import CatalogDirs, Jobs, Json, NoColor, PlanFile, Quiet, TimeLimit
from planner.errors import BadInput, Infeasible, Problem, did_you_mean

if TYPE_CHECKING:
    from planner.catalog import Catalog
    from planner.cli.planning import Run
    from planner.review.what_if import Priced, Variant
    from planner.spec.plan import Plan
    from planner.spec.scenario import Scenario

QUESTIONS = ("why", "costs", "sensitivity", "why-not")
STOPPED_AT_LIMIT = 4


def explain(
    plan: PlanFile,
    question: Annotated[
        str, typer.Argument(metavar="[why|costs|sensitivity|why-not]", help="What to explain.")
    ] = "why",
    what: Annotated[
        list[str] | None, typer.Argument(metavar="WHAT...", help="For why-not: tp8, h100, disaggregated, pp2, fp8, ...")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where trace files are; default the folder of the plan.")
    ] = None,
    catalog: CatalogDirs = None,
    jobs: Jobs = None,
    time_limit: TimeLimit = None,
    json: Json = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Explain a plan: why (from the file alone), what each promise costs, what traffic and prices do, why not else.

    All but why plan again and compare in the first goal that differs; --time-limit holds for each fresh plan.
    """
    from planner.catalog import Catalog
    from planner.cli.output import print_json, print_text
    from planner.cli.planning import Run
    from planner.review import read_plan, why

    asked = read_plan(plan)
    _check_words(question, what or [])
    if question == "why":
        found = why(asked)
        print_json(found.as_dict()) if json else print_text(str(found))
        return
    opened = Catalog.open(catalog or ())
    run = Run(asked.seed, jobs, time_limit, None, quiet, no_color)
    base, rows, proven = _answers(asked, str(plan), question, what or [], folder or plan.parent, opened, run)
    if json:
        print_json({"plan": base, "variants": [row.as_dict() for row in rows]})
    else:
        print_text("\n".join([f"this plan: {base}", *map(str, rows)]))
    if not proven:
        raise typer.Exit(STOPPED_AT_LIMIT)


def _check_words(question: str, what: list[str]) -> None:
    if question not in QUESTIONS:
        hint = did_you_mean(question, QUESTIONS) or f"ask one of {', '.join(QUESTIONS)}"
        raise BadInput(Problem(f"unknown question {question!r}", hint=hint))
    if question == "why-not" and not what:
        raise BadInput(Problem("why not what?", hint="name it, for example `why-not tp8` or `why-not h100 tp2`"))
    if question != "why-not" and what:
        raise BadInput(Problem(f"{question} takes no further words", hint=f"`why-not {' '.join(what)}`?"))


def _answers(
    old: Plan, file: str, question: str, what: list[str], folder: Path, catalog: Catalog, run: Run
) -> tuple[str, list[Priced], bool]:
    """What the plan itself reaches, the variants against it, and whether every one is proven."""
    from planner.review import runs, scenario_of

    scenario = scenario_of(old, file)
    variants = _variants(scenario, question, what, catalog)
    base = _current(old, scenario, folder, catalog, run)
    answers = [_answer(base, one, folder, catalog, run) for one in variants]
    proven = all(status != "feasible" for _, status in answers)
    return runs(base), [row for row, _ in answers], proven


def _current(old: Plan, scenario: Scenario, folder: Path, catalog: Catalog, run: Run) -> Plan:
    """The plan, made again when the code or the catalog has changed since, so that only the question differs."""
    from planner import __version__
    from planner.cli.output import note
    from planner.cli.planning import make_plan

    if (old.serveplan_version, old.catalog_hash) == (__version__, catalog.content_hash()):
        return old
    note("the catalog or serveplan has changed since this plan; planning it again to compare", run.quiet)
    return make_plan(scenario, folder, catalog, run)


def _variants(scenario: Scenario, question: str, what: list[str], catalog: Catalog) -> tuple[Variant, ...]:
    from planner.review import forced, relaxations, sensitivity

    if question != "why-not":
        return relaxations(scenario) if question == "costs" else sensitivity(scenario)
    holds = {entry.name or entry.node: catalog.node(entry.node).accelerator for entry in scenario.fleet.nodes}
    return (forced(scenario, what, holds),)


def _answer(base: Plan, one: Variant, folder: Path, catalog: Catalog, run: Run) -> tuple[Priced, str]:
    """The variant priced, and the status of its plan."""
    from planner.cli.output import note
    from planner.cli.planning import make_plan
    from planner.review import impossible, priced

    note(f"planning with {one.what}", run.quiet)
    try:
        found = make_plan(one.scenario, folder, catalog, run)
    except Infeasible as error:
        return impossible(one.what, base, error.problems), "infeasible"
    return priced(one.what, base, found), found.status
