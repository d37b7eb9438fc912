"""Scenario and deployment files -> nouns with every reference resolved, or every mistake at once. It plans nothing."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from planner.catalog.catalog import Catalog
from planner.catalog.document import Document, Path_
from planner.catalog.graphs import unserved
from planner.catalog.references import References
from planner.catalog.validate import Noun, as_noun, check_noun, in_order
from planner.catalog.yaml_reader import parse_yaml, read_yaml
from planner.errors import BadInput, Problem, Where, raise_all
from planner.spec.deployment import Deployment
from planner.spec.scenario import Scenario
from planner.spec.workload import Trace


@dataclass(frozen=True, slots=True)
class ResolvedScenario:
    """A scenario with canonical names and prices, the folder that its relative trace files start from, and its source.

    `scenario.model_dump(mode="json")` and `Scenario.model_validate` are inverse, so a plan can hold it. `document`
    knows the line of each field of the file.
    """

    scenario: Scenario
    folder: Path
    document: Document
    catalog: Catalog
    """Which the names were resolved against."""

    @property
    def file(self) -> str:
        return self.document.file

    def trace_file(self, trace: Trace) -> Path:
        """Where a trace of this scenario lies."""
        return self.folder / trace.file

    def where(self, *path: str | int) -> Where:
        """Place of a field of the file, or of the nearest part above it."""
        return self.document.where(path)


_SHAPES = {
    "a plan": {"schema_version", "deployment"},
    "a deployment": {"pools", "routes"},
    "a scenario": {"fleet", "engine"},
}
"""Keys that give away what a file is."""


def load_scenario(path: str | Path, catalog: Catalog | None = None) -> ResolvedScenario:
    """The scenario in a file; BadInput with every mistake in the file and in what it refers to."""
    return _resolved(read_yaml(path), Path(path).parent, catalog or Catalog.open())


def parse_scenario(text: str, catalog: Catalog, *, folder: Path = Path(), file: str = "") -> ResolvedScenario:
    """The scenario in a text, as if it were `file` in `folder`."""
    return _resolved(parse_yaml(text, file), folder, catalog)


def load_deployment(path: str | Path, catalog: Catalog, scenario: Scenario | None = None) -> Deployment:
    """A deployment written by hand, models and hardware by their canonical names.

    With a scenario, nodes are those of its fleet and routes those of its classes; without one, nodes are catalog names.
    """
    document = read_yaml(path)
    _refuse_other_kinds(document, "a deployment")
    deployment, problems = check_noun(document, Deployment)
    references = References(document, catalog)
    references.of_deployment(scenario)
    found = _finished(document, deployment, (*references.problems, *problems), references)
    raise_all(tuple(unserved(document, found, scenario)) if scenario is not None else ())
    return found


def _resolved(document: Document, folder: Path, catalog: Catalog) -> ResolvedScenario:
    _refuse_other_kinds(document, "a scenario")
    scenario, problems = check_noun(document, Scenario)
    references = References(document, catalog)
    references.of_scenario(folder)
    found = _finished(document, scenario, (*references.problems, *problems), references)
    return ResolvedScenario(found, folder, document, catalog)


def _refuse_other_kinds(document: Document, wanted: str) -> None:
    """One clear line for a plan given as a scenario, instead of one for each of its fields."""
    keys = set(document.mapping())
    for thing, telling in _SHAPES.items():
        if thing != wanted and telling <= keys and not _SHAPES[wanted] <= keys:
            raise BadInput(document.problem((), f"this is {thing}, not {wanted}"))


def _finished(document: Document, noun: Noun | None, problems: tuple[Problem, ...], references: References) -> Noun:
    """The noun with canonical values in place of what the user wrote."""
    if noun is None or problems:
        raise BadInput(*in_order(problems))
    if not references.replaced:
        return noun
    return as_noun(replace(document, data=_replaced(document.data, references.replaced)), type(noun))


def _replaced(data: Any, values: Mapping[Path_, Any]) -> Any:
    """A copy of `data` with the value at each path replaced, or removed where the new value is None."""
    copied = deepcopy(data)
    for path, value in values.items():
        inner = copied
        for step in path[:-1]:
            inner = inner[step]
        if value is None:
            inner.pop(path[-1], None)
        else:
            inner[path[-1]] = value
    return copied
