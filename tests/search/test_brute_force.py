"""The solver against every possible choice on small random instances: shared pools, split pools, limits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from planner.search.problem import Bounds, Column, Conflict, Group, Inventory, Path, Problem, Selection
from planner.search.select import select

SLICES = 3
MOST_PATHS = 6
"""More would take brute force minutes."""
Sums = dict[int, Fraction]


def instance(seed: int) -> Problem:
    """Two classes on two node types of four accelerators: pools of their own, of both, for either, split ones."""
    draw = np.random.default_rng(seed)

    def any_of(*choices: float) -> float:
        return float(draw.choice(choices))

    groups = (Group("a", ("a",), any_of(2, 3, 7.3)), Group("b", ("b",), any_of(1, 4, 5.1)))
    mixed = Group("a+b", ("a", "b"), groups[0].demand + groups[1].demand)
    columns, paths = [], []
    for i in range(int(draw.integers(1, 6))):
        group, others = (mixed, *groups)[int(draw.integers(0, 3))], ()
        if group is groups[0] and draw.random() < 0.5:
            others = (("b", any_of(1, 2.5, 6)),)
        node, gpus = str(draw.choice(["x", "y"])), int(any_of(1, 2, 3, 4, 8))
        capacity = any_of(1, 1.7, 3, group.demand / 2, group.demand / 3) * gpus ** any_of(0.8, 1.0)
        watts = any_of(100, 250)
        span = gpus // 4 if gpus > 4 else 0
        columns.append(Column(f"c{i}", f"s{i}", node, gpus, span, group.name, capacity, watts, watts, others))
        paths += [Path(name, (i,)) for name in (group.name, *dict(others))]
    paths = [*paths, *_splits(draw, columns)][:MOST_PATHS]
    nodes = tuple(Inventory(name, int(any_of(1, 2, 4)), 4, any_of(1, 3, 7), any_of(0, 50)) for name in "xy")
    bounds = Bounds(
        usd_per_hour=any_of(8, 20) if draw.random() < 0.2 else None,
        gpus=int(any_of(4, 10)) if draw.random() < 0.2 else None,
        power_w=any_of(600.5, 2000.5) if draw.random() < 0.2 else None,
        max_pools=1 if draw.random() < 0.15 else None,
        min_replicas=int(any_of(1, 1, 2)),
        headroom=any_of(0, 0, 0.1, 0.3),
    )
    goals = (("usd_per_hour", "gpus"), ("gpus", "power_w"), ("power_w", "usd_per_hour"))[int(draw.integers(0, 3))]
    return Problem(tuple(columns), (*groups, mixed), tuple(paths), nodes, bounds, goals, slices=SLICES)


def _splits(draw: np.random.Generator, columns: list[Column]) -> Iterator[Path]:
    """Pairs of columns of one group, as prefill and decode; the link may be what limits."""
    for i, j in itertools.permutations(range(len(columns)), 2):
        if columns[i].group == columns[j].group and draw.random() < 0.3:
            yield Path(columns[i].group, (i, j), float(draw.choice([0.0, 0.1, 0.9])))


def brute_force(problem: Problem) -> tuple[float, ...] | None:
    """Best values of the goals over all ways to deal out the slices; replicas and nodes follow from them."""
    found = (_values(problem, dealt) for dealt in _deals(problem))
    return min((one for one in found if one is not None), default=None)


def _deals(problem: Problem) -> Iterator[tuple[int, ...]]:
    for dealt in itertools.product(range(SLICES + 1), repeat=len(problem.paths)):
        served = dict.fromkeys(problem.classes, 0)
        for path, slices in zip(problem.paths, dealt, strict=True):
            for name in problem.group(path.group).classes:
                served[name] += slices
        if set(served.values()) == {SLICES}:
            yield dealt


def _values(problem: Problem, dealt: tuple[int, ...]) -> tuple[float, ...] | None:
    replicas = _replicas(problem, dealt)
    nodes = {item.node: _nodes(problem, item, replicas) for item in problem.inventory}
    onward = [path.columns[0] for path, n in zip(problem.paths, dealt, strict=True) if n and len(path.columns) > 1]
    if len(onward) != len(set(onward)) or any(nodes[item.node] > item.count for item in problem.inventory):
        return None
    gpus = sum(n * problem.columns[i].gpus for i, n in replicas.items())
    watts = sum(n * problem.columns[i].idle_w for i, n in replicas.items())
    values = {
        "usd_per_hour": sum(item.usd_per_hour * nodes[item.node] for item in problem.inventory),
        "power_w": watts + sum(item.idle_w * nodes[item.node] for item in problem.inventory),
        "gpus": float(gpus), "max_pools": float(len(replicas)),
    }  # fmt: skip
    limits = {kind: getattr(problem.bounds, kind) for kind in values}
    if any(limit is not None and values[kind] > limit for kind, limit in limits.items()):
        return None
    return tuple(values[goal] for goal in problem.goals)


def _replicas(problem: Problem, dealt: tuple[int, ...]) -> dict[int, int]:
    """Fewest replicas that carry what is dealt to each column, and its transfers."""
    load: Sums = {}
    link: Sums = {}
    for path, slices in zip(problem.paths, dealt, strict=True):
        for i in path.columns if slices else ():
            taken = slices * Fraction(problem.group(path.group).demand) / SLICES
            load[i] = load.get(i, Fraction(0)) + taken / Fraction(problem.columns[i].carries(path.group))
            link[i] = link.get(i, Fraction(0)) + taken * Fraction(path.link_s) / problem.columns[i].gpus
    bounds = problem.bounds
    room = 1 - Fraction(str(bounds.headroom))
    return {i: max(_up(load[i] / room), _up(link[i]), bounds.min_replicas) for i in load}


def _up(value: Fraction) -> int:
    """A demand of three times a third asks for three, whatever binary floats make of a third."""
    return math.ceil(value - Fraction(1, 10**9))


def _nodes(problem: Problem, item: Inventory, replicas: dict[int, int]) -> int:
    """Whole nodes for large replicas and one each for those of three; the others fall into place by size."""
    mine = [(problem.columns[i], n) for i, n in replicas.items() if problem.columns[i].node == item.node]
    own = sum(n * (column.span or 1) for column, n in mine if column.span or column.gpus == 3)
    rest = sum(n * column.gpus for column, n in mine if column.gpus in (1, 2, 4))
    return own + -(-rest // item.gpus)


def check(seed: int) -> bool:
    """Whether the instance has a solution; both ways say the same."""
    problem = instance(seed)
    expected, found = brute_force(problem), select(problem)
    if expected is None:
        assert isinstance(found, Conflict), seed
        return False
    assert isinstance(found, Selection), seed
    assert found.proven, seed
    assert [one.value for one in found.reached] == pytest.approx(expected, rel=1e-9), seed
    assert all(one.bound == pytest.approx(one.value, rel=1e-9) for one in found.reached), seed
    return True


def test_solver_equals_brute_force() -> None:
    solved = [check(seed) for seed in range(60)]
    assert 20 < sum(solved) < 60


@pytest.mark.bench
def test_solver_equals_brute_force_at_length() -> None:
    solved = [check(seed) for seed in range(60, 2100)]
    print(f"{len(solved)} instances, {sum(solved)} with a solution")
