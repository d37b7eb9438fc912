"""serveplan report: print a plan.json for people."""

from __future__ import annotations

from planner.cli.options import NoColor, PlanFile


def report(plan: PlanFile, no_color: NoColor = False) -> None:
    """Print a plan for people."""
    from planner.cli.output import print_text, terminal_width, wants_color
    from planner.report.terminal import as_text
    from planner.review import read_plan

    print_text(as_text(read_plan(plan), terminal_width(), wants_color(no_color)))
