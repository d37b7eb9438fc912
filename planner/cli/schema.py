"""serveplan schema: the JSON Schema of a scenario, a plan or a catalog entry, for editors and checks."""

from __future__ import annotations

from typing import Annotated

import typer


def schema(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="scenario, plan, model, accelerator, node, ...")],
) -> None:
    """Print a JSON Schema, for editors and checks."""
