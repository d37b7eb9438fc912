"""What each scheduler puts into a step, on cases small enough to follow by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planner.errors import BadInput
from planner.sim.simulate import Run, simulate

STEP_S = 0.01


def play(world: Any, scheduler: str, arrival_s: Any, prompts: Any, outputs: Any, **changes: Any) -> Run:
    """Every step takes 10 ms, so times are step numbers."""
    replica = world.a_replica(
        cost=world.constant_cost(STEP_S), scheduler=scheduler, **({"max_tokens_per_step": 100} | changes)
    )
    return simulate(world.one_pool(), {"all": replica}, world.some_requests(arrival_s, prompts, outputs))


def steps(times_s: Any) -> list[int]:
    return np.round(np.asarray(times_s) / STEP_S).astype(int).tolist()


@pytest.mark.parametrize(
    ("scheduler", "flags"),
    [("vllm_v1", {}), ("trtllm", {}), ("trtllm_max_utilization", {}), ("sglang", {"mixed_chunks": True})],
)
def test_decodes_and_chunks_mix(world: Any, scheduler: str, flags: dict[str, bool]) -> None:
    """Step 1: 60 + 40 of 90. Step 2: decode + 50 left, and 49 of the third; step 3: the rest of it."""
    run = play(world, scheduler, np.zeros(3), [60, 90, 80], [5, 5, 5], **flags)
    assert steps(run.first_token_s) == [1, 2, 3]
    assert steps(run.finish_s) == [5, 6, 7]
    assert run.pools["all"].work.prefill_tokens == 230


@pytest.mark.parametrize("scheduler", ["prefill_first", "sglang"])
def test_prefill_first_stalls_decodes(world: Any, scheduler: str) -> None:
    """Prompts 60 + 40, then 50 + 50, then 30; only then decodes: the first gap of request 0 spans two more prefills."""
    run = play(world, scheduler, np.zeros(3), [60, 90, 80], [5, 5, 5])
    assert steps(run.first_token_s) == [1, 2, 3]
    assert steps(run.finish_s) == [7, 7, 7]
    assert steps(run.largest_gap_s) == [3, 2, 1]


def test_static_batch_waits_for_the_last(world: Any) -> None:
    """Two seats: the third request enters when both have ended, although one ended long before."""
    run = play(world, "static_batch", np.zeros(3), 50, [2, 20, 2], max_seqs=2)
    assert steps(run.finish_s) == [2, 20, 22]
    assert steps(run.admitted_s) == [0, 0, 20]


def test_sarathi_gives_the_budget_to_decodes_first(world: Any) -> None:
    """A budget of three tokens: while three decode no prompt does; each that ends lets one prompt in."""
    run = play(world, "sarathi", [0.0] * 4 + [0.015], 1, [4, 9, 9, 9, 2], max_tokens_per_step=3)
    assert steps(run.first_token_s) == [1, 1, 1, 5, 10]
    assert steps(run.finish_s) == [4, 9, 9, 13, 11]


@pytest.mark.parametrize("scheduler", ["trtllm", "vllm_v1"])
def test_whole_prompts_wait_for_a_step_with_room(world: Any, scheduler: str) -> None:
    """60 alone, because 90 do not fit beside them in 100; then 1 + 90, then 2 + 80."""
    run = play(world, scheduler, np.zeros(3), [60, 90, 80], [5, 5, 5], whole_prompts=True)
    assert steps(run.admitted_s) == [0, 1, 2]
    assert steps(run.finish_s) == [5, 6, 7]


def test_orca_has_no_token_budget(world: Any) -> None:
    run = play(world, "orca", np.zeros(3), [60, 90, 80], [5, 6, 7])
    assert steps(run.first_token_s) == [1, 1, 1]
    assert steps(run.finish_s) == [5, 6, 7]


@pytest.mark.parametrize("scheduler", ["orca", "trtllm"])
def test_a_whole_life_is_reserved(world: Any, scheduler: str) -> None:
    """Six blocks of ten tokens: 28 + 12 tokens take four, so the second waits for the end of the first."""
    run = play(world, scheduler, np.zeros(2), 28, 12, kv_blocks=6, block_tokens=10, watermark=0.0)
    assert run.preemptions.sum() == 0
    assert steps(run.finish_s) == [12, 24]


@pytest.mark.parametrize(("conservativeness", "admitted"), [(1.0, 40), (0.1, 11)])
def test_sglang_lets_in_by_estimate(world: Any, conservativeness: float, admitted: int) -> None:
    """Ten blocks of ten tokens. After 11 steps the first holds 3 blocks and has 29 tokens left, the ratio is 0.690.

    The second counts as 10 + 31 tokens and a block: more than 70 - 29 * 0.690, less than 70 - 29 * 0.069.
    """
    run = play(
        world, "sglang", [0.0, 0.105], [20, 10], [40, 31], kv_blocks=10, block_tokens=10, watermark=0.0,
        conservativeness=conservativeness,
    )  # fmt: skip
    assert steps(run.admitted_s) == [0, admitted]


def test_sglang_retracts_who_generated_least(world: Any) -> None:
    """The second starts in step 12; after 20 decodes of both, 51 and 41 tokens need 11 of ten blocks.

    The second goes, to be recomputed with the 21 tokens it had. The ratio is 1 then, so it enters when the first ends
    in step 41, and needs step 42 for its prompt and 13 more.
    """
    run = play(
        world, "sglang", [0.0, 0.105], 20, [40, 35], kv_blocks=10, block_tokens=10, watermark=0.0,
        conservativeness=0.1,
    )  # fmt: skip
    assert steps(run.admitted_s) == [0, 11]
    assert run.preemptions.tolist() == [0, 1]
    assert run.pools["all"].work.prefill_tokens == 20 + 20 + 41
    assert steps(run.finish_s) == [41, 55]


@pytest.mark.parametrize("scheduler", ["vllm_v1", "prefill_first", "trtllm_max_utilization"])
def test_the_last_running_request_makes_room(world: Any, scheduler: str) -> None:
    """Six blocks of ten tokens: two prompts of 28 fill them, the second is recomputed with what it had generated."""
    run = play(world, scheduler, np.zeros(2), 28, 12, kv_blocks=6, block_tokens=10, watermark=0.0)
    assert run.preemptions.tolist() == [0, 1]
    assert steps(run.finish_s)[0] == 12
    generated = 3  # tokens 29 and 30 fit into the third block, token 31 does not
    assert run.pools["all"].work.prefill_tokens == 28 + 28 + 28 + generated
    assert steps(run.finish_s)[1] == 12 + (12 - generated)


def test_watermark_holds_back_new_requests_only(world: Any) -> None:
    """Of ten blocks one is kept: two prompts of four blocks enter, a third of two waits, growth uses the last."""
    run = play(world, "vllm_v1", np.zeros(3), [40, 40, 20], [11, 11, 2], kv_blocks=10, block_tokens=10, watermark=0.1)
    assert steps(run.admitted_s) == [0, 0, 11]
    assert run.preemptions.sum() == 0
    assert run.pools["all"].peak_blocks_share == 1.0


@pytest.mark.parametrize(("lag", "admitted"), [(0.0, [0, 1, 2]), (2.0, [0, 3, 4]), (0.5, [0, 2, 2])])
def test_lag_counts_engine_steps(world: Any, lag: float, admitted: list[int]) -> None:
    """Requests that come during steps 1 and 2 are admitted `lag` steps later than at once; an idle engine waits not."""
    run = play(world, "vllm_v1", [0.0, 0.005, 0.015], 10, 20, admission_lag_steps=lag)
    assert steps(run.admitted_s) == admitted


def test_priority_orders_the_queue(world: Any) -> None:
    """One seat and two steps each: 0 before 1 before 2, whoever came first."""
    requests = world.some_requests(np.zeros(3), 50, 2, classes=[0, 1, 2], priorities=(2, 0, 1))
    for by_priority, ends in ((False, [2, 4, 6]), (True, [6, 2, 4])):
        replica = world.a_replica(cost=world.constant_cost(STEP_S), max_seqs=1, by_priority=by_priority)
        run = simulate(world.one_pool(classes=("chat", "code", "batch")), {"all": replica}, requests)
        assert steps(run.finish_s) == ends


def test_priority_chooses_who_makes_room(world: Any) -> None:
    """As in `test_the_last_running_request_makes_room`, but the first is the less urgent."""
    requests = world.some_requests(np.zeros(2), 28, 12, classes=[0, 1], priorities=(1, 0))
    replica = world.a_replica(
        cost=world.constant_cost(STEP_S), by_priority=True, kv_blocks=6, block_tokens=10, watermark=0.0
    )
    run = simulate(world.one_pool(classes=("chat", "code")), {"all": replica}, requests)
    assert run.preemptions.tolist() == [1, 0]
    assert steps(run.finish_s) == [21, 12]


def test_swapping_takes_time_and_no_tokens(world: Any) -> None:
    """A block of ten tokens and 1 MB takes one step's time. The second goes out after 3 tokens, with three blocks.

    The first needs its 12 steps and those three; then three more bring the other back for the 9 that it lacks.
    """
    run = play(
        world, "prefill_first", np.zeros(2), 28, 12, kv_blocks=6, block_tokens=10, watermark=0.0,
        kv_bytes_per_token=1e5, swap_bytes_per_s=1e8,
    )  # fmt: skip
    assert run.preemptions.tolist() == [0, 1]
    assert run.pools["all"].work.prefill_tokens == 56
    assert steps(run.finish_s) == [15, 27]
    assert run.pools["all"].blocks_taken == run.pools["all"].blocks_given


def test_long_prompts_leave_room_for_others(world: Any) -> None:
    """At most 30 tokens of a prompt in a step: 30 + 30, 30 + 30, then a decode and the last 30."""
    run = play(world, "vllm_v1", np.zeros(2), [60, 90], 4, long_prompt_tokens=30)
    assert steps(run.first_token_s) == [2, 3]


def test_only_prefill_first_swaps(world: Any) -> None:
    with pytest.raises(BadInput, match="does not swap"):
        play(world, "vllm_v1", 0.0, 5, 5, swap_bytes_per_s=1e9)
    with pytest.raises(BadInput, match="no priorities"):
        play(world, "sarathi", 0.0, 5, 5, by_priority=True)
