"""Crowds: whoever is advanced as one ends up as if stepped alone, under load, memory pressure, windows and pauses."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from planner.sim import build, kernel
from planner.sim.build import build as built
from planner.sim.simulate import Run, simulate
from planner.spec.deployment import Deployment, Edge, Route
from planner.spec.requests import Requests
from planner.spec.step import Replica

POLICIES = ("vllm_v1", "prefill_first", "static_batch", "sarathi", "sglang", "trtllm_max_utilization", "orca")
TIMES = ("admitted_s", "first_token_s", "finish_s", "largest_gap_s")


def busy(world: Any, seed: int, concurrency: int = 0, n: int = 400) -> Requests:
    random = np.random.default_rng(seed)
    arrivals = np.cumsum(random.exponential(0.02, n))
    found: Requests = world.some_requests(
        arrivals, random.integers(1, 700, n), random.integers(1, 250, n), concurrency=concurrency,
        classes=np.arange(n) % 3 // 2,
    )  # fmt: skip
    return found


def replica_of(world: Any, scheduler: str, **changes: Any) -> Replica:
    window = changes.pop("window", 0)
    cost = world.step_cost(
        window_tokens=window, decode_window_s=np.full(257, 3e-9 if window else 0.0), window_pair_s=1e-10
    )
    found: Replica = world.a_replica(cost=cost, scheduler=scheduler, **changes)
    return found


def assert_equal(one: Run, other: Run) -> None:
    for name in TIMES:
        assert np.allclose(getattr(one, name), getattr(other, name), rtol=1e-9, atol=1e-12), name
    assert np.array_equal(one.preemptions, other.preemptions)
    assert np.array_equal(one.gap_count.sum(axis=1), other.gap_count.sum(axis=1))
    assert np.allclose(one.gap_sum_s, other.gap_sum_s, rtol=1e-9)
    for a, b in zip(one.pools.values(), other.pools.values(), strict=True):
        for name in ("steps", "decode_context_tokens", "decode_tokens"):
            assert getattr(a.work, name) == getattr(b.work, name), name
        assert (a.blocks_taken, a.blocks_given) == (b.blocks_taken, b.blocks_given)
        assert a.peak_blocks_share == b.peak_blocks_share


@pytest.mark.parametrize("scheduler", POLICIES)
@pytest.mark.parametrize(("kv_blocks", "window", "concurrency"), [(4096, 0, 0), (260, 0, 40), (700, 300, 0)])
def test_a_crowd_is_its_members(
    world: Any, scheduler: str, kv_blocks: int, window: int, concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = busy(world, len(scheduler) + kv_blocks, concurrency)
    kinds = {"all": replica_of(world, scheduler, kv_blocks=kv_blocks, window=window, max_seqs=48)}
    for peaks in (build.PEAKS, 2):
        monkeypatch.setattr(build, "PEAKS", peaks)
        one, other = (
            simulate(world.one_pool(classes=("chat", "code")), kinds, requests, warmup=0.1, skip=skip)
            for skip in (True, False)
        )
        assert_equal(one, other)


@pytest.mark.parametrize("kv_blocks", [4096, 300])
def test_a_crowd_makes_room_for_who_goes_first(world: Any, kv_blocks: int) -> None:
    requests = dataclasses.replace(busy(world, 11), priorities=(1, 0))
    kinds = {"all": replica_of(world, "vllm_v1", kv_blocks=kv_blocks, by_priority=True, max_seqs=24)}
    place = world.one_pool(classes=("chat", "code"))
    assert_equal(*(simulate(place, kinds, requests, skip=skip) for skip in (True, False)))


@pytest.mark.parametrize("scheduler", ["vllm_v1", "trtllm", "trtllm_max_utilization"])
@pytest.mark.parametrize("stages", [2, 4])
@pytest.mark.parametrize(("kv_blocks", "window", "budget"), [(4096, 0, 2048), (300, 0, 2048), (4096, 300, 60)])
def test_the_crews_of_a_pipeline_are_their_members(
    world: Any, scheduler: str, stages: int, kv_blocks: int, window: int, budget: int
) -> None:
    kinds = {
        "all": replica_of(
            world, scheduler, kv_blocks=kv_blocks, window=window, max_seqs=48, stages=stages, hop_s=1e-4,
            max_tokens_per_step=budget,
        )
    }  # fmt: skip
    place = world.one_pool(classes=("chat", "code"))
    for concurrency in (0, 40):
        requests = busy(world, stages + kv_blocks, concurrency)
        assert_equal(*(simulate(place, kinds, requests, warmup=0.1, skip=skip) for skip in (True, False)))


def test_preemption_meets_crowds(world: Any) -> None:
    """With so few blocks the crowd disperses and gathers again: else the test above would prove less than it says."""
    kinds = {"all": replica_of(world, "vllm_v1", kv_blocks=260, max_seqs=48)}
    s = built(world.one_pool(classes=("chat", "code")), kinds, busy(world, 7), 0)
    s.clock["skip"] = 1
    kernel.run(s)
    assert s.crowd[0, 0]["step"] > 0.5 * s.replica[0]["steps"]
    assert s.replica[0]["preemptions"] > 10
    assert not s.member.any()
    assert not s.grower.any()
    for name in ("size", "context", "window", "inside", "growers", "changes"):
        assert s.crowd[0, 0][name] == 0, name


def test_members_of_a_decode_pool_come_over_a_link(world: Any) -> None:
    edge = Edge.model_validate({"source": "all", "target": "more", "bandwidth": "5 GB/s", "latency": "1 ms"})
    pools = (world.pool_of("all", 2, ("prefill",)), world.pool_of("more", 1, ("decode",)))
    routes = tuple(Route(request_class=name, pool="all") for name in ("chat", "code"))
    deployment = Deployment(pools=pools, edges=(edge,), routes=routes)
    kind = replica_of(world, "vllm_v1", kv_blocks=600, kv_bytes_per_token=1e5)
    requests = busy(world, 3)
    one, other = (simulate(deployment, {"all": kind, "more": kind}, requests, skip=skip) for skip in (True, False))
    assert_equal(one, other)


@pytest.mark.parametrize("horizon_s", [0.5, 2.0, 4.1])
def test_records_are_up_to_date_when_the_run_is_cut(world: Any, horizon_s: float) -> None:
    kinds = {"all": replica_of(world, "vllm_v1")}
    requests = busy(world, 5)
    one, other = (
        simulate(world.one_pool(classes=("chat", "code")), kinds, requests, horizon_s=horizon_s, skip=skip)
        for skip in (True, False)
    )
    assert np.isinf(one.finish_s).any()
    assert_equal(one, other)


def test_a_crowd_goes_on_while_prompts_wait_for_every_rank(world: Any) -> None:
    kinds = {"all": replica_of(world, "trtllm", dp=4, balance_steps=30)}
    requests = busy(world, 9, concurrency=40)
    assert_equal(
        *(simulate(world.one_pool(classes=("chat", "code")), kinds, requests, skip=skip) for skip in (True, False))
    )
