"""Bytes on edges: encode, prefill and decode apart, a link as a queue, a backlog in front of a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner import traffic
from planner.sim.backlog import saturated
from planner.sim.metrics import tpot_s, ttft_s
from planner.sim.simulate import Run, simulate
from planner.sim.turns import turns
from planner.spec.deployment import Deployment, Edge, Route, Service
from planner.spec.requests import Requests
from planner.spec.workload import RequestClass

KV = 1e5


def pictures(rate: str = "1/s", n: int = 1, output: int = 20) -> Requests:
    graph = {
        "entry": "see",
        "nodes": {
            "see": {"phase": "encode", "input": {"fixed": 500}},
            "say": {"phase": "llm", "input": {"fixed": 100}, "output": {"fixed": output}},
        },
        "edges": [{"source": "see", "target": "say", "bytes_per_token": "8192 B"}],
    }
    given = {"name": "chat", "model": "m", "arrivals": {"rate": rate}, "requests": n, "graph": graph}
    return traffic.draw([RequestClass.model_validate(given)], seed=1, folder=Path())


def three(world: Any, bandwidth: str) -> Deployment:
    pools = tuple(world.pool_of(name, 1, (name,)) for name in ("encode", "prefill", "decode"))
    edges = tuple(
        Edge.model_validate({"source": a, "target": b, "bandwidth": bandwidth, "latency": "1 ms"})
        for a, b in (("encode", "prefill"), ("prefill", "decode"))
    )
    routes = tuple(Route(request_class="chat", pool=name) for name in ("encode", "prefill"))
    return Deployment(pools=pools, edges=edges, routes=routes)


def play(world: Any, requests: Requests, bandwidth: str, encode_s: float = 0.3) -> Run:
    eyes = world.a_replica(cost=world.constant_cost(encode_s))
    first = world.a_replica(kv_bytes_per_token=KV, cost=world.constant_cost(0.1))
    then = world.a_replica(cost=world.constant_cost(0.01))
    replicas = {"encode": eyes, "prefill": first, "decode": then}
    return simulate(three(world, bandwidth), replicas, requests, compiled=False)


def test_encode_prefill_decode_is_the_sum_of_its_parts(world: Any) -> None:
    """TTFT = T_E + t_EP + T_P (EPD, 2501.05460, section 3); the KV copy stands between tokens 1 and 2."""
    run = turns(play(world, pictures(), "10 MB/s"))
    assert ttft_s(run)[0] == pytest.approx(0.3 + (0.001 + 500 * 8192 / 1e7) + 0.1, rel=1e-12)
    copy_s = 0.001 + 600 * KV / 1e7
    assert tpot_s(run)[0] == pytest.approx(copy_s / 19 + 0.01, rel=1e-12)
    assert (run.input_tokens[0], run.output_tokens[0]) == (600, 20)
    assert run.pools["encode"].sent_bytes == 500 * 8192
    assert run.pools["prefill"].sent_bytes == 600 * KV


def test_without_an_encoder_it_is_a_split_of_two(world: Any) -> None:
    """No picture, no encoder: the graph of one node runs on the two other pools as a plain class does."""
    lengths = {"input": {"fixed": 600}, "output": {"fixed": 20}}
    base = {"name": "chat", "model": "m", "arrivals": {"rate": "5/s"}, "requests": 50}
    graph = {"entry": "say", "nodes": {"say": {"phase": "llm", **lengths}}}
    runs = []
    for form in ({"lengths": lengths}, {"graph": graph}):
        requests = traffic.draw([RequestClass.model_validate(base | form)], seed=2, folder=Path())
        deployment = three(world, "1 GB/s").model_copy(
            update={"routes": (Route(request_class="chat", pool="prefill"),)}
        )
        if requests.tasks is None:
            two = {"pools": deployment.pools[1:], "edges": deployment.edges[1:]}
            deployment = deployment.model_copy(update=two)
        replica = world.a_replica(kv_bytes_per_token=KV)
        replicas = {pool.name: replica for pool in deployment.pools}
        runs.append(simulate(deployment, replicas, requests, compiled=False))
    plain, graphed = runs
    assert np.array_equal(plain.finish_s, graphed.finish_s)
    assert np.array_equal(plain.transfer_s, graphed.transfer_s)


def lookups(rate: float, n: int, size: str) -> Requests:
    """A look-up of 1 s whose result moves to a second service that takes no time."""
    graph = {
        "entry": "find",
        "nodes": {
            "find": {"phase": "lookup", "seconds": {"fixed": "1 s"}},
            "keep": {"phase": "tool"},
            "say": {"phase": "llm", "input": {"fixed": 1}, "output": {"fixed": 1}},
        },
        "edges": [{"source": "find", "target": "keep", "bytes": size}, {"source": "keep", "target": "say"}],
    }
    given = {"name": "chat", "model": "m", "arrivals": {"rate": f"{rate}/s"}, "requests": n, "graph": graph}
    return traffic.draw([RequestClass.model_validate(given)], seed=3, folder=Path())


def on_services(world: Any, servers: int) -> Deployment:
    services = (
        Service(name="store", phases=("lookup",), servers=servers),
        Service(name="desk", phases=("tool",), servers=1000),
    )
    edge = Edge.model_validate({"source": "store", "target": "desk", "bandwidth": "1 GB/s", "latency": "0 s"})
    routes = tuple(Route(request_class="chat", pool=name) for name in ("all", "store", "desk"))
    return Deployment(pools=(world.pool_of(),), services=services, edges=(edge,), routes=routes)


def test_a_link_is_a_queue_with_constant_service(world: Any) -> None:
    """Poisson departures from servers without a queue, 0.5 s each on the link: M/D/1, W = rho D / (2 (1 - rho))."""
    requests = lookups(1.4, 20_000, "500 MB")
    run = simulate(on_services(world, 1000), {"all": world.a_replica()}, requests)
    moved = (run.arrival_s[1::3] - run.finish_s[::3])[4000:]
    assert moved.min() == pytest.approx(0.5, rel=1e-9)
    assert moved.mean() == pytest.approx(0.5 + 0.7 * 0.5 / (2 * 0.3), rel=0.05)


@pytest.mark.parametrize(("servers", "grows"), [(2, True), (6, False)])
def test_a_backlog_before_a_service_is_saturation(world: Any, servers: int, grows: bool) -> None:
    """Three look-ups of 1 s a second keep three servers busy: two fall behind, though the engine is idle."""
    run = simulate(on_services(world, servers), {"all": world.a_replica()}, lookups(3.0, 2000, "1 B"), compiled=False)
    assert saturated(run) is grows
