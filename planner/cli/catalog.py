"""serveplan catalog: list, show and lint entries, and import a model from its config.json."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner.cli.options import CatalogDirs, Json

if TYPE_CHECKING:
    from planner.catalog import Catalog

app = typer.Typer(help="Show, check and extend the catalogs.", no_args_is_help=True, rich_markup_mode=None)
Kind = Annotated[str | None, typer.Argument(metavar="[KIND]", help="models, accelerators, nodes, ...")]


@app.command("list")
def list_entries(kind: Kind = None, catalog: CatalogDirs = None, json: Json = False) -> None:
    """Names of all entries, or of one kind."""
    from planner.catalog import NOUNS, Catalog
    from planner.cli.output import print_json, print_text

    opened = Catalog.open(catalog or ())
    names = {one: opened.names(one) for one in ([kind] if kind else [*NOUNS, "presets"])}
    if json:
        print_json(names)
    elif kind:
        print_text("\n".join(names[kind]))
    else:
        print_text("\n\n".join("\n  ".join([f"{one} ({len(found)})", *found]) for one, found in names.items()))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of an entry, or another spelling of it.")],
    kind: Annotated[str | None, typer.Option("--kind", help="Only this kind.")] = None,
    catalog: CatalogDirs = None,
    json: Json = False,
) -> None:
    """An entry, and the file it comes from."""
    from planner.catalog import Catalog
    from planner.cli.output import print_json, print_text

    opened = Catalog.open(catalog or ())
    found = [(one, opened.origin(one, name), opened.document(one, name).data) for one in _kinds(opened, name, kind)]
    if json:
        print_json([{"kind": one, "origin": origin, "entry": data} for one, origin, data in found])
    else:
        print_text("\n".join(f"# {one}: {origin}\n{_yaml(data)}" for one, origin, data in found))


def _kinds(opened: Catalog, name: str, kind: str | None) -> list[str]:
    """Kinds that have an entry of this name; BadInput with the nearest names when none has."""
    from planner.catalog import NOUNS
    from planner.errors import BadInput, Problem, did_you_mean

    if kind is not None:
        opened.canonical(kind, name)
        return [kind]
    found = []
    for one in NOUNS:
        try:
            opened.canonical(one, name)
        except BadInput:
            continue
        found.append(one)
    if not found:
        known = [other for one in NOUNS for other in opened.names(one)]
        hint = did_you_mean(name, known) or "`serveplan catalog list` shows all"
        raise BadInput(Problem(f"no entry is called {name!r}", hint=hint))
    return found


@app.command()
def lint(catalog: CatalogDirs = None, json: Json = False) -> None:
    """Look for implausible figures; exit with 1 when there are errors."""
    from dataclasses import asdict

    from planner.catalog import Catalog
    from planner.catalog.lint import lint
    from planner.cli.output import print_json, print_text

    findings = lint(Catalog.open(catalog or ()))
    errors = sum(finding.severity == "error" for finding in findings)
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        print_text("\n".join([*map(str, findings), f"{errors} errors, {len(findings) - errors} warnings"]))
    if errors:
        raise typer.Exit(1)


@app.command("import-hf")
def import_hf(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="config.json of a model", show_default=False)],
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the entry; default the hub name, else the file or folder.")
    ] = None,
) -> None:
    """Turn a model's config.json into an entry of the model catalog."""
    from planner.catalog.import_hf import import_config, to_yaml
    from planner.cli.output import print_text

    data = _read_json(config)
    print_text(to_yaml(import_config(data, name or _entry_name(config, data))))


def _entry_name(config: Path, data: dict[str, Any]) -> str:
    """The model's own name where the file states it; a config.json is called after its folder."""
    stated = str(data.get("_name_or_path") or data.get("_hub_id") or "").rstrip("/").split("/")[-1]
    file = config.resolve()
    return (stated or (file.parent.name if file.stem == "config" else file.stem)).lower()


def _read_json(file: Path) -> dict[str, Any]:
    import json

    from planner.errors import BadInput, Problem, Where

    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(Problem(f"cannot read: {error.strerror}", Where(str(file)))) from error
    except json.JSONDecodeError as error:
        raise BadInput(Problem(f"not JSON: {error.msg}", Where(str(file), error.lineno, error.colno))) from error
    except ValueError as error:
        raise BadInput(Problem("not UTF-8 text", Where(str(file)))) from error
    if not isinstance(data, dict):
        raise BadInput(Problem("not a config.json: expected an object", Where(str(file))))
    return data


def _yaml(data: Any) -> str:
    import yaml

    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)
