"""Seats fill nodes exactly, and a transfer gets what its narrowest link carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from planner.errors import BadInput
from planner.search.legality import require_legal
from planner.search.place import cluster_graph, pair_bandwidth, placement, seats, whole_nodes
from planner.search.setting import Setting
from planner.spec.deployment import Deployment, Parallelism, Pool, Route


def pool(name: str, site: str, tp: int, replicas: int, pp: int = 1) -> Pool:
    return Pool(
        name=name,
        model="dense",
        node=site,
        accelerator="Fast",
        parallelism=Parallelism(tp=tp, pp=pp),
        replicas=replicas,
    )


def test_no_accelerator_is_given_twice(small: Callable[..., Setting]) -> None:
    pools = (pool("a", "fast", 1, 3), pool("b", "fast", 4, 2), pool("c", "fast", 2, 2), pool("d", "old", 4, 2))
    taken = Counter(
        (host, first + i) for seat in seats(small(), pools) for host, first, count in seat.spans for i in range(count)
    )
    assert sum(taken.values()) == sum(p.gpus for p in pools)
    assert max(taken.values()) == 1


def test_a_replica_larger_than_a_node_takes_whole_nodes(small: Callable[..., Setting]) -> None:
    (seat,) = seats(small(), (pool("big", "fast", 8, 1, pp=2),))
    assert seat.spans == (("fast/0", 0, 8), ("fast/1", 0, 8))


def test_inside_a_node_the_scale_up_link_counts_outside_the_network(small: Callable[..., Setting]) -> None:
    setting = small()
    graph = cluster_graph(setting)
    near = (pool("p", "fast", 2, 1), pool("d", "fast", 4, 1))
    far = (pool("p", "fast", 8, 1), pool("d", "fast", 8, 1))
    assert pair_bandwidth(setting, graph, seats(setting, near), *near).bandwidth_bytes_per_s == 2 * 350e9
    assert pair_bandwidth(setting, graph, seats(setting, far), *far).bandwidth_bytes_per_s == 8 * 45e9


def test_a_stated_network_between_types_counts(small: Callable[..., Setting]) -> None:
    fleet = {
        "nodes": [
            {"name": "fast", "node": "Fast-8", "count": 1, "price": "$1/h"},
            {"name": "old", "node": "Old-4", "count": 1, "price": "$1/h"},
        ],
        "networks": [{"between": ["fast", "old"], "bandwidth": "3 GB/s", "latency": "1 ms"}],
    }
    setting = small(fleet=fleet)
    across = (pool("p", "fast", 4, 1), pool("d", "old", 2, 1))
    link = pair_bandwidth(setting, cluster_graph(setting), seats(setting, across), *across)
    assert link.bandwidth_bytes_per_s == pytest.approx(2 * 3e9)
    assert link.latency_s > 1e-3


def test_paid_but_unused_accelerators_are_named(small: Callable[..., Setting]) -> None:
    deployment = Deployment(pools=(pool("a", "fast", 2, 3),), routes=(Route(request_class="chat", pool="a"),))
    assert placement(small(), deployment) == {
        "hosts": {"fast/0": {"a.0": "0-1", "a.1": "2-3", "a.2": "4-5"}},
        "idle_accelerators": {"fast": 2},
    }


def test_odd_sizes_keep_to_their_own_nodes(small: Callable[..., Setting]) -> None:
    """Two of 3, one of 4 and two of 2 on nodes of 8: the 3s share a node, the rest shares the other."""
    pools = (pool("odd", "fast", 3, 2), pool("four", "fast", 4, 1), pool("two", "fast", 2, 2))
    setting = small()
    hosts = {seat.pool: {host for host, _, _ in seat.spans} for seat in seats(setting, pools)}
    assert hosts["odd"] == {"fast/1"}
    assert hosts["four"] == hosts["two"] == {"fast/0"}
    assert whole_nodes(setting.sites["fast"], pools) == 2


def test_a_deployment_that_cannot_run_is_refused_with_every_reason(small: Callable[..., Setting]) -> None:
    setting = small()
    wrong = Deployment(
        pools=(pool("a", "fast", 3, 1), pool("b", "fast", 8, 4)), routes=(Route(request_class="chat", pool="a"),)
    )
    with pytest.raises(BadInput) as found:
        require_legal(setting, wrong)
    assert "pool a: 16 attention heads do not divide by tp 3" in str(found.value)
    assert "the pools need 5 nodes of fast, the fleet has 2" in str(found.value)
    strange = Deployment(pools=(pool("a", "moon", 1, 1),), routes=(Route(request_class="talk", pool="a"),))
    with pytest.raises(BadInput, match="the fleet has no node 'moon'") as found:
        require_legal(setting, strange)
    assert "no route serves the class 'chat'" in str(found.value)
