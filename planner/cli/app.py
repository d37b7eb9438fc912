"""App: the list of commands and the options that stand before them. Commands import what is heavy when they run."""

from __future__ import annotations

from typing import Annotated

import typer

from planner import __version__
from planner.cli import (
    calibrate,
    catalog,
    check,
    diff,
    explain,
    export,
    init,
    merge,
    plan,
    report,
    schema,
    simulate,
    trace,
    validate,
)

HELP = """Plan how to serve AI models: what to run, on what, how many, at what cost, and how sure that is.

Works offline. Results go to stdout, progress to stderr. Exit codes: 0 done, 1 difference found, 2 bad input,
3 infeasible, 4 stopped at a limit, 70 our bug, 130 interrupted.
"""

app = typer.Typer(
    help=HELP, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"serveplan {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Print the traceback of an internal error.")] = False,
) -> None:
    from planner.cli.owner import refuse_second_owner

    refuse_second_owner()


for command in (
    plan.plan, merge.merge, simulate.simulate, validate.validate, calibrate.calibrate, report.report, diff.diff,
    check.check, explain.explain, export.export, trace.trace, schema.schema, init.init,
):  # fmt: skip
    app.command()(command)
app.add_typer(catalog.app, name="catalog")
