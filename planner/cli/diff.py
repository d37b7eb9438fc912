"""serveplan diff: what changed between two plans."""

from __future__ import annotations

from typing import Annotated

import typer

from planner.cli.options import Json, Markdown, PlanFile


def diff(
    before: PlanFile,
    after: PlanFile,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 when the plans differ.")] = False,
    json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Show what changed between two plans.

    Topology and counts are compared exactly, metrics by the tolerances of the second plan's scenario.
    """
    from planner.cli.output import print_json, print_text
    from planner.review import as_markdown, diff, read_plan, tolerances_of

    old, new = read_plan(before), read_plan(after)
    found = diff(old, new, tolerances_of(new))
    if json:
        print_json(found.as_dict())
    elif markdown:
        print_text(as_markdown(old, new, found, f"{before} -> {after}"))
    else:
        print_text(str(found) or "no difference beyond tolerance")
    if found and exit_code:
        raise typer.Exit(1)
