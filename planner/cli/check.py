"""serveplan check: do committed plans still stand?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.options import CatalogDirs, Jobs, Json, Markdown, NoColor, Quiet, TimeLimit


def check(
    plans: Annotated[list[Path], typer.Argument(metavar="PLAN...", help="plan.json files", show_default=False)],
    scenario: Annotated[
        Path | None,
        typer.Option(
            "--scenario", metavar="FILE", help="Plan this scenario, by its tolerances; default the plan's own."
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where trace files are; default the folder of the plan.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write the outcome as JUnit XML.")
    ] = None,
    catalog: CatalogDirs = None,
    jobs: Jobs = None,
    time_limit: TimeLimit = None,
    json: Json = False,
    markdown: Markdown = False,
    quiet: Quiet = False,
    no_color: NoColor = False,
) -> None:
    """Plan again and say whether the plans still stand.

    Exit code 1 when one does not: the fresh plan differs, or the committed one breaks a promise. Without --scenario the
    scenario inside the plan is planned again, and its tolerances may only be tighter than the usual 2 % and 5 %.
    """
    from planner.catalog import Catalog, load_scenario
    from planner.cli.output import print_json, print_text, write_text
    from planner.cli.planning import Run, make_plan
    from planner.review import as_junit, as_markdown, check, read_plan, scenario_of, tolerances_of

    opened = Catalog.open(catalog or ())
    asked = load_scenario(scenario, opened) if scenario is not None else None
    found, comments = {}, []
    for file in plans:
        old = read_plan(file)
        run = Run(old.seed, jobs, time_limit, None, quiet, no_color)
        if asked is not None:
            new = make_plan(asked.scenario, folder or asked.folder, opened, run)
        else:
            new = make_plan(scenario_of(old, str(file)), folder or file.parent, opened, run)
        found[str(file)] = check(old, new, tolerances_of(new) if asked is not None else None)
        comments.append(as_markdown(old, new, found[str(file)], str(file)))
    if junit is not None:
        write_text(junit, as_junit(found))
    if json:
        print_json({file: one.as_dict() for file, one in found.items()})
    elif markdown:
        print_text("\n".join(comments))
    else:
        print_text("\n".join(f"{file}: {_verdict(str(one), bool(one))}" for file, one in found.items()))
    if any(found.values()):
        raise typer.Exit(1)


def _verdict(differences: str, differs: bool) -> str:
    told = "".join(f"\n  {line}" for line in differences.splitlines())
    return f"{'no longer stands' if differs else 'stands'}{told}"
