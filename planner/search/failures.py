"""Failures: what the demand asks of a selection when nodes or zones are down, as rows. Not how likely that is.

After each failure the traffic may be dealt out anew over the replicas that are left, at full load. How many a node
takes with it depends on how many of a pool stand on one node: that is chosen with the counts (`spread`), and placement
keeps to it. Every pool of a node type is taken to lose its share at a time, as if their replicas stood together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from planner.search.integers import UNIT, Counts, Row, Terms, Variable, each


@dataclass(frozen=True, slots=True)
class Failure:
    """node: a type of which `count` nodes fail; or zones that fail whole."""

    name: str
    node: str = ""
    count: int = 0
    zones: tuple[str, ...] = ()


def failures_of(counts: Counts) -> Iterator[Failure]:
    """Every failure that the selection is to survive."""
    bounds, inventory = counts.problem.bounds, counts.problem.inventory
    if bounds.survive_nodes:
        for item in inventory:
            yield Failure(f"down_{item.node}", item.node, bounds.survive_nodes)
    if bounds.survive_zones:
        zones = sorted({item.zone for item in inventory})
        for fallen in combinations(zones, min(bounds.survive_zones, len(zones))):
            yield Failure("down_zone_" + "_".join(fallen), zones=fallen)


def failures(counts: Counts) -> Iterator[Row]:
    """How replicas are spread over nodes, and which are left after a failure."""
    if not counts.problem.bounds.survive_nodes:
        return
    for i in range(len(counts.problem.columns)):
        yield from _spread(counts, i)
    for failure in failures_of(counts):
        for i, column in enumerate(counts.problem.columns):
            if column.node == failure.node:
                yield from _left(counts, failure, i)


def choices(counts: Counts, i: int) -> dict[int, Variable]:
    """Most replicas of column i on a node -> whether that is chosen."""
    column = counts.problem.columns[i]
    fit = 1 if column.span else counts.per_node[column.node] // column.gpus
    return {most: Variable(f"spread{i}_{most}", 1) for most in range(1, fit + 1)}


def _spread(counts: Counts, i: int) -> Iterator[Row]:
    """One choice for a column that is used; its replicas fit that many to a node on the nodes there are."""
    column, n, chosen = counts.problem.columns[i], counts.n[i], choices(counts, i)
    yield Row((*each(chosen.values()), (counts.on[i], -1)), low=0, high=0)
    least = dict(counts.problem.clustered).get(i, 0)
    yield from (Row(((one, 1),), high=0) for most, one in chosen.items() if most < least)
    if column.span:
        return
    odd = column.gpus & (column.gpus - 1) != 0
    nodes = Variable(f"own_{i}" if odd else f"shared_{column.node}", counts.held[column.node])
    for most, one in chosen.items():
        yield Row(((n, 1), (nodes, -most), (one, n.high)), high=n.high, shared=True)


def _left(counts: Counts, failure: Failure, i: int) -> Iterator[Row]:
    """Replicas of column i that are left: none, or what the fallen nodes did not hold."""
    n, (left, some) = counts.n[i], _survivors(counts, failure, i)
    lost = tuple((one, failure.count * most) for most, one in choices(counts, i).items())
    most_lost = failure.count * max(choices(counts, i))
    yield Row(((left, 1), (n, -1), *lost, (some, most_lost)), high=most_lost)
    yield Row(((left, 1), (some, -n.high)), high=0)


def _survivors(counts: Counts, failure: Failure, i: int) -> tuple[Variable, Variable]:
    return Variable(f"left{i}_{failure.name}", counts.n[i].high), Variable(f"some{i}_{failure.name}", 1)


def survive(counts: Counts) -> Iterator[Row]:
    """After each failure every class is still served whole."""
    for failure in failures_of(counts):
        subject, many = ("nodes", failure.count) if failure.node else ("zones", len(failure.zones))
        dealt = [Variable(f"z{p}_{failure.name}", counts.top) for p in range(len(counts.z))]
        classes = {group.name: group.classes for group in counts.problem.groups}
        for name in counts.problem.classes:
            served = (z for z, path in zip(dealt, counts.problem.paths, strict=True) if name in classes[path.group])
            yield Row((*each(served), (counts.total, -1)), low=0, high=0, kind="survive", subject=subject, limit=many)
        for i in range(len(counts.problem.columns)):
            yield from _carried(counts, failure, dealt, i)
        for one in counts.problem.barred:
            yield Row(each(dealt[p] for p in one.paths), high=0, kind=one.kind, subject=one.subject)
        yield from _same_ways(counts, dealt)


def _carried(counts: Counts, failure: Failure, dealt: list[Variable], i: int) -> Iterator[Row]:
    """What is dealt to column i, its transfers included, fits what is left of it."""
    problem, column = counts.problem, counts.problem.columns[i]
    through = counts.through[i]
    if _zone(counts, column.node) in failure.zones:
        yield Row(each(dealt[p] for p in through), high=0)
        return
    left = _survivors(counts, failure, i)[0] if column.node == failure.node else counts.n[i]
    load: Terms = tuple((dealt[p], counts.weight(i, problem.paths[p].group)) for p in through)
    yield Row((*load, (left, -counts.slices * UNIT)), high=0)
    moving = tuple((dealt[p], counts.link_weight(problem.paths[p])) for p in through if problem.paths[p].link_s > 0)
    if moving:
        yield Row((*moving, (left, -counts.slices * UNIT * column.gpus)), high=0)


def _same_ways(counts: Counts, dealt: list[Variable]) -> Iterator[Row]:
    """A prefill column goes on handing over to the decode column that it has."""
    for i in range(len(counts.problem.columns)):
        for p in counts.onward(i):
            yield Row(((dealt[p], 1), (Variable(f"way{p}", 1), -counts.top)), high=0)


def _zone(counts: Counts, node: str) -> str:
    return next(item.zone for item in counts.problem.inventory if item.node == node)
