"""The prefix cache: who finds what, what it saves and costs, against a plain LRU cache and recorded traces."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import BadInput
from planner.sim.simulate import Run, simulate
from planner.spec.requests import Chains, Requests
from planner.spec.step import KvTier
from planner.traffic.readers import read

TRACES = Path(__file__).parents[2].parent / "shared" / "traces"
SCHEDULERS = ("vllm_v1", "prefill_first", "sarathi", "sglang", "trtllm", "trtllm_max_utilization", "orca")
TIMES = ("admitted_s", "first_token_s", "finish_s", "largest_gap_s")


def chained(requests: Requests, rows: list[list[int]], link_tokens: int = 16) -> Requests:
    count = np.array([len(row) for row in rows], np.int64)
    links = np.array([one for row in rows for one in row] or [0], np.int64)
    return replace(requests, chains=Chains(np.cumsum(count) - count, count, links, link_tokens))


def served(
    world: SimpleNamespace, requests: Requests, replicas: int = 1, router: str = "round_robin", **changes: Any
) -> Run:
    compiled, skip = changes.pop("compiled", True), changes.pop("skip", True)
    kinds = {"all": world.a_replica(**changes)}
    return simulate(world.one_pool(replicas, router), kinds, requests, compiled=compiled, skip=skip)


def texts(world: SimpleNamespace, n: int, seed: int, gap_s: float = 0.02) -> Requests:
    """Prompts that begin with one of five texts of up to 12 links, some going on as an earlier one did."""
    rng = np.random.default_rng(seed)
    rows: list[list[int]] = []
    for i in range(n):
        earlier = rows[int(rng.integers(0, i))] if i and rng.random() < 0.4 else [int(rng.integers(0, 5))]
        rows.append([*earlier[:12], *(1000 * (i + 1) + k for k in range(int(rng.integers(0, 8))))])
    inputs = [16 * len(row) + int(rng.integers(1, 40)) for row in rows]
    requests = world.some_requests(np.cumsum(rng.exponential(gap_s, n)), inputs, rng.integers(1, 30, n))
    return chained(requests, rows)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_second_of_two_equal_prompts_computes_the_rest(world: SimpleNamespace, scheduler: str) -> None:
    """20 links are found; of a prompt that is all links the last one is computed."""
    pair = chained(world.some_requests([0.0, 1.0, 2.0], [330, 330, 320], 4), [list(range(20))] * 3)
    run = served(world, pair, scheduler=scheduler)
    pool = run.pools["all"]
    assert pool.work.prefill_tokens == 330 + 10 + 16
    assert (pool.hit_tokens, pool.asked_tokens) == (320 + 304, 330 + 330 + 320)
    assert run.first_token_s[1] - 1.0 < run.first_token_s[0]
    assert pool.blocks_taken == pool.blocks_given


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_chains_that_share_nothing_change_no_bit(world: SimpleNamespace, scheduler: str) -> None:
    rng = np.random.default_rng(2)
    plain = world.some_requests(np.sort(rng.random(40)) / 5, rng.integers(40, 700, 40), rng.integers(1, 60, 40))
    alone = chained(plain, [list(range(50 * i, 50 * i + int(n) // 16)) for i, n in enumerate(plain.input_tokens)])
    for blocks in (70, 4000):
        one, other = (served(world, r, scheduler=scheduler, kv_blocks=blocks) for r in (plain, alone))
        assert one.pools["all"].work.preemptions == 0 or blocks == 70
        if one.pools["all"].work.preemptions == 0:  # else a preempted prompt finds its own links again
            for field in TIMES:
                assert np.array_equal(getattr(one, field), getattr(other, field))


def test_without_the_cache_nothing_is_found(world: SimpleNamespace) -> None:
    requests = texts(world, 30, 1)
    off, plain = served(world, requests, prefix_cache=False), served(world, replace(requests, chains=None))
    assert np.array_equal(off.finish_s, plain.finish_s)
    assert off.pools["all"] == plain.pools["all"]


def test_an_answer_is_found_by_the_next_turn(world: SimpleNamespace) -> None:
    """160 prompt and 64 answer tokens; of the answer all but the last token has been computed."""
    turns = chained(world.some_requests([0.0, 5.0], [160, 300], [65, 5]), [list(range(14)), list(range(14))])
    assert served(world, turns).pools["all"].hit_tokens == 224


def test_shared_blocks_count_once(world: SimpleNamespace) -> None:
    """Four prompts of 64 links beside each other: 64 blocks together, and two more each for what is their own."""
    rows = [list(range(64))] * 5
    requests = chained(world.some_requests([0.0, 1.0, 1.0, 1.0, 1.0], 64 * 16 + 1, 17), rows)
    run = served(world, requests, kv_blocks=100, watermark=0.0)
    assert run.pools["all"].peak_blocks_share == pytest.approx((64 + 4 * 2) / 100)
    assert (run.admitted_s[1:] < 1.01).all()


def test_what_is_needed_least_recently_goes_first(world: SimpleNamespace) -> None:
    """Room for two of three texts: the one used longest ago is computed again, its tail before its head."""
    rows = [list(range(100 * k, 100 * k + 40)) for k in (1, 2, 1, 3, 1, 2)]
    requests = chained(world.some_requests(np.arange(6.0), 641, 1), rows)
    run = served(world, requests, kv_blocks=90, watermark=0.0)
    # the third text takes 41 blocks, 10 are empty: 31 links of text 2 go from its end, 9 are left for its return
    assert run.pools["all"].hit_tokens == (40 + 40 + 9) * 16


def test_a_lower_tier_costs_loading_not_computing(world: SimpleNamespace) -> None:
    rows = [list(range(100 * k, 100 * k + 40)) for k in (1, 2, 1)]
    requests = chained(world.some_requests(np.arange(3.0), 641, 1), rows)
    tier = KvTier(capacity_bytes=1e9, bandwidth_bytes_per_s=1e6, latency_s=1e-3)
    changes = {"kv_blocks": 45, "watermark": 0.0, "kv_bytes_per_token": 100.0}
    without, within = served(world, requests, **changes), served(world, requests, tiers=(tier,), **changes)
    assert without.pools["all"].hit_tokens < 40 * 16
    assert within.pools["all"].hit_tokens == 40 * 16
    loaded = round(within.pools["all"].loaded_bytes / 1600)
    assert 0 < loaded <= 40
    assert within.first_token_s[2] - 2.0 == pytest.approx(loaded * (1e-3 + 1600 / 1e6), rel=1e-12)


def test_a_tier_that_is_full_passes_on_to_the_next(world: SimpleNamespace) -> None:
    rows = [list(range(100 * k, 100 * k + 40)) for k in (1, 2, 3, 1)]
    requests = chained(world.some_requests(np.arange(4.0), 641, 1), rows)
    small = KvTier(10 * 1600.0, 1e9)
    changes = {"kv_blocks": 45, "watermark": 0.0, "kv_bytes_per_token": 100.0}
    hits = [
        served(world, requests, tiers=tiers, **changes).pools["all"].hit_tokens
        for tiers in ((), (small,), (small, KvTier(1e9, 1e9)))
    ]
    assert hits[0] <= hits[1] < hits[2] == 40 * 16


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("blocks", [70, 400])
def test_the_plain_loop_is_the_compiled_one(world: SimpleNamespace, scheduler: str, blocks: int) -> None:
    tier = KvTier(40 * 1600.0, 1e8, 1e-4)
    requests = texts(world, 60, 7, gap_s=0.004)
    changes = {"scheduler": scheduler, "kv_blocks": blocks, "tiers": (tier,), "kv_bytes_per_token": 100.0}
    one, two = (served(world, requests, compiled=compiled, **changes) for compiled in (True, False))
    for field in TIMES:
        assert np.array_equal(getattr(one, field), getattr(two, field))
    assert one.pools["all"] == two.pools["all"]
    assert one.pools["all"].blocks_taken == one.pools["all"].blocks_given
    assert one.pools["all"].hit_tokens > 0


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6), blocks=st.integers(50, 300), scheduler=st.sampled_from(SCHEDULERS),
    router=st.sampled_from(["round_robin", "least_kv", "prefix_affinity"]), replicas=st.integers(1, 3),
)  # fmt: skip
def test_tokens_and_blocks_are_conserved(
    world: SimpleNamespace, seed: int, blocks: int, scheduler: str, router: str, replicas: int
) -> None:
    requests = texts(world, 40, seed, gap_s=0.005)
    stepped = served(world, requests, replicas, router, kv_blocks=blocks, scheduler=scheduler, skip=False)
    run = served(world, requests, replicas, router, kv_blocks=blocks, scheduler=scheduler)
    pool = run.pools["all"]
    assert np.isfinite(run.finish_s[~run.rejected]).all()
    assert pool.blocks_taken == pool.blocks_given
    assert pool.peak_blocks_share <= 1
    assert pool.work.prefill_tokens >= requests.input_tokens[~run.rejected].sum() - pool.hit_tokens
    if pool.work.preemptions == 0:
        assert pool.work.prefill_tokens == requests.input_tokens[~run.rejected].sum() - pool.hit_tokens
    np.testing.assert_allclose(run.finish_s, stepped.finish_s, rtol=1e-9)


def test_requests_go_where_their_prefix_is(world: SimpleNamespace) -> None:
    """Sixteen documents asked for again and again: affinity finds nearly all, chance one time in four."""
    rng = np.random.default_rng(5)
    rows = [[100 * int(k) + j for j in range(40)] for k in rng.integers(0, 16, 400)]
    requests = chained(world.some_requests(np.cumsum(rng.exponential(0.02, 400)), 650, 20), rows)
    hits = {
        router: served(world, requests, 4, router, kv_blocks=300).pools["all"].hit_tokens / (400 * 640)
        for router in ("round_robin", "prefix_affinity")
    }
    assert hits["prefix_affinity"] > 0.9
    assert hits["round_robin"] < 0.6


def test_least_kv_fills_unequal_prompts_evenly(world: SimpleNamespace) -> None:
    """Every other prompt is long: turns put all the long ones on one replica, its cache decides otherwise."""
    inputs = np.where(np.arange(40) % 2, 1600, 100)
    requests = world.some_requests(np.zeros(40), inputs, 50)
    spread = {}
    for router in ("round_robin", "least_kv"):
        run = served(world, requests, 2, router)
        loads = [inputs[run.replica == r].sum() for r in range(2)]
        spread[router] = max(loads) / min(loads)
    assert spread["round_robin"] > 10
    assert spread["least_kv"] < 1.2


def lru_hits(rows: list[list[int]], links: int) -> int:
    """Leading links found by a cache of that many links, requests one after another."""
    cache: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for row in rows:
        found = 0
        while found < len(row) and row[found] in cache:
            found += 1
        hits += found
        for one in reversed(row):  # the tail is the first to go
            cache.pop(one, None)
            cache[one] = None
        while len(cache) > links:
            cache.popitem(last=False)
    return hits


def test_requests_one_by_one_see_a_plain_lru_cache(world: SimpleNamespace) -> None:
    """What a request itself holds for its rest is no cache: 3 blocks beside the 117 of the links."""
    rng = np.random.default_rng(11)
    rows = [[100 * int(k) + j for j in range(int(rng.integers(20, 40)))] for k in rng.integers(0, 8, 300)]
    requests = chained(world.some_requests(np.arange(300.0), [16 * len(row) + 33 for row in rows], 1), rows)
    run = served(world, requests, kv_blocks=120, watermark=0.0)
    assert run.pools["all"].hit_tokens / 16 == pytest.approx(lru_hits(rows, 117), rel=0.03)


@pytest.mark.skipif(not TRACES.exists(), reason="the recorded traces are not part of this project")
@pytest.mark.parametrize(
    ("name", "links", "share"),
    [
        ("mooncake_conversation", 200_000, 0.374), ("mooncake_conversation", 30_000, 0.332),
        ("mooncake_conversation", 10_000, 0.215), ("mooncake_synthetic", 100_000, 0.651),
        ("mooncake_synthetic", 10_000, 0.431),
    ],
)  # fmt: skip
def test_hit_rates_of_the_recorded_traces(world: SimpleNamespace, name: str, links: int, share: float) -> None:
    """One request after another, as the published rates were counted: share of all prompt tokens that is found.

    Those gave up a prompt's head first, which a cache of chains never does: a small one may find a little more.
    """
    recorded = read(TRACES / f"{name}.jsonl.gz", None)
    n = len(recorded)
    requests = replace(world.some_requests(np.arange(n) * 1e4, recorded.input_tokens, 1), chains=recorded.chains)
    run = served(world, requests, kv_blocks=links, block_tokens=512, max_tokens_per_step=1 << 15, watermark=0.0)
    assert not run.rejected.any()
    found = run.pools["all"].hit_tokens / requests.input_tokens.sum()
    assert share - 0.005 <= found <= share + (0.02 if links < 100_000 else 0.005)


def test_prefixes_that_fit_no_blocks_are_told(world: SimpleNamespace) -> None:
    with pytest.raises(BadInput, match="no whole blocks of 16"):
        served(world, chained(world.some_requests([0.0], 100, 5), [[1, 2]], link_tokens=24))
    with pytest.raises(BadInput, match="longer than prompt and answer"):
        served(world, chained(world.some_requests([0.0], 10, 5), [[1, 2]]))
