"""serveplan catalog: list, show and lint entries, and import a model from its config.json."""

from __future__ import annotations

from typing import Annotated

import typer

from planner.cli.options import CatalogDirs, Json

app = typer.Typer(help="The shipped catalogs and your own over them.", no_args_is_help=True, rich_markup_mode=None)
Kind = Annotated[str | None, typer.Argument(metavar="[KIND]", help="models, accelerators, nodes, ...")]


@app.command("list")
def list_entries(kind: Kind = None, catalog: CatalogDirs = None, json: Json = False) -> None:
    """Names of all entries, or of one kind."""
    from planner.catalog import NOUNS, Catalog
    from planner.cli.output import print_json, print_text

    opened = Catalog.open(catalog or ())
    names = {one: list(opened.names(one)) for one in ([kind] if kind else [*NOUNS, "presets"])}
    if json:
        print_json(names)
    elif kind:
        print_text("\n".join(names[kind]))
    else:
        print_text("\n\n".join(f"{one} ({len(found)})\n  " + "\n  ".join(found) for one, found in names.items()))
