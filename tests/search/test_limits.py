"""Limits of operators and clouds: failures survived, quotas, replicas, regions, precision; by hand and brute force."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planner.search.choose import Choice
from planner.search.columns import barred
from planner.search.evaluate import Evaluated
from planner.search.front import front
from planner.search.place import crowding, seats
from planner.search.plan import plan
from planner.search.problem import (
    Barred,
    Bounds,
    Column,
    Conflict,
    Group,
    Inventory,
    Path,
    Problem,
    Quota,
    Selection,
)
from planner.search.select import select
from planner.search.setting import Setting
from planner.search.space import Candidate
from planner.spec.deployment import Parallelism, Pool

Small = Callable[..., Setting]


def one_column(gpus: int, demand: float, goals: tuple[str, ...], nodes: int = 9, **bounds: Any) -> Problem:
    """A replica carries one request per second and stands on nodes of eight."""
    column = Column("c", "s", "x", gpus, 0, "g", 1.0)
    return Problem(
        (column,), (Group("g", ("chat",), demand),), (Path("g", (0,)),), (Inventory("x", nodes, 8, 10.0),),
        Bounds(**bounds), goals,
    )  # fmt: skip


def chosen(problem: Problem) -> Selection:
    found = select(problem)
    assert isinstance(found, Selection)
    assert found.proven
    return found


def kinds(problem: Problem) -> set[tuple[str, str]]:
    found = select(problem)
    assert isinstance(found, Conflict)
    return {(need.kind, need.subject) for need in found.needs}


@pytest.mark.parametrize(("fail", "needed"), [(0, 2), (1, 3), (2, 4)])
def test_whole_nodes_need_as_many_spares_as_fail(fail: int, needed: int) -> None:
    assert chosen(one_column(8, 2.0, ("gpus",), survive_nodes=fail)).replicas == {0: needed}


@pytest.mark.parametrize(
    ("goal", "replicas", "nodes", "spread"),
    [("usd_per_hour", 8, 2, 4), ("gpus", 5, 5, 1)],
)
def test_small_replicas_stand_apart_or_twice(goal: str, replicas: int, nodes: int, spread: int) -> None:
    """Four replicas of two: two full nodes, one of which may go, are cheapest; five nodes with one each are fewest."""
    found = chosen(one_column(2, 4.0, (goal,), survive_nodes=1))
    assert (found.replicas, found.nodes, found.spread) == ({0: replicas}, {"x": nodes}, {0: spread})


def test_placement_that_crowds_is_not_taken_again() -> None:
    problem = one_column(2, 4.0, ("gpus",), survive_nodes=1)
    assert chosen(replace(problem, clustered=((0, 2),))).replicas == {0: 6}
    assert chosen(replace(problem, clustered=((0, 4),))).replicas == {0: 8}


def test_headroom_is_for_days_without_failures() -> None:
    assert chosen(one_column(8, 4.0, ("gpus",), headroom=0.5)).replicas == {0: 8}
    assert chosen(one_column(8, 4.0, ("gpus",), headroom=0.5, survive_nodes=1)).replicas == {0: 8}


def zoned(*zones: str, **bounds: Any) -> Problem:
    """A type of nodes in each zone, at 10 and 20 USD an hour and so on, for a demand of two of them."""
    columns = tuple(Column(f"c{i}", f"s{i}", f"x{i}", 8, 0, "g", 1.0) for i in range(len(zones)))
    nodes = tuple(Inventory(f"x{i}", 9, 8, 10.0 * (i + 1), zone=zone) for i, zone in enumerate(zones))
    paths = tuple(Path("g", (i,)) for i in range(len(zones)))
    return Problem(columns, (Group("g", ("chat",), 2.0),), paths, nodes, Bounds(**bounds), ("usd_per_hour",))


def test_any_zone_may_go() -> None:
    assert chosen(zoned("a", "b")).replicas == {0: 2}
    assert chosen(zoned("a", "b", survive_zones=1)).replicas == {0: 2, 1: 2}
    assert chosen(zoned("a", "b", "c", survive_zones=1)).replicas in ({0: 2, 1: 2}, {0: 1, 1: 1, 2: 1})


def test_one_zone_survives_nothing() -> None:
    assert kinds(zoned("a", "a", survive_zones=1)) == {("survive", "zones")}


def test_quotas_count_whole_nodes_of_their_types() -> None:
    both = Quota("x0 + x1", ("x0", "x1"), 8)
    assert chosen(zoned("", "", "", quotas=(both,))).replicas == {0: 1, 2: 1}
    assert kinds(zoned("", "", quotas=(both,))) == {("quota", "x0 + x1"), ("class", "chat")}


def test_fewest_above_most_is_a_conflict_of_the_two() -> None:
    needs = kinds(one_column(8, 1.0, ("gpus",), min_replicas=3, max_replicas=2))
    assert {("min_replicas", ""), ("max_replicas", "")} <= needs
    assert ("inventory", "x") not in needs
    assert chosen(one_column(8, 2.5, ("gpus",), max_replicas=3)).replicas == {0: 3}
    assert ("max_replicas", "") in kinds(one_column(8, 3.5, ("gpus",), max_replicas=3))


def test_classes_stay_off_barred_paths() -> None:
    problem = replace(zoned("", ""), barred=(Barred("regions", "chat", (0,)),))
    assert chosen(problem).replicas == {1: 2}
    assert kinds(replace(problem, barred=(Barred("regions", "chat", (0, 1)),))) >= {("regions", "chat")}


def cheap_or_frugal(**bounds: Any) -> Problem:
    """Four replicas are needed, each 10 USD/h and 900 W or 30 USD/h and 100 W."""
    columns = (
        Column("c0", "s0", "x", 8, 0, "g", 1.0, 900.0, 900.0),
        Column("c1", "s1", "y", 8, 0, "g", 1.0, 100.0, 100.0),
    )
    nodes = (Inventory("x", 9, 8, 10.0), Inventory("y", 9, 8, 30.0))
    paths = (Path("g", (0,)), Path("g", (1,)))
    return Problem(columns, (Group("g", ("chat",), 4.0),), paths, nodes, Bounds(**bounds), ("usd_per_hour",))


def test_a_cap_walks_from_one_goal_to_another() -> None:
    capped = [cheap_or_frugal(caps=(("power_w", level),)) for level in (3600.0, 2000.0, 400.0)]
    assert [chosen(one).reached[0].value for one in capped] == [40.0, 80.0, 120.0]


def test_the_front_goes_from_one_goal_to_the_other(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsimulated(setting: Setting, columns: Any, problem: Problem, progress: Any) -> Choice:
        return Choice(problem, chosen(problem), deployment=None, seen=(), rounds=1, cuts=())  # type: ignore[arg-type]

    monkeypatch.setattr("planner.search.front.settle", unsimulated)
    setting = small(pareto={"goals": ["usd_per_hour", "joules_per_token"], "points": 5})
    points = front(setting, (), cheap_or_frugal(), lambda *_: None)
    cost = [tuple(reached.value for reached in point.selection.reached) for point in points]
    cost[-1] = cost[-1][::-1]  # the far end was solved for the second goal first
    assert cost == [(40.0, 3600.0), (60.0, 2800.0), (80.0, 2000.0), (100.0, 1200.0), (120.0, 400.0)]


def instance(seed: int) -> Problem:
    """Up to three columns on two types of two accelerators; one failing node or zone."""
    draw = np.random.default_rng(seed)
    columns = []
    for i in range(int(draw.integers(1, 4))):
        gpus = int(draw.choice([1, 2, 4]))
        capacity = float(draw.choice([0.5, 1.0, 2.0])) * gpus
        columns.append(
            Column(f"c{i}", f"s{i}", str(draw.choice(["x", "y"])), gpus, gpus // 2 if gpus > 2 else 0, "g", capacity)
        )
    nodes = tuple(
        Inventory(name, int(draw.integers(2, 5)), 2, float(draw.choice([1.0, 3.0])), zone=str(draw.choice(["a", "b"])))
        for name in "xy"
    )
    by_zone = bool(draw.random() < 0.4)
    bounds = Bounds(survive_nodes=0 if by_zone else 1, survive_zones=int(by_zone))
    goals = (("usd_per_hour", "gpus"), ("gpus", "usd_per_hour"))[int(draw.integers(0, 2))]
    demand = float(draw.choice([1.0, 2.0, 3.0]))
    paths = tuple(Path("g", (i,)) for i in range(len(columns)))
    return Problem(tuple(columns), (Group("g", ("chat",), demand),), paths, nodes, bounds, goals, slices=4)


def brute_force(problem: Problem) -> tuple[float, ...] | None:
    """Best goals over all counts, spreads and node counts; whatever is left must carry whole slices of the demand."""
    return min(_plans(problem), default=None)


def _plans(problem: Problem) -> Iterator[tuple[float, ...]]:
    columns = problem.columns
    room = {item.node: item.count for item in problem.inventory}
    most = [room[c.node] // c.span if c.span else room[c.node] * (2 // c.gpus) for c in columns]
    for counts in itertools.product(*(range(n + 1) for n in most)):
        if not any(counts):
            continue
        for bought in itertools.product(*(range(item.count + 1) for item in problem.inventory)):
            nodes = dict(zip("xy", bought, strict=True))
            if _holds(problem, counts, nodes):
                usd = sum(item.usd_per_hour * nodes[item.node] for item in problem.inventory)
                gpus = float(sum(n * c.gpus for n, c in zip(counts, columns, strict=True)))
                yield tuple({"usd_per_hour": usd, "gpus": gpus}[goal] for goal in problem.goals)


def _holds(problem: Problem, counts: tuple[int, ...], nodes: dict[str, int]) -> bool:
    columns, bounds = problem.columns, problem.bounds
    lost = []
    for i, (n, c) in enumerate(zip(counts, columns, strict=True)):
        spanning = sum(m * d.span for m, d in zip(counts, columns, strict=True) if d.node == c.node)
        shared = nodes[c.node] - spanning
        least = 1 if c.span else -(-n // max(shared, 1))
        if not c.span and n and (shared < 1 or least > 2 // c.gpus):
            return False
        lost.append(min(n, least * bounds.survive_nodes) if n else 0)
        assert lost[i] >= 0
    for name in nodes:
        mine = [(n, c) for n, c in zip(counts, columns, strict=True) if c.node == name]
        whole = sum(n * c.span for n, c in mine)
        if whole + -(-sum(n * c.gpus for n, c in mine if not c.span) // 2) > nodes[name]:
            return False
    if not _carry(problem, counts):
        return False
    if bounds.survive_zones:
        zone = {item.node: item.zone for item in problem.inventory}
        downs = [
            tuple(0 if zone[c.node] == z else n for n, c in zip(counts, columns, strict=True))
            for z in set(zone.values())
        ]
    else:
        downs = [
            tuple(n - gone if c.node == name else n for n, gone, c in zip(counts, lost, columns, strict=True))
            for name in nodes
        ]
    return all(_carry(problem, left) for left in downs)


def _carry(problem: Problem, counts: tuple[int, ...]) -> bool:
    slice_ = problem.groups[0].demand / problem.slices
    carried = (math.floor(n * c.capacity / slice_ + 1e-9) for n, c in zip(counts, problem.columns, strict=True))
    return sum(carried) >= problem.slices


def check(seed: int) -> bool:
    problem = instance(seed)
    expected, found = brute_force(problem), select(problem)
    if expected is None:
        assert isinstance(found, Conflict), seed
        return False
    assert isinstance(found, Selection), seed
    assert [one.value for one in found.reached] == pytest.approx(expected, rel=1e-9), seed
    return True


def test_failures_equal_brute_force() -> None:
    solved = [check(seed) for seed in range(40)]
    assert 10 < sum(solved) < 40


def test_seats_keep_to_the_nodes_that_were_bought(small: Small) -> None:
    pool = Pool(name="p", model="dense", node="fast", accelerator="Fast", replicas=4, parallelism=Parallelism(tp=2))
    dense = crowding(seats(small(), [pool]))
    apart = seats(small(), [pool], {"fast": 2})
    assert (dense["p"], crowding(apart)["p"]) == (4, 2)
    assert {host for seat in apart for host, _, _ in seat.spans} == {"fast/0", "fast/1"}


def test_classes_know_their_regions_and_their_precision(small: Small) -> None:
    nodes = [
        {"name": "fast", "node": "Fast-8", "count": 2, "price": "$80/h", "region": "eu"},
        {"name": "old", "node": "Old-4", "count": 3, "price": "$4/h", "region": "us"},
    ]
    base = small().scenario.classes[0].model_dump(mode="json", by_alias=True, exclude_defaults=True)
    classes = [{**base, "name": "here", "regions": ["eu"]}, {**base, "name": "fine", "precision": {"weights": "bf16"}}]
    setting = small(fleet={"nodes": nodes}, classes=classes)

    def column(site: str, weights: str, load: str) -> Evaluated:
        return Evaluated(Candidate("m", site, "aggregated", 1, 1, 1, 1, weights, "bf16", 64, 2048), load, 1.0)

    columns = (column("fast", "fp8", "here+fine"), column("old", "bf16", "here+fine"), column("fast", "bf16", "fine"))
    paths = tuple(Path(one.load, (i,)) for i, one in enumerate(columns))
    assert list(barred(setting, columns, paths)) == [
        Barred("regions", "here", (1,)), Barred("precision", "fine", (0,))
    ]  # fmt: skip


def test_a_plan_that_survives_a_node(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either of its hosts the pools that are left carry the demand at the capacity of their columns."""
    settings = {"plain": small(), "safe": small(limits={"survive": {"nodes": 1}})}
    found = {}
    for name, setting in settings.items():
        monkeypatch.setattr("planner.search.plan.setting_of", lambda *_, setting=setting: setting)
        found[name] = plan(setting.scenario)
    assert found["safe"].bill.usd_per_hour > found["plain"].bill.usd_per_hour
    assert found["safe"].status == "optimal"
    assert sum(pool.nodes for pool in found["safe"].pools) == len(found["safe"].placement["hosts"]) >= 2


def test_between_two_equal_goals_there_is_nothing(small: Small) -> None:
    with pytest.raises(ValueError, match="two different goals"):
        small(pareto={"goals": ["gpus", "gpus"]})
