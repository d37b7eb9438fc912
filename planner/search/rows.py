"""Rows: what every selection must obey, as linear rows of whole numbers, each requirement under the user's name for it.

No goal, no solving. A new limit is a function from counts to rows and a line in ROWS. Rows with a kind are what a
conflict can name; they are given up in the order of ROWS, so the least informative come first. Rows that several models
take from are marked as shared: a large fleet is bounded without them, at a price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from planner.search.failures import failures, survive
from planner.search.goals import GOALS, Goal, gpus, pools, power, usd
from planner.search.integers import UNIT, Counts, Row, Variable, down, each


def load(counts: Counts) -> Iterator[Row]:
    """Replicas carry the slices that pass through them."""
    usable = down(UNIT * (1 - counts.problem.bounds.headroom))
    for i, n in enumerate(counts.n):
        yield Row((*counts.taken(i), (n, -counts.slices * usable)), high=0)


def presence(counts: Counts) -> Iterator[Row]:
    """A column is on exactly when it has slices and replicas."""
    for i, n in enumerate(counts.n):
        yield Row(((n, 1), (counts.on[i], -n.high)), high=0)
        yield Row((*counts.taken(i), (counts.on[i], -1)), low=0)
        yield Row(((n, 1), (counts.on[i], -1)), low=0)


def links(counts: Counts) -> Iterator[Row]:
    """The transfers of a column's paths take at most the link time that its accelerators have."""
    paths = counts.problem.paths
    for i, column in enumerate(counts.problem.columns):
        moving = tuple((counts.z[p], counts.link_weight(paths[p])) for p in counts.through[i] if paths[p].link_s > 0)
        if moving:
            yield Row((*moving, (counts.n[i], -counts.slices * UNIT * column.gpus)), high=0)


def one_way_on(counts: Counts) -> Iterator[Row]:
    """A prefill column hands over to one decode column: behind an edge the simulator splits by replicas."""
    for i in range(len(counts.problem.columns)):
        if onward := counts.onward(i):
            taken = [Variable(f"way{p}", 1) for p in onward]
            yield from (
                Row(((counts.z[p], 1), (way, -counts.top)), high=0) for p, way in zip(onward, taken, strict=True)
            )
            yield Row(each(taken), high=1)


def packing(counts: Counts) -> Iterator[Row]:
    """Replicas fill whole nodes.

    Sizes that are powers of two share nodes: each divides the next, so first-fit by falling size is optimal and the
    rows below are exact (slots of size s are taken by all sizes >= s). Other sizes get nodes of their own.
    """
    for item in counts.problem.inventory:
        mine = [(i, column) for i, column in enumerate(counts.problem.columns) if column.node == item.node]
        whole = tuple((counts.n[i], column.span) for i, column in mine if column.span)
        sizes = {i: column.gpus for i, column in mine if not column.span and _power_of_two(column.gpus)}
        odd = {i: column.gpus for i, column in mine if not column.span and not _power_of_two(column.gpus)}
        shared = Variable(f"shared_{item.node}", counts.held[item.node])
        own = {i: Variable(f"own_{i}", counts.held[item.node]) for i in odd}
        for size in sorted(set(sizes.values())):
            taken = tuple((counts.n[i], k // size) for i, k in sizes.items() if k >= size)
            yield Row((*taken, (shared, -(item.gpus // size))), high=0, shared=True)
        for i, k in odd.items():
            yield Row(((counts.n[i], 1), (own[i], -(item.gpus // k))), high=0, shared=True)
        yield Row((*whole, *each(own.values()), (shared, 1), (counts.m[item.node], -1)), high=0, shared=True)


def forbidden(counts: Counts) -> Iterator[Row]:
    """Each forbidden set of shapes is used at most in part."""
    problem = counts.problem
    if not problem.forbidden:
        return
    used = {shape: Variable(f"shape_{shape}", 1) for shape in problem.shapes}
    for on, column in zip(counts.on, problem.columns, strict=True):
        yield Row(((on, 1), (used[column.shape], -1)), high=0)
    for shapes in problem.forbidden:
        yield Row(each(used[shape] for shape in sorted(shapes) if shape in used), high=len(shapes) - 1, shared=True)


def min_replicas(counts: Counts) -> Iterator[Row]:
    least = counts.problem.bounds.min_replicas
    for n, on in zip(counts.n, counts.on, strict=True) if least > 1 else ():
        yield Row(((n, 1), (on, -least)), low=0, kind="min_replicas", limit=least)


def max_replicas(counts: Counts) -> Iterator[Row]:
    most = counts.problem.bounds.max_replicas
    for n in counts.n if most is not None else ():
        yield Row(((n, 1),), high=most, kind="max_replicas", limit=most)


def barred(counts: Counts) -> Iterator[Row]:
    """Classes stay off the paths that their regions or their precision rule out."""
    for one in counts.problem.barred:
        yield Row(each(counts.z[p] for p in one.paths), high=0, kind=one.kind, subject=one.subject)


def quotas(counts: Counts) -> Iterator[Row]:
    for quota in counts.problem.bounds.quotas:
        nodes = tuple((counts.m[name], counts.per_node[name]) for name in quota.nodes)
        yield Row(nodes, high=quota.gpus, kind="quota", subject=quota.name, limit=quota.gpus, shared=True)


def caps(counts: Counts) -> Iterator[Row]:
    """Ceilings on goals that no user asked for: how the front between two goals is walked."""
    for name, limit in counts.problem.bounds.caps:
        goal = GOALS[name](counts)
        yield Row(goal.terms, high=down(limit * goal.scale), kind="cap", subject=name, limit=limit, shared=True)


def max_pools(counts: Counts) -> Iterator[Row]:
    yield from _at_most("max_pools", pools(counts), counts.problem.bounds.max_pools)


def power_w(counts: Counts) -> Iterator[Row]:
    yield from _at_most("power_w", power(counts), counts.problem.bounds.power_w)


def usd_per_hour(counts: Counts) -> Iterator[Row]:
    yield from _at_most("usd_per_hour", usd(counts), counts.problem.bounds.usd_per_hour)


def accelerators(counts: Counts) -> Iterator[Row]:
    yield from _at_most("gpus", gpus(counts), counts.problem.bounds.gpus)


def inventory(counts: Counts) -> Iterator[Row]:
    for item in counts.problem.inventory:
        yield Row(
            ((counts.m[item.node], 1),),
            high=item.count,
            kind="inventory",
            subject=item.node,
            limit=item.count,
            shared=True,
        )


def coverage(counts: Counts) -> Iterator[Row]:
    """Every class is served by paths of the groups it belongs to."""
    classes = {group.name: group.classes for group in counts.problem.groups}
    for name in counts.problem.classes:
        served = [z for z, path in zip(counts.z, counts.problem.paths, strict=True) if name in classes[path.group]]
        yield Row((*each(served), (counts.total, -1)), high=0, low=0, kind="class", subject=name)


ROWS: tuple[Callable[[Counts], Iterator[Row]], ...] = (
    load, presence, links, one_way_on, packing, forbidden, failures,
    min_replicas, max_pools, survive, caps, power_w, usd_per_hour, accelerators, quotas, barred,
    inventory, max_replicas, coverage,
)  # fmt: skip


def _at_most(kind: str, goal: Goal, limit: float | None) -> Iterator[Row]:
    if limit is not None:
        yield Row(goal.terms, high=down(limit * goal.scale), kind=kind, limit=limit, scale=goal.scale, shared=True)


def _power_of_two(n: int) -> bool:
    return n & (n - 1) == 0
