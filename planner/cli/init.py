"""serveplan init: writes a scenario to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    file: Annotated[Path, typer.Argument(help="File to write.")] = Path("scenario.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a scenario to start from."""
    from importlib.resources import files

    from planner.cli.output import note
    from planner.errors import BadInput, Problem, Where

    starter = files("planner.cli").joinpath("starter.yaml").read_bytes()
    try:
        with file.open("wb" if force else "xb") as target:
            target.write(starter)
    except FileExistsError as error:
        raise BadInput(Problem("exists already", Where(str(file)), "--force overwrites it")) from error
    except OSError as error:
        raise BadInput(Problem(f"cannot write: {error.strerror}", Where(str(file)))) from error
    note(f"wrote {file}; next: serveplan plan {file}")
