"""serveplan export: a plan as configuration files of an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from planner.cli.options import PlanFile


def export(
    plan: PlanFile,
    to: Annotated[str, typer.Option("--to", metavar="TARGET", help="Whose files to write: vllm.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder to write into.")] = Path(),
) -> None:
    """Write a plan as configuration files of an engine; prints their names."""
    from planner.cli.output import print_text, write_text
    from planner.errors import BadInput, Problem, Where
    from planner.export import EXPORTERS
    from planner.review import read_plan

    files = EXPORTERS.get(to)(read_plan(plan))
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(Problem(f"cannot make the folder: {error.strerror}", Where(str(output)))) from error
    for name, text in files.items():
        write_text(output / name, text)
    print_text("\n".join(str(output / name) for name in files))
