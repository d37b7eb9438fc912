"""JSON Schemas of the files people write, for editors and other programs. The product itself validates with its nouns.

The result is draft-7, which yaml-language-server reads: no prefixItems, no keywords beside $ref. Fields carry the
docstrings of the nouns as descriptions and quantities a pattern of their units; with a catalog, names are offered.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from planner.catalog.catalog import NOUNS, SINGULAR, Catalog
from planner.catalog.shape import nouns_in
from planner.errors import BadInput, Problem, did_you_mean
from planner.spec.deployment import Deployment
from planner.spec.plan import Plan
from planner.spec.scenario import Scenario
from planner.units import UNITS, render

Schema = dict[str, Any]
SCHEMAS: dict[str, type[BaseModel]] = {
    "scenario": Scenario,
    "plan": Plan,
    "deployment": Deployment,
    **{SINGULAR[kind].replace(" ", "_"): noun for kind, noun in NOUNS.items() if kind not in ("prices", "tco")},
    "prices": NOUNS["prices"],
    "tco": NOUNS["tco"],
}
_TITLES = {"prices": "price list", "tco": "economic figures"}
# (definition, field) -> kind of catalog entry that the field names
_NAMED = {
    ("ServedModel", "model"): "models",
    ("NodeType", "node"): "nodes",
    ("RequestClass", "preset"): "presets",
    ("Pool", "model"): "models",
    ("Pool", "accelerator"): "accelerators",
    ("Node", "accelerator"): "accelerators",
    ("Node", "scaleup_fabric"): "fabrics",
    ("Node", "scaleout_fabric"): "fabrics",
}
_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
_QUANTITY = re.compile(rf"({'|'.join(sorted(UNITS, key=len, reverse=True))}) with a unit$")


def json_schema(kind: str, catalog: Catalog | None = None) -> Schema:
    """Schema of a kind of document (a key of SCHEMAS); names of `catalog`'s entries are offered where one is named."""
    if kind not in SCHEMAS:
        hint = did_you_mean(kind, SCHEMAS) or f"known: {', '.join(SCHEMAS)}"
        raise BadInput(Problem(f"no schema of {kind!r}", hint=hint))
    noun = SCHEMAS[kind]
    schema = noun.model_json_schema()
    definitions = schema.get("$defs", {})
    for found in nouns_in(noun):
        _finish(found.__name__, definitions.get(found.__name__, schema if found is noun else {}), found, catalog)
    title = f"serveplan {_TITLES.get(kind, kind.replace('_', ' '))}"
    return {"$schema": "http://json-schema.org/draft-07/schema#", **_draft7(schema), "title": title}


def _finish(name: str, schema: Schema, noun: type[BaseModel], catalog: Catalog | None) -> None:
    """Descriptions, defaults in units and offered names of one noun's fields, in place."""
    words = field_docs(noun)
    for field, info in noun.model_fields.items():
        key = info.alias or field
        part = schema.get("properties", {}).get(key)
        if part is None:
            continue
        part.pop("title", None)
        if text := info.description or words.get(field):
            unit = f" ({part['description']})" if "description" in part else ""
            part["description"] = text + unit
        if isinstance(part.get("default"), int | float) and (dimension := _dimension(noun, field)):
            part["default"] = render(part["default"], dimension)
        _bound(part, info)
        if catalog is not None and (name, field) in _NAMED:
            _offer(part, catalog.names(_NAMED[name, field]))


def _bound(part: Schema, info: FieldInfo) -> None:
    """Limits of a number that may also be text (a share): pydantic checks them but leaves them out of its schema."""
    for key in ("gt", "ge", "lt", "le"):
        part.pop(key, None)
    if part.get("type") == "number":
        part |= {
            _BOUNDS[key]: limit
            for m in info.metadata
            for key in _BOUNDS
            if (limit := getattr(m, key, None)) is not None
        }
    for branch in part.get("anyOf", []):
        _bound(branch, info)


def _dimension(noun: type[BaseModel], field: str) -> str:
    """Dimension of a quantity; empty for other fields."""
    for extra in noun.model_fields[field].metadata:
        described = getattr(extra, "json_schema", None) or {}
        if found := _QUANTITY.match(str(described.get("description", ""))):
            return found[1]
    return ""


def _offer(part: Schema, names: tuple[str, ...]) -> None:
    """Let an editor complete names without refusing other spellings."""
    branches = [b for b in part.pop("anyOf", []) if b.get("type") != "string"]
    part.pop("type", None)
    part["anyOf"] = [{"enum": list(names)}, {"type": "string"}, *branches]


def _draft7(node: Any) -> Any:
    """The same schema in words of draft-7, with patterns on quantities."""
    if isinstance(node, list):
        return [_draft7(part) for part in node]
    if not isinstance(node, dict):
        return node
    found = {key: _draft7(part) for key, part in node.items() if key != "discriminator"}
    if "prefixItems" in found:
        found["items"] = found.pop("prefixItems")
    if "$ref" in found and len(found) > 1:
        found["allOf"] = [{"$ref": found.pop("$ref")}]
    if found.get("type") == "string" and (quantity := _QUANTITY.search(str(found.get("description", "")).rstrip(")"))):
        found["pattern"] = _pattern(quantity[1])
    return found


@cache
def _pattern(dimension: str) -> str:
    units = "|".join(re.escape(unit) for unit in sorted(UNITS[dimension], key=len, reverse=True))
    return rf"^\s*\$?\s*\+?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?\s*({units})\s*$"


def field_docs(noun: type[BaseModel]) -> dict[str, str]:
    """Docstrings that stand under the fields of a noun or of its bases."""
    found: dict[str, str] = {}
    for base in reversed(noun.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= _docs_of_module(base.__module__).get(base.__name__, {})
    return found


@cache
def _docs_of_module(module: str) -> dict[str, dict[str, str]]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: dict(_docs_of_class(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _docs_of_class(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, text in zip(node.body, node.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as words)):
                yield name, inspect.cleandoc(words)
