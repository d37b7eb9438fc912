"""JSON Schemas: draft-7, words for editors, and the same verdict as the product on what people write."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from planner.catalog import NOUNS, SCHEMAS, Catalog, json_schema
from planner.catalog.catalog import SINGULAR
from planner.catalog.yaml_reader import read_yaml
from planner.errors import BadInput
from planner.testing import tiny_plan

ROOT = Path(__file__).parents[2]
SCENARIOS = [
    *sorted((ROOT / "scenarios").glob("*.yaml")),
    *sorted((Path(__file__).parent / "scenarios").glob("*.yaml")),
]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.open()


@pytest.fixture(scope="module")
def scenario_schema(catalog: Catalog) -> dict[str, Any]:
    return json_schema("scenario", catalog)


def complaints(schema: dict[str, Any], data: object) -> list[str]:
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(data)]


def parts(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from parts(part)


@pytest.mark.parametrize("kind", sorted(SCHEMAS))
def test_schemas_are_draft_7(kind: str) -> None:
    schema = json_schema(kind)
    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert schema["title"].startswith("serveplan ")
    assert schema["description"]
    for part in parts(schema):
        assert "prefixItems" not in part
        assert "discriminator" not in part
        assert len(part) == 1 or "$ref" not in part or isinstance(part["$ref"], dict)
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenarios_satisfy_their_schema(scenario_schema: dict[str, Any], path: Path) -> None:
    assert complaints(scenario_schema, read_yaml(path).data) == []


@pytest.mark.parametrize("kind", sorted(NOUNS))
def test_catalog_entries_satisfy_their_schema(catalog: Catalog, kind: str) -> None:
    name = SINGULAR[kind].replace(" ", "_") if kind not in ("prices", "tco") else kind
    schema = json_schema(name)
    validator = jsonschema.Draft7Validator(schema)
    wrong = {
        n: e.message for n in catalog.names(kind)[::3] for e in validator.iter_errors(catalog.document(kind, n).data)
    }
    assert wrong == {}


def test_a_plan_satisfies_its_schema() -> None:
    assert complaints(json_schema("plan"), tiny_plan().model_dump(mode="json")) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("classes", 0, "arrivals", "rate"), 12),
        (("classes", 0, "arrivals", "rate"), "12 apples"),
        (("classes", 0, "slo"), {"tpto": "1 s"}),
        (("classes", 0, "slo"), {"ttft": {"p98": "1 s"}}),
        (("classes", 0, "slo"), {"attainment": "most"}),
        (("models", "llama", "weights"), ["fp9"]),
        (("fleet", "nodes"), []),
        (("fleet", "networks"), [{"between": ["a", 1], "bandwidth": "1 GB/s"}]),
        (("limits",), {"headroom": 1.5}),
        (("objective",), ["usd"]),
        (("extra",), 1),
    ],
)
def test_mistakes_are_seen_in_the_editor(scenario_schema: dict[str, Any], path: tuple[Any, ...], value: object) -> None:
    data = read_yaml(ROOT / "tests/catalog/scenarios/minimal.yaml").data
    part = data
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    assert complaints(scenario_schema, data)


def test_fields_carry_words_units_and_defaults(scenario_schema: dict[str, Any]) -> None:
    arrivals = scenario_schema["$defs"]["Arrivals"]["properties"]
    assert arrivals["profile_step"]["default"] == "60.0 s"
    assert "time with a unit" in arrivals["profile_step"]["description"]
    owned = scenario_schema["$defs"]["Owned"]["properties"]
    assert owned["maintenance"]["description"] == "Share of the capex per year."
    assert owned["electricity"]["default"] == "0.08 USD/kWh"


def test_names_of_the_catalog_are_offered_but_not_required(catalog: Catalog, scenario_schema: dict[str, Any]) -> None:
    model = scenario_schema["$defs"]["ServedModel"]["properties"]["model"]
    assert model["anyOf"][0]["enum"] == list(catalog.names("models"))
    assert complaints({**scenario_schema, "$ref": "#/$defs/ServedModel"}, {"model": "meta-llama/Llama-3.1-8B"}) == []
    assert "enum" not in json.dumps(json_schema("scenario")["$defs"]["ServedModel"]["properties"]["model"])


def test_unknown_kinds() -> None:
    with pytest.raises(BadInput, match="no schema of 'scenarios' - did you mean 'scenario'"):
        json_schema("scenarios")
