"""Catalogs and scenario files: YAML in, frozen nouns out, every mistake with its line. Nothing is planned here."""

from planner.catalog.catalog import NOUNS, Catalog
from planner.catalog.scenarios import ResolvedScenario, load_deployment, load_scenario, parse_scenario
from planner.catalog.schema import SCHEMAS, json_schema

__all__ = [
    "NOUNS",
    "SCHEMAS",
    "Catalog",
    "ResolvedScenario",
    "json_schema",
    "load_deployment",
    "load_scenario",
    "parse_scenario",
]
