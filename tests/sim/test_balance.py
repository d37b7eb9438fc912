"""Prompts wait until every attention-DP rank has one: never longer than said, and fewer steps carry prompts."""

from __future__ import annotations

from typing import Any

import numpy as np

from planner.sim.simulate import Run, simulate

CONCURRENCY, RANKS, STEPS = 64, 8, 25


def closed(world: Any, **changes: Any) -> Run:
    random = np.random.default_rng(4)
    n = 10 * CONCURRENCY
    lengths = random.integers(900, 1100, n), random.integers(150, 250, n)
    requests = world.some_requests(np.zeros(n), *lengths, concurrency=CONCURRENCY)
    given = {"dp": RANKS, "max_tokens_per_step": 8192 * RANKS, "kv_blocks": 20_000} | changes
    replica = world.a_replica(scheduler="trtllm", **given)
    found: Run = simulate(world.one_pool(), {"all": replica}, requests, log=10**5)
    return found


def test_on_one_rank_it_changes_no_bit(world: Any) -> None:
    plain, neutral = (closed(world, dp=1, balance_steps=steps) for steps in (0, STEPS))
    for name in ("admitted_s", "first_token_s", "finish_s"):
        assert np.array_equal(getattr(plain, name), getattr(neutral, name))


def test_more_ranks_than_a_word_has_bits(world: Any) -> None:
    """Compiled and plain agree, and prompts do start together."""
    n, ranks = 400, 100
    requests = world.some_requests(np.zeros(n), 200, np.arange(n) % 40 + 20, concurrency=150)
    replica = world.a_replica(
        scheduler="trtllm", dp=ranks, balance_steps=500, max_seqs=150, kv_blocks=20_000, max_tokens_per_step=10**5
    )
    compiled, plain = (simulate(world.one_pool(), {"all": replica}, requests, compiled=one) for one in (True, False))
    assert np.array_equal(compiled.first_token_s, plain.first_token_s)
    assert np.isfinite(plain.finish_s).all()


def test_nobody_waits_longer_than_said_while_all_decode(world: Any) -> None:
    run = closed(world, balance_steps=STEPS)
    flights = run.log[run.log["end_s"] > 0]
    ends, steps = flights["end_s"], np.cumsum(flights["steps"])
    waits = step_at(ends, steps, run.admitted_s) - step_at(ends, steps, run.queued_s)
    full = slice(CONCURRENCY, -CONCURRENCY)  # before the drain, when some rank decodes nothing
    assert waits[full].max() <= STEPS + 1
    assert waits[full].mean() > STEPS / 8


def step_at(ends: Any, steps: Any, times: Any) -> Any:
    """Engine steps made by then."""
    return np.interp(times, ends, steps)


def test_steps_with_prompts_are_fewer_and_tokens_come_sooner_but_the_first(world: Any) -> None:
    """What the engine's documentation promises of it, and what recorded runs show."""
    plain, balanced = closed(world), closed(world, balance_steps=STEPS)
    with_prompts = [int((run.log["chunks"] > 0).sum()) for run in (plain, balanced)]
    assert with_prompts[1] < 0.5 * with_prompts[0]
    tpot_s = [np.mean((run.finish_s - run.first_token_s) / (run.output_tokens - 1)) for run in (plain, balanced)]
    assert tpot_s[1] < tpot_s[0]
    ttft_s = [np.mean(run.first_token_s - run.arrival_s) for run in (plain, balanced)]
    assert ttft_s[1] > ttft_s[0]
