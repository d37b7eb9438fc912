"""The timeline: valid trace events, every step and every phase at its time, bounded, and free when not asked for."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from planner.sim.simulate import Run, simulate
from planner.sim.timeline import FLIGHTS_PER_REQUEST, trace
from planner.spec.deployment import Deployment, Edge, Route


def split(world: Any) -> Deployment:
    pools = (world.pool_of("first", 2, ("prefill",)), world.pool_of("then", 1, ("decode",)))
    edge = Edge.model_validate({"source": "first", "target": "then", "bandwidth": "2 GB/s", "latency": "1 ms"})
    return Deployment(pools=pools, edges=(edge,), routes=(Route(request_class="chat", pool="first"),))


def play(world: Any, deployment: Deployment, n: int = 40, **options: Any) -> Run:
    random = np.random.default_rng(3)
    requests = world.some_requests(
        np.cumsum(random.exponential(0.02, n)), random.integers(1, 900, n), random.integers(1, 120, n)
    )
    replica = world.a_replica(kv_bytes_per_token=1e5)
    return simulate(deployment, {pool.name: replica for pool in deployment.pools}, requests, **options)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_log_changes_nothing_else(world: Any, compiled: bool) -> None:
    plain = play(world, world.one_pool(replicas=2), compiled=compiled)
    logged = play(world, world.one_pool(replicas=2), compiled=compiled, log=10_000)
    assert len(plain.log) == 0
    for field in dataclasses.fields(Run):
        if field.name != "log":
            a, b = getattr(plain, field.name), getattr(logged, field.name)
            assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b, field.name
    work = logged.pools["all"].work
    assert logged.log["steps"].sum() == work.steps
    assert (logged.log["steps"] * logged.log["decodes"]).sum() == work.decode_tokens
    assert logged.log["chunk_tokens"].sum() == work.prefill_tokens
    assert (logged.log["end_s"] - logged.log["start_s"]).sum() == pytest.approx(work.busy_s, rel=1e-12)


def test_events_are_the_run(world: Any) -> None:
    """Steps of a replica do not overlap; the phases of a request follow each other and fill its life."""
    deployment = split(world)
    run = play(world, deployment, log=10_000)
    document = json.loads(json.dumps(trace([(deployment, run)], 10_000), allow_nan=False))
    assert document["otherData"]["complete"] is True
    events = document["traceEvents"]
    assert {event["args"]["name"] for event in events if event["ph"] == "M"} == {
        "first 0", "first 1", "then 0", "requests of chat"
    }  # fmt: skip
    steps = [event for event in events if event["ph"] == "X"]
    assert sum(step["args"]["steps"] for step in steps) == sum(pool.work.steps for pool in run.pools.values())
    for pid in (1, 2, 3):
        mine = sorted((step["ts"], step["ts"] + step["dur"]) for step in steps if step["pid"] == pid)
        assert mine
        assert all(a[1] <= b[0] + 1e-3 for a, b in zip(mine, mine[1:], strict=False))
    for i in range(len(run)):
        mine = [event for event in events if event.get("id") == i]
        begun = {event["name"]: event["ts"] for event in mine if event["ph"] == "b"}
        ended = {event["name"]: event["ts"] for event in mine if event["ph"] == "e"}
        assert begun.keys() == ended.keys()
        phases = [name for name in ("queued", "prefill", "transfer", "decode") if name in begun]
        assert begun["chat"] == pytest.approx(1e6 * run.arrival_s[i])
        assert ended["chat"] == pytest.approx(1e6 * run.finish_s[i])
        assert [begun[b] for b in phases[1:]] == pytest.approx([ended[a] for a in phases[:-1]])
        assert ("transfer" in begun) is bool(run.output_tokens[i] > 1)


def test_the_size_is_bounded_and_a_full_log_says_so(world: Any) -> None:
    deployment = world.one_pool()
    run = play(world, deployment, n=400, log=5 * FLIGHTS_PER_REQUEST)
    few = trace([(deployment, run)], 5)
    assert {event["id"] for event in few["traceEvents"] if event["ph"] == "b"} == set(range(5))
    assert max(e["ts"] for e in few["traceEvents"] if e["ph"] == "X") <= 1e6 * run.finish_s[:5].max()
    assert few["otherData"]["complete"] is True
    short = trace([(deployment, play(world, deployment, n=400, log=10))], 5)
    assert sum(event["ph"] == "X" for event in short["traceEvents"]) == 10
    assert short["otherData"]["complete"] is False


def test_unfinished_requests_end_with_the_run(world: Any) -> None:
    deployment = world.one_pool()
    run = play(world, deployment, horizon_s=0.3, log=1000)
    events = trace([(deployment, run)], 100)["traceEvents"]
    assert not np.isfinite(run.finish_s).all()
    assert max(event["ts"] for event in events if event["ph"] == "e") <= 1e6 * run.end_s
    assert any(event["ph"] == "b" and not event["args"]["finished"] for event in events)
