"""Whether a deployment serves the graphs of a scenario: a pool for each node, a path for all bytes. It runs nothing."""

from __future__ import annotations

from collections.abc import Iterator

from planner.catalog.document import Document
from planner.errors import Problem
from planner.spec.deployment import LLM, SERVICES, Deployment
from planner.spec.graph import Arc, Graph
from planner.spec.scenario import Scenario
from planner.spec.workload import RequestClass

_SHARES_OFF = 1e-6


def unserved(document: Document, deployment: Deployment, scenario: Scenario) -> Iterator[Problem]:
    """What the deployment in `document` lacks for the classes with graphs or sessions."""
    for one in scenario.classes:
        if not one.walks:
            continue
        nodes = one.graph.nodes if one.graph is not None else {LLM: None}
        for name, node in nodes.items():
            phase = node.phase if node is not None else LLM
            yield from _node(document, deployment, one.name, (name, phase, _model(scenario, one, name)))
        for arc in one.graph.edges if one.graph is not None else ():
            if arc.bytes or arc.bytes_per_token:
                yield from _path(document, deployment, scenario, one, arc)


def _model(scenario: Scenario, one: RequestClass, node: str) -> str:
    """Catalog name of the model that a node asks for; any when no node of the graph names one."""
    nodes = one.graph.nodes if one.graph is not None else {}
    if all(other.model is None for other in nodes.values()) or nodes[node].phase in SERVICES:
        return ""
    return scenario.models[nodes[node].model or one.model].model


def _node(document: Document, deployment: Deployment, name: str, node: tuple[str, str, str]) -> Iterator[Problem]:
    routes = deployment.routes_of(name, *node)
    at = next((k for k, route in enumerate(deployment.routes) if route.request_class == name), None)
    where = ("routes",) if at is None else ("routes", at)
    if not routes and node[1] not in SERVICES:
        what = f"no route of {name} leads to a pool{f' of {node[2]}' if node[2] else ''} that runs node {node[0]!r}"
        yield document.problem(where, f"{what} ({node[1]})")
    total = sum(route.share for route in routes)
    if routes and abs(total - 1) > _SHARES_OFF:
        yield document.problem(where, f"the shares of node {node[0]!r} of {name} sum to {total:g}, not 1")


def _path(
    document: Document, deployment: Deployment, scenario: Scenario, one: RequestClass, arc: Arc
) -> Iterator[Problem]:
    """Every pool that may run the source must have an edge to every pool that may run the target."""
    graph = one.graph
    assert graph is not None  # arcs come from graphs
    pools = [_pools(deployment, scenario, one, graph, name) for name in (arc.source, arc.target)]
    what = f"bytes move from node {arc.source!r} to {arc.target!r} of {one.name}"
    for name, served in zip((arc.source, arc.target), pools, strict=True):
        if not served and graph.nodes[name].phase in SERVICES:
            yield document.problem(("routes",), f"{what}, but no service runs {name!r}: it is a mere delay")
    known = {(edge.source, edge.target) for edge in deployment.edges}
    for source in (end for pool in pools[0] for end in deployment.ends(pool)):
        for target in pools[1]:
            if (source, target) not in known:
                hint = f"add {{source: {source}, target: {target}, bandwidth: ...}}"
                yield document.problem(("edges",), f"{what}, but no edge leads from {source} to {target}", hint)


def _pools(deployment: Deployment, scenario: Scenario, one: RequestClass, graph: Graph, node: str) -> list[str]:
    routes = deployment.routes_of(one.name, node, graph.nodes[node].phase, _model(scenario, one, node))
    return [route.pool for route in routes]
