"""Prompt tokens of a prefix cache: no computation, blocks like any others, and nothing at all when there are none."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from planner.errors import BadInput
from planner.sim.simulate import Run, simulate
from planner.spec.requests import Requests

SCHEDULERS = ("vllm_v1", "prefill_first", "static_batch", "sarathi")
TIMES = ("admitted_s", "first_token_s", "finish_s", "largest_gap_s")


def served(world: SimpleNamespace, requests: Requests, **changes: Any) -> Run:
    compiled = changes.pop("compiled", True)
    return simulate(world.one_pool(), {"all": world.a_replica(**changes)}, requests, compiled=compiled)


def cached(requests: Requests, tokens: Any) -> Requests:
    return replace(requests, cached_tokens=np.broadcast_to(np.asarray(tokens, np.int64), len(requests)).copy())


def crowd(world: SimpleNamespace, seed: int = 3, n: int = 24) -> Requests:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(40, 700, n), rng.integers(1, 60, n)
    return world.some_requests(np.sort(rng.random(n)) / 5, *lengths)  # type: ignore[no-any-return]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("blocks", [70, 4000])
def test_no_cached_token_changes_no_bit(world: SimpleNamespace, scheduler: str, compiled: bool, blocks: int) -> None:
    requests = crowd(world)
    settings = {"scheduler": scheduler, "kv_blocks": blocks, "compiled": compiled}
    plain, zero = served(world, requests, **settings), served(world, cached(requests, 0), **settings)
    for field in TIMES:
        assert np.array_equal(getattr(plain, field), getattr(zero, field))
    assert plain.pools["all"] == zero.pools["all"]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_one_prompt_computes_only_what_is_not_cached(world: SimpleNamespace, scheduler: str) -> None:
    (lone,) = (cached(world.some_requests([0.0], 1000, 1), 960),)
    run = served(world, lone, scheduler=scheduler)
    step_s = 2e-3 + 40 * 1e-5 + 1e-10 * (40 * 960 + 40 * 41 / 2) + 2e-9 * 960 + 1e-5
    assert run.first_token_s[0] == pytest.approx(step_s, rel=1e-12)
    assert run.pools["all"].work.prefill_tokens == 40


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_cached_tokens_read_their_context_in_every_decode_step(world: SimpleNamespace, scheduler: str) -> None:
    run = served(world, cached(world.some_requests([0.0], 1000, 3), 992), scheduler=scheduler)
    assert run.pools["all"].work.decode_context_tokens == 1001 + 1002
    assert run.finish_s[0] - run.first_token_s[0] == pytest.approx(2 * 2.001e-3 + 1e-9 * 2003, rel=1e-12)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_cached_tokens_hold_blocks(world: SimpleNamespace, scheduler: str) -> None:
    """Two requests of 40 blocks each do not run together in 70 blocks, whatever the cache gives."""
    pair = cached(world.some_requests([0.0, 0.0], 600, 20), 592)
    run = served(world, pair, scheduler=scheduler, kv_blocks=70, watermark=0.0)
    assert run.admitted_s[1] >= run.finish_s[0]
    assert run.pools["all"].peak_blocks_share == pytest.approx(39 / 70)
    assert run.pools["all"].blocks_taken == run.pools["all"].blocks_given == 78


@pytest.mark.parametrize("scheduler", ["vllm_v1", "prefill_first", "sarathi"])
def test_a_preempted_request_finds_its_prefix_again(world: SimpleNamespace, scheduler: str) -> None:
    """Each admission computes what is known then less what the cache holds."""
    requests = cached(world.some_requests([0.0, 0.0, 0.0], 160, 200), 144)
    run = served(world, requests, scheduler=scheduler, kv_blocks=40, watermark=0.0)
    work = run.pools["all"].work
    assert work.preemptions > 0
    assert np.isfinite(run.finish_s).all()
    plain = served(world, world.some_requests([0.0, 0.0, 0.0], 160, 200), scheduler=scheduler, kv_blocks=40,
                   watermark=0.0).pools["all"].work  # fmt: skip
    assert plain.preemptions == work.preemptions
    assert plain.prefill_tokens - work.prefill_tokens == 144 * (3 + work.preemptions)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_plain_loop_is_the_compiled_one(world: SimpleNamespace, scheduler: str) -> None:
    requests = crowd(world, seed=5)
    requests = cached(requests, (requests.input_tokens - 1) // 2)
    settings = {"scheduler": scheduler, "kv_blocks": 90}
    one, two = (served(world, requests, compiled=compiled, **settings) for compiled in (True, False))
    for field in TIMES:
        assert np.array_equal(getattr(one, field), getattr(two, field))
    assert one.pools["all"] == two.pools["all"]


@pytest.mark.parametrize("tokens", [-1, 100, 101])
def test_more_than_the_prompt_cannot_be_cached(world: SimpleNamespace, tokens: int) -> None:
    with pytest.raises(BadInput, match="cached tokens must be"):
        served(world, cached(world.some_requests([0.0], 100, 5), tokens))
