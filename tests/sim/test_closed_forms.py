"""The simulator against closed forms: single requests, queueing theory, Little's law, pipelines."""

from __future__ import annotations

import heapq
from math import factorial
from typing import Any

import numpy as np
import pytest

from planner.sim.metrics import e2e_s, queue_s, tpot_s, ttft_s
from planner.sim.simulate import Run, simulate


def run(world: Any, replica: Any, requests: Any, **options: Any) -> Run:
    return simulate(world.one_pool(), {"all": replica}, requests, **options)


@pytest.mark.parametrize("compiled", [False, True], ids=["python", "compiled"])
@pytest.mark.parametrize("skip", [False, True], ids=["step", "skip"])
def test_one_request_in_an_empty_system(world: Any, compiled: bool, skip: bool) -> None:
    """TTFT is its prefill in chunks, e2e adds one decode per further token, written out here."""
    prompt, output, budget = 5000, 40, 2048
    found = run(
        world, world.a_replica(max_tokens_per_step=budget), world.some_requests(3.0, prompt, output),
        compiled=compiled, skip=skip,
    )  # fmt: skip
    prefill = 0.0
    for done in range(0, prompt, budget):
        q = min(budget, prompt - done)
        prefill += 2e-3 + 1e-5 * q + 1e-10 * (q * done + q * (q + 1) / 2) + 2e-9 * done + 1e-5
    decode = sum(2e-3 + 1e-6 + 1e-9 * (prompt + k) for k in range(1, output))
    assert ttft_s(found)[0] == pytest.approx(prefill, rel=1e-12)
    assert e2e_s(found)[0] == pytest.approx(prefill + decode, rel=1e-12)
    assert tpot_s(found)[0] == pytest.approx(decode / (output - 1), rel=1e-11)


def test_window_host_time_and_floor(world: Any) -> None:
    """Layers with a window read at most the window; host time comes before the queue; a chunk step has a floor."""
    cost = world.step_cost(
        decode_window_s=np.full(257, 3e-9), window_tokens=100, window_pair_s=2e-10, prefill_floor_s=0.05
    )
    found = run(world, world.a_replica(cost=cost, request_s=0.015), world.some_requests(0.0, 90, 30))
    assert ttft_s(found)[0] == pytest.approx(0.015 + 0.05, rel=1e-12)
    decode = sum(2e-3 + 1e-6 + 1e-9 * (90 + k) + 3e-9 * min(90 + k, 100) for k in range(1, 30))
    assert e2e_s(found)[0] == pytest.approx(0.065 + decode, rel=1e-12)
    free = world.step_cost(window_tokens=100, window_pair_s=2e-10)
    found = run(world, world.a_replica(cost=free), world.some_requests(0.0, 250, 1))
    pairs, in_window = 250 * 251 / 2, sum(min(x, 100) for x in range(1, 251))
    linear, full, windowed = 1e-5 * 250, 1e-10 * pairs, 2e-10 * in_window
    assert ttft_s(found)[0] == pytest.approx(2e-3 + linear + full + windowed + 1e-5, rel=1e-12)


def test_lock_step_ranks_share_the_chunks(world: Any) -> None:
    """Attention of the chunks is divided by min(dp, chunks); tokens, priced by the tables, are not."""
    one, four = (
        run(world, world.a_replica(dp=dp), world.some_requests(0.0, 300, 1, concurrency=0)).finish_s[0] for dp in (1, 4)
    )
    assert one == four
    requests = world.some_requests(np.zeros(2), 300, 1)
    one, four = (run(world, world.a_replica(dp=dp), requests).finish_s[1] for dp in (1, 4))
    attention = 2 * (1e-10 * 300 * 301 / 2 + 1e-5)
    assert one - four == pytest.approx(attention / 2, rel=1e-9)


def test_kth_of_simultaneous_equal_requests_waits_for_k_services(world: Any) -> None:
    replica = world.a_replica(max_seqs=1)
    found = run(world, replica, world.some_requests(np.zeros(6), 700, 9))
    service = found.finish_s[0]
    assert np.allclose(found.finish_s, service * np.arange(1, 7), rtol=1e-12)
    assert np.allclose(np.diff(ttft_s(found)), service, rtol=1e-12)


def md1(world: Any, rate: float, stages: int = 1, speedup: float = 1.0, n: int = 150_000) -> float:
    """Mean TTFT of equal prompts that fill a step alone, answers of one token, Poisson arrivals; D = 75.2 ms."""
    gaps = np.random.default_rng(7).exponential(1 / rate, n)
    replica = world.a_replica(
        cost=world.constant_cost(0.0752 / stages / speedup), max_tokens_per_step=512, stages=stages
    )
    found = run(world, replica, world.some_requests(np.cumsum(gaps), 512, 1))
    return float(ttft_s(found).mean())


@pytest.mark.parametrize(("rate", "measured_s"), [(2, 0.0821), (4, 0.0909), (6, 0.1058), (8, 0.1336), (10, None)])
def test_md1(world: Any, rate: float, measured_s: float | None) -> None:
    """T = D + R D^2 / (2 (1 - R D)), and the times another simulator measured for the same system."""
    d, found = 0.0752, md1(world, rate)
    assert found == pytest.approx(d + rate * d * d / (2 * (1 - rate * d)), rel=0.03)
    if measured_s:
        assert found == pytest.approx(measured_s, rel=0.03)


@pytest.mark.parametrize("rate", [4, 8, 11])
def test_two_pipeline_stages(world: Any, rate: float) -> None:
    """T = D + R D^2 / (4 (2 - R D)) for two equal stages (DistServe, 2401.09670)."""
    d = 0.0752
    assert md1(world, rate, stages=2) == pytest.approx(d + rate * d * d / (4 * (2 - rate * d)), rel=0.03)


@pytest.mark.parametrize("rate", [4, 8, 11])
def test_two_ranks_of_a_tensor(world: Any, rate: float) -> None:
    """T = D / K + R D^2 / (2 K (K - R D)) when two GPUs are K = 1.6 times as fast as one (DistServe, 2401.09670)."""
    d, k = 0.0752, 1.6
    expected = d / k + rate * d * d / (2 * k * (k - rate * d))
    assert md1(world, rate, speedup=k) == pytest.approx(expected, rel=0.03)


def test_tensor_and_pipeline_ranks_cross_over(world: Any) -> None:
    """At K = 1.6 both have the same mean TTFT where R D = 1.095 (from the two forms); on either side another wins."""
    below, above = ((md1(world, x / 0.0752, stages=2), md1(world, x / 0.0752, speedup=1.6)) for x in (1.073, 1.117))
    assert below[0] > below[1]
    assert above[0] < above[1]


def test_pipeline_hops_and_full_stages(world: Any) -> None:
    """A batch takes stages x step + hops; as many as there are stages are in flight, so hops leave gaps."""
    for hop_s in (0.0, 0.002):
        replica = world.a_replica(cost=world.constant_cost(0.01), stages=4, hop_s=hop_s, max_tokens_per_step=100)
        found = run(world, replica, world.some_requests(np.zeros(48), 100, 1))
        through = 4 * 0.01 + 3 * hop_s
        rounds, place = np.divmod(np.arange(48), 4)
        assert np.allclose(found.finish_s, through + rounds * through + place * 0.01, rtol=1e-12)


def exponential_slots(world: Any, load: float, n: int, scheduler: str = "vllm_v1") -> tuple[Run, Any, float]:
    """Four slots, exponential answers, a step that costs 1 ms for any batch: the run, services and arrival rate."""
    random = np.random.default_rng(11)
    output = np.ceil(random.exponential(300, n)).astype(np.int64)
    rate = load * 4 / (output.mean() * 1e-3)
    arrivals = np.cumsum(random.exponential(1 / rate, n))
    replica = world.a_replica(cost=world.constant_cost(1e-3), max_seqs=4, kv_blocks=10**6, scheduler=scheduler)
    return run(world, replica, world.some_requests(arrivals, 1, output)), output * 1e-3, rate


@pytest.mark.parametrize(
    ("load", "scheduler"), [(0.5, "vllm_v1"), (0.8, "vllm_v1"), (0.8, "orca"), (0.5, "trtllm"), (0.8, "trtllm")]
)
def test_mmc(world: Any, load: float, scheduler: str) -> None:
    """Erlang C within 3 %; 500,000 requests, because the sampling error of 100,000 at this load is 3 % itself."""
    found, service_s, rate = exponential_slots(world, load, 500_000, scheduler)
    a = load * 4
    tail = a**4 / factorial(4) / (1 - load)
    busy = tail / (sum(a**k / factorial(k) for k in range(4)) + tail)
    assert queue_s(found).mean() == pytest.approx(busy / (4 / service_s.mean() - rate), rel=0.03)


def test_slots_against_the_exact_recursion(world: Any) -> None:
    """First come, first served by four servers, computed request by request; steps add at most one step of waiting."""
    found, service_s, _ = exponential_slots(world, 0.8, 20_000)
    free, waits = [0.0] * 4, []
    for arrival, service in zip(found.arrival_s, service_s, strict=True):
        begin = max(arrival, heapq.heappop(free))
        heapq.heappush(free, begin + service)
        waits.append(begin - arrival)
    assert queue_s(found).mean() - np.mean(waits) == pytest.approx(0.5e-3, abs=0.1e-3)


@pytest.mark.parametrize(
    "scheduler",
    ["vllm_v1", "prefill_first", "static_batch", "sarathi", "sglang", "trtllm", "trtllm_max_utilization", "orca"],
)
def test_littles_law(world: Any, scheduler: str) -> None:
    """Areas under the queue lengths, counted by the replicas, equal the sums of the requests' times."""
    random = np.random.default_rng(3)
    requests = world.some_requests(
        np.cumsum(random.exponential(0.05, 300)), random.integers(1, 900, 300), random.integers(1, 200, 300)
    )
    replica = world.a_replica(scheduler=scheduler, kv_blocks=400, request_s=0.004, max_seqs=20)
    found = run(world, replica, requests)
    pool = found.pools["all"]
    stay = (found.finish_s - found.queued_s).sum()
    assert pool.mean_outstanding * found.end_s == pytest.approx(stay, rel=1e-9)
    if pool.work.preemptions == 0:
        wait = (found.admitted_s - found.queued_s).sum()
        assert pool.mean_waiting * found.end_s == pytest.approx(wait, rel=1e-9)


def test_closed_loop_keeps_its_requests_in_flight(world: Any) -> None:
    random = np.random.default_rng(5)
    requests = world.some_requests(
        np.zeros(200), random.integers(1, 900, 200), random.integers(1, 100, 200), concurrency=16
    )
    found = run(world, world.a_replica(), requests)
    assert np.array_equal(np.sort(found.arrival_s[16:]), np.sort(found.finish_s)[: 200 - 16])
    ends = np.sort(found.finish_s)
    for i in range(16, 200):
        in_flight = (found.arrival_s <= ends[i - 16]).sum() - (ends <= ends[i - 16]).sum()
        assert in_flight == 16


def test_nobody_is_slower_when_load_falls(world: Any) -> None:
    """Common random numbers: mean times do not fall when the rate rises."""
    random = np.random.default_rng(9)
    gaps, prompts, outputs = random.exponential(1.0, 2000), random.integers(1, 900, 2000), random.integers(1, 200, 2000)
    runs = [
        run(world, world.a_replica(), world.some_requests(np.cumsum(gaps) / rate, prompts, outputs))
        for rate in (1, 3, 9, 27, 81)
    ]
    for metric in (ttft_s, tpot_s, e2e_s):
        means = [np.nanmean(metric(found)) for found in runs]
        assert means == sorted(means)
