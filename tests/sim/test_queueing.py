"""Queueing theory beyond one server: M/M/1, processor sharing, tensor against pipeline parallelism, monotone worlds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.sim.metrics import e2e_s, queue_s, ttft_s
from planner.sim.simulate import Run, simulate

STEP_S = 1e-3


def served(world: Any, requests: Any, **changes: Any) -> Run:
    return simulate(world.one_pool(), {"all": world.a_replica(**changes)}, requests)


@pytest.mark.parametrize("load", [0.5, 0.7])
def test_mm1(world: Any, load: float) -> None:
    """One seat, exponential answers: mean wait = load / (mu - lambda), and nine in ten wait less than theory says."""
    random, n = np.random.default_rng(21), 400_000
    output = np.ceil(random.exponential(300, n)).astype(np.int64)
    service_s = output.mean() * STEP_S
    rate = load / service_s
    requests = world.some_requests(np.cumsum(random.exponential(1 / rate, n)), 1, output)
    run = served(world, requests, cost=world.constant_cost(STEP_S), max_seqs=1, kv_blocks=10**6)
    wait = queue_s(run)
    assert wait.mean() == pytest.approx(load * service_s / (1 - load), rel=0.03)
    p90 = np.log(load / 0.1) * service_s / (1 - load)
    assert np.quantile(wait, 0.9) == pytest.approx(p90, rel=0.03)


def sharing(world: Any, output: Any, load: float) -> tuple[Run, Any]:
    """A step costs 1 ms for each decode in it, prompts are free: n requests share the server evenly, token by token."""
    random = np.random.default_rng(5)
    shared = STEP_S * np.arange(257.0)
    cost = dataclasses.replace(world.constant_cost(0.0), decode_s=shared)
    service_s = (output - 1) * STEP_S
    arrivals = np.cumsum(random.exponential(service_s.mean() / load, len(output)))
    run = served(world, world.some_requests(arrivals, 1, output), cost=cost, max_seqs=256, kv_blocks=10**6)
    return run, service_s


@pytest.mark.parametrize("load", [0.4, 0.7])
@pytest.mark.parametrize("law", ["exponential", "two sizes", "equal"])
def test_processor_sharing(world: Any, law: str, load: float) -> None:
    """M/G/1-PS: mean time = mean service / (1 - load), whatever the law of the services."""
    random, n = np.random.default_rng(6), 150_000
    lengths = {
        "exponential": np.ceil(random.exponential(200, n)),
        "two sizes": np.where(random.random(n) < 0.9, 60, 1400),
        "equal": np.full(n, 200),
    }
    run, service_s = sharing(world, lengths[law].astype(np.int64) + 1, load)
    assert e2e_s(run).mean() == pytest.approx(service_s.mean() / (1 - load), rel=0.04)


def test_sharing_stretches_every_length_alike(world: Any) -> None:
    """E[T | x] = x / (1 - load): short and long answers are slowed by the same factor."""
    random, n, load = np.random.default_rng(7), 200_000, 0.6
    output = np.where(random.random(n) < 0.8, 50, 500) + 1
    run, service_s = sharing(world, output, load)
    for length in (51, 501):
        mine = output == length
        assert (e2e_s(run)[mine] / service_s[mine]).mean() == pytest.approx(1 / (1 - load), rel=0.06)


def mean_ttft(world: Any, busy: float, step_s: float, stages: int) -> float:
    """Prompts that fill a step alone, `busy` of them arriving in a second, answers of one token."""
    gaps = np.random.default_rng(7).exponential(1 / busy, 150_000)
    requests = world.some_requests(np.cumsum(gaps), 512, 1)
    run = served(world, requests, cost=world.constant_cost(step_s), max_tokens_per_step=512, stages=stages)
    return float(ttft_s(run).mean())


@pytest.mark.parametrize("busy", [0.6, 1.0, 1.25])
def test_tensor_and_pipeline_parallelism(world: Any, busy: float) -> None:
    """DistServe (2401.09670): D = 1 s, two accelerators, a speed-up of K = 1.6 by tensors.

    T_tp = D / K + R D^2 / (2 K (K - R D)), T_pp = D + R D^2 / (4 (2 - R D)); they cross at R D = 1.095.
    """
    k = 1.6
    tensor, pipeline = mean_ttft(world, busy, 1 / k, 1), mean_ttft(world, busy, 0.5, 2)
    assert tensor == pytest.approx(1 / k + busy / (2 * k * (k - busy)), rel=0.03)
    assert pipeline == pytest.approx(1 + busy / (4 * (2 - busy)), rel=0.03)
    assert (tensor < pipeline) is (busy < 1.095)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 5]), st.sampled_from([1.0, 30.0, 400.0]))
def test_more_seats_and_quicker_steps_delay_nobody(world: Any, seed: int, seats: int, rate: float) -> None:
    """First come, first served by seats that do not disturb each other: each request ends no later with more of them.

    By more than one step, that is: an engine that was never idle has its steps at other times.
    """
    random = np.random.default_rng(seed)
    requests = world.some_requests(np.cumsum(random.exponential(1 / rate, 60)), 1, random.integers(1, 60, 60))
    few, many = (
        served(world, requests, cost=world.constant_cost(STEP_S), max_seqs=n, kv_blocks=10**5)
        for n in (seats, 2 * seats)
    )
    assert (many.finish_s <= few.finish_s + STEP_S * (1 + 1e-9)).all()
    slow, quick = (
        served(world, requests, cost=world.constant_cost(s), max_seqs=1, kv_blocks=10**5) for s in (STEP_S, STEP_S / 2)
    )
    assert (quick.finish_s <= slow.finish_s * (1 + 1e-12)).all()
