"""Sensitivity: a plan's scenario with more or less traffic, or dearer or cheaper nodes, as questions to plan again.

The third thing that may differ, the error of step times, is the variant `limits.hold_at` of `what_if`.
"""

from __future__ import annotations

from collections.abc import Iterator

from planner.review.what_if import Variant, other_end
from planner.spec.scenario import NodeType, Scenario
from planner.spec.workload import RequestClass

TRAFFIC = (0.8, 1.25)
PRICE = (0.8, 1.25)
"""By how much traffic and prices differ: a quarter more, and what makes a quarter more of it what is stated."""


def sensitivity(scenario: Scenario) -> tuple[Variant, ...]:
    """One thing changed at a time."""
    return (*_traffic(scenario), *_prices(scenario), other_end(scenario))


def _traffic(scenario: Scenario) -> Iterator[Variant]:
    for index, one in enumerate(scenario.classes):
        for factor in TRAFFIC:
            if (scaled := _scaled(one, factor)) is not None:
                classes = (*scenario.classes[:index], scaled, *scenario.classes[index + 1 :])
                yield Variant(f"traffic of {one.name} x {factor:g}", scenario.model_copy(update={"classes": classes}))


def _scaled(one: RequestClass, factor: float) -> RequestClass | None:
    """The class with more traffic; None for a preset that brings arrivals of its own, and for jobs."""
    if one.arrivals is not None and one.arrivals.rate_per_s is not None:
        arrivals = one.arrivals.model_copy(update={"rate_per_s": one.arrivals.rate_per_s * factor})
        return one.model_copy(update={"arrivals": arrivals})
    if one.arrivals is not None and one.arrivals.concurrency is not None:
        more = max(1, round(one.arrivals.concurrency * factor))
        return one.model_copy(update={"arrivals": one.arrivals.model_copy(update={"concurrency": more})})
    if one.arrivals is None and one.trace is not None:
        trace = one.trace.model_copy(update={"rate_scale": one.trace.rate_scale * factor})
        return one.model_copy(update={"trace": trace})
    return None


def _prices(scenario: Scenario) -> Iterator[Variant]:
    nodes = scenario.fleet.nodes
    for index, node in enumerate(nodes):
        for factor in PRICE:
            if (dearer := _priced(node, factor)) is not None:
                fleet = scenario.fleet.model_copy(update={"nodes": (*nodes[:index], dearer, *nodes[index + 1 :])})
                what = f"price of {node.name or node.node} x {factor:g}"
                yield Variant(what, scenario.model_copy(update={"fleet": fleet}))


def _priced(node: NodeType, factor: float) -> NodeType | None:
    if node.own is not None:
        own = node.own.model_copy(update={"capex_usd": node.own.capex_usd * factor})
        return node.model_copy(update={"own": own})
    if node.price_usd_per_hour is not None:
        return node.model_copy(update={"price_usd_per_hour": node.price_usd_per_hour * factor})
    return None
