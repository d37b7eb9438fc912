"""Routers and shares: who goes where, and what that does to waiting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planner.sim.metrics import ttft_s
from planner.sim.simulate import Run, simulate
from planner.spec.deployment import Deployment, Route
from planner.spec.requests import TaskKind, Tasks


def play(world: Any, router: str, replicas: int = 8, n: int = 4000, rate: float = 1.0) -> Run:
    """Prompts of mixed length at 80 % load per replica (rate 1)."""
    random = np.random.default_rng(6)
    prompts = random.integers(200, 3000, n)
    service = 2e-3 + 1e-5 * prompts.mean()
    arrivals = np.cumsum(random.exponential(service / (0.8 * replicas * rate), n))
    replica = world.a_replica(max_seqs=1, max_tokens_per_step=4096)
    return simulate(world.one_pool(replicas, router), {"all": replica}, world.some_requests(arrivals, prompts, 1))


def test_round_robin_takes_turns(world: Any) -> None:
    run = play(world, "round_robin", n=100)
    assert run.replica.tolist() == [i % 8 for i in range(100)]


def test_least_outstanding_never_waits_while_somebody_is_free(world: Any) -> None:
    run = play(world, "least_outstanding", n=500)
    for i in np.flatnonzero(run.admitted_s > run.arrival_s):
        busy = (run.arrival_s < run.arrival_s[i]) & (run.finish_s > run.arrival_s[i])
        assert len(set(run.replica[busy])) == 8


def test_better_informed_routers_wait_less(world: Any) -> None:
    for between in ("power_of_two", "round_robin"):
        means = [ttft_s(play(world, router)).mean() for router in ("least_outstanding", between, "random")]
        assert means == sorted(means)


def test_random_spreads_evenly(world: Any) -> None:
    counts = np.bincount(play(world, "random").replica, minlength=8)
    assert counts == pytest.approx(np.full(8, 500), abs=5 * np.sqrt(500 * 7 / 8))


def test_one_shared_pool_waits_less_than_two_isolated_ones(world: Any) -> None:
    random = np.random.default_rng(8)
    arrivals, prompts = np.cumsum(random.exponential(0.012, 3000)), random.integers(200, 3000, 3000)
    requests = world.some_requests(arrivals, prompts, 1, classes=random.integers(0, 2, 3000))
    replica = world.a_replica(max_seqs=1, max_tokens_per_step=4096)
    shared = simulate(world.one_pool(2, "least_outstanding", ("chat", "code")), {"all": replica}, requests)
    pools = (world.pool_of("a"), world.pool_of("b"))
    routes = (Route(request_class="chat", pool="a"), Route(request_class="code", pool="b"))
    apart = simulate(Deployment(pools=pools, routes=routes), {"a": replica, "b": replica}, requests)
    assert ttft_s(shared).mean() < ttft_s(apart).mean()


def test_twice_the_replicas_and_rate_keep_the_distribution(world: Any) -> None:
    few, many = play(world, "random", 4, 40_000), play(world, "random", 8, 40_000)
    assert ttft_s(many).mean() == pytest.approx(ttft_s(few).mean(), rel=0.05)


def test_shares_of_a_class(world: Any) -> None:
    """Shares are kept to one request in every prefix, and the same each time."""
    pools = (world.pool_of("a"), world.pool_of("b", 2))
    routes = (Route(request_class="chat", pool="a", share=0.3), Route(request_class="chat", pool="b", share=0.7))
    requests = world.some_requests(np.arange(1000) * 0.1, 50, 2)
    replica = world.a_replica()
    run = simulate(Deployment(pools=pools, routes=routes), {"a": replica, "b": replica}, requests)
    seen = np.cumsum(run.pool == 0) - 0.3 * np.arange(1, 1001)
    assert np.abs(seen).max() < 3


def test_a_session_stays_where_it_began(world: Any) -> None:
    """Four sessions of ten turns over two replicas; without affinity turns wander."""
    n = 40
    requests = world.some_requests(np.zeros(n), 500, 20)
    turn, job = np.arange(n) % 10, np.arange(n) // 10
    first = np.arange(n + 1) - np.arange(n + 1) // 10
    tasks = Tasks(
        job=job, turn=np.arange(n), kind=np.zeros(n, np.int64), kinds=(TaskKind(0, "llm", "llm"),),
        service_s=np.zeros(n), history_tokens=np.zeros(n, np.int64), first=first,
        child=np.flatnonzero(turn > 0), delay_s=np.full(36, 0.01), bytes=np.zeros(36),
    )  # fmt: skip
    homes = {}
    for router in ("session_affinity", "random"):
        kinds = {"all": world.a_replica()}
        run = simulate(world.one_pool(2, router), kinds, replace(requests, tasks=tasks))
        homes[router] = [len(set(run.replica[job == j].tolist())) for j in range(4)]
    assert homes["session_affinity"] == [1, 1, 1, 1]
    assert homes["random"] == [2, 2, 2, 2]
