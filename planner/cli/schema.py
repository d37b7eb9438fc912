"""serveplan schema: the JSON Schema of a scenario, a plan or a catalog entry, for editors and checks."""

from __future__ import annotations

from typing import Annotated

import typer

from planner.cli.options import CatalogDirs


def schema(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="scenario, plan, deployment, model, accelerator, ...")],
    catalog: CatalogDirs = None,
) -> None:
    """Print a JSON Schema, for editors and checks."""
    from planner.catalog import Catalog, json_schema
    from planner.cli.output import print_json

    print_json(json_schema(kind, Catalog.open(catalog or ())))
