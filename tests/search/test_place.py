"""Seats fill nodes exactly, and a transfer gets what its narrowest link carries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from planner.errors import BadInput
from planner.search.confirm import held, watch
from planner.search.layout import placement, split_domains
from planner.search.legality import require_legal
from planner.search.place import cluster_graph, crossing, pair_bandwidth, path_link, seats, whole_nodes
from planner.search.setting import Setting
from planner.spec.deployment import Deployment, Edge, Parallelism, Pool, Route
from planner.units import render


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
    told = placement(small(), deployment)
    assert told["hosts"] == {"fast/0": {"a.0": "0-1", "a.1": "2-3", "a.2": "4-5"}}
    assert told["idle_accelerators"] == {"fast": 2}
    assert told["alike"] == [{"node": "fast", "hosts": 1, "holds": {"a": 3}}]
    assert told["rails"] == {"fast": 8}
    assert told["links"] == []


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


def racks(small: Callable[..., Setting], count: int, domain: int = 8, per_rack: int = 0) -> Setting:
    """`count` nodes of 8, whose scale-up links join `domain` accelerators, in racks."""
    setting = small(fleet={"nodes": [{"name": "fast", "node": "Fast-8", "count": count, "price": "$1/h"}]})
    site = setting.sites["fast"]
    node = site.node.model_copy(update={"scaleup_domain": domain, "nodes_per_rack": per_rack})
    return replace(setting, sites={"fast": replace(site, hardware=replace(site.hardware, node=node))})


def random_pools(seed: int) -> list[Pool]:
    draw = np.random.default_rng(seed)
    shapes = [
        (int(draw.choice([1, 2, 4, 8, 3, 6, 16])), int(draw.choice([1, 1, 2]))) for _ in range(draw.integers(1, 6))
    ]
    fitting = [(tp, pp) for tp, pp in shapes if tp * pp <= 8 or tp * pp % 8 == 0]
    return [pool(f"p{i}", "fast", tp, int(draw.integers(1, 9)), pp) for i, (tp, pp) in enumerate(fitting)]


def test_any_mix_sits_whole_once_and_on_the_hosts_that_the_solver_counted(small: Callable[..., Setting]) -> None:
    setting = racks(small, 80, domain=32)
    site = setting.sites["fast"]
    for seed in range(150):
        pools = random_pools(seed)
        linked = {p.name for p in pools[:2]} if seed % 2 else set()
        seated = seats(setting, pools, linked=linked)
        taken = Counter((h, first + i) for seat in seated for h, first, count in seat.spans for i in range(count))
        sizes = {p.name: p.parallelism.gpus for p in pools}
        assert max(taken.values(), default=1) == 1, seed
        assert all(sum(count for *_, count in seat.spans) == sizes[seat.pool] for seat in seated), seed
        assert Counter(seat.pool for seat in seated) == {p.name: p.replicas for p in pools}, seed
        assert len({host for host, _ in taken}) == whole_nodes(site, pools), seed
        assert not any(crossing(setting, p, seat) for p in pools for seat in seated if seat.pool == p.name), seed


def test_replicas_of_a_pool_share_as_few_hosts_as_there_is_room(small: Callable[..., Setting]) -> None:
    pools = (pool("a", "fast", 2, 4), pool("b", "fast", 2, 4))
    by_host = Counter((seat.pool, seat.spans[0][0]) for seat in seats(racks(small, 4), pools))
    assert by_host == {("a", "fast/0"): 2, ("a", "fast/1"): 2, ("b", "fast/0"): 2, ("b", "fast/1"): 2}


def test_pools_that_exchange_caches_stay_together(small: Callable[..., Setting]) -> None:
    pools = (pool("d", "fast", 4, 1), pool("p", "fast", 2, 2), pool("other", "fast", 1, 8))
    setting = racks(small, 4)
    near = seats(setting, pools, linked={"p", "d"})
    assert {seat.spans[0][0] for seat in near if seat.pool in ("p", "d")} == {"fast/0"}
    assert pair_bandwidth(setting, cluster_graph(setting), near, pools[1], pools[0]).bandwidth_bytes_per_s == 2 * 350e9


def test_a_group_that_no_domain_holds_is_told(small: Callable[..., Setting]) -> None:
    """Domains of 24: the second group of 16 finds 8 left beside the first, and a domain of its own beyond."""
    big = pool("big", "fast", 16, 2)
    routes = (Route(request_class="chat", pool="big"),)
    enough, short = racks(small, 6, domain=24), racks(small, 4, domain=24)
    assert not list(split_domains(enough, Deployment(pools=(big,), routes=routes)))
    assert [s.spans[0][0] for s in seats(enough, (big,))] == ["fast/0", "fast/3"]
    (words,) = split_domains(short, Deployment(pools=(big,), routes=routes))
    assert words == "big: 1 of 2 replicas have tensor-parallel groups across scale-up domains"


def test_the_worst_pair_of_each_kind_stands_for_all(small: Callable[..., Setting]) -> None:
    setting = racks(small, 12, domain=16)
    graph = cluster_graph(setting)
    for seed in range(40):
        draw = np.random.default_rng(seed)
        shapes = [(int(draw.choice([1, 2, 4, 8])), int(draw.integers(1, 5))) for _ in range(2)]
        source, target = (pool(name, "fast", *shape) for name, shape in zip("ab", shapes, strict=True))
        seated = seats(setting, (source, target), linked="ab" if seed % 2 else "")
        hosts = [{s[0] for seat in seated if seat.pool == name for s in seat.spans} for name in "ab"]
        every = [path_link(graph, a, b) for a in hosts[0] for b in hosts[1]]
        found = pair_bandwidth(setting, graph, seated, source, target)
        lanes = min(source.parallelism.gpus, target.parallelism.gpus)
        assert found.bandwidth_bytes_per_s == lanes * min(link.bandwidth_bytes_per_s for link in every), seed
        assert found.latency_s == max(link.latency_s for link in every), seed


def test_racks_and_domains_of_the_used_hosts_are_in_the_plan(small: Callable[..., Setting]) -> None:
    setting = racks(small, 8, domain=16, per_rack=4)
    whole = Deployment(pools=(pool("a", "fast", 8, 6),), routes=(Route(request_class="chat", pool="a"),))
    told = placement(setting, whole)
    assert {rack: len(hosts) for rack, hosts in told["racks"].items()} == {"fast/rack/0": 4, "fast/rack/1": 2}
    assert list(told["domains"]) == ["fast/up/0", "fast/up/1", "fast/up/2"]


def test_a_thousand_nodes_have_every_replica_seated(small: Callable[..., Setting]) -> None:
    setting = racks(small, 1000, domain=8, per_rack=4)
    pools = (pool("p", "fast", 2, 1500), pool("d", "fast", 8, 400), pool("x", "fast", 4, 450))
    seated = seats(setting, pools, linked={"p", "d"})
    assert len(seated) == 2350
    link = pair_bandwidth(setting, cluster_graph(setting), seated, pools[0], pools[1])
    assert link.bandwidth_bytes_per_s == 2 * 45e9
    told = placement(setting, Deployment(pools=pools, routes=(Route(request_class="chat", pool="p"),)))
    assert sum(kind["hosts"] for kind in told["alike"]) == 1000
    assert len(told["alike"]) <= 4  # symmetric hosts are one line each


def test_the_confirming_simulation_sees_the_placed_link(small: Callable[..., Setting]) -> None:
    """The same pools with 350 GB/s in one node and 3 MB/s between two types: late tokens, so the plan is refused."""
    fleet = {
        "nodes": [
            {"name": "fast", "node": "Fast-8", "count": 1, "price": "$1/h"},
            {"name": "other", "node": "Fast-8", "count": 1, "price": "$1/h"},
        ],
        "networks": [{"between": ["fast", "other"], "bandwidth": "3 MB/s"}],
    }
    setting = small(fleet=fleet)
    seen = {}
    for place in ("fast", "other"):
        source = pool("p", "fast", 1, 1).model_copy(update={"phases": ("prefill",)})
        target = pool("d", place, 1, 1).model_copy(update={"phases": ("decode",)})
        pools = (source, target)
        link = pair_bandwidth(setting, cluster_graph(setting), seats(setting, pools, linked="pd"), *pools)
        edge = {"source": "p", "target": "d", "bandwidth": render(link.bandwidth_bytes_per_s, "bandwidth")}
        deployment = Deployment(
            pools=pools, edges=(Edge.model_validate(edge),), routes=(Route(request_class="chat", pool="p"),)
        )
        seen[place] = watch(setting, deployment, factor=0.1)
    assert held(seen["fast"])
    assert not held(seen["other"])
