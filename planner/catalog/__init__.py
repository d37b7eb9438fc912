"""Catalogs and scenario files: YAML in, frozen nouns out, every mistake with its line. Nothing is planned here."""

from planner.catalog.catalog import Catalog
from planner.catalog.scenarios import ResolvedScenario, load_deployment, load_scenario, parse_scenario

__all__ = ["Catalog", "ResolvedScenario", "load_deployment", "load_scenario", "parse_scenario"]
