"""build_replica: what the table means, and what each degree and engine setting does to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planner.catalog import Catalog
from planner.errors import BadInput
from planner.perf.cut import cut_of, stages_of
from planner.perf.estimators import ESTIMATORS
from planner.perf.hardware import hardware_of
from planner.perf.replica import build_replica
from planner.perf.work import Tokens, stage_work
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.step import Replica

PoolOf = Callable[..., Pool]
ReplicaOf = Callable[..., Replica]
DecodeS = Callable[[Replica, int, float], float]


def test_tables_cover_what_the_engine_may_run(replica_of: ReplicaOf, pool_of: PoolOf) -> None:
    pool = pool_of("llama-3.1-8b", max_seqs=100, max_tokens_per_step=5000)
    cost = replica_of(pool).cost
    assert len(cost.decode_s) == len(cost.decode_context_s) == len(cost.decode_window_s) == 101
    assert (len(cost.linear_s) - 1) * cost.linear_stride >= 5000 + 100


@pytest.mark.parametrize("estimator", ["roofline", "analytic", "fitted"])
@pytest.mark.parametrize("model", ["llama-3.1-8b", "mixtral-8x7b", "deepseek-v2-lite"])
def test_a_decode_step_is_the_sum_of_its_operators(
    catalog: Catalog, bare: EngineProfile, pool_of: PoolOf, decode_s: DecodeS, model: str, estimator: str
) -> None:
    """At a context through which attention was made affine, the table equals the operators added up one by one."""
    pool = pool_of(model, tp=2, max_seqs=64)
    noun, hardware = catalog.model(model), hardware_of(catalog, pool)
    price = ESTIMATORS.get(estimator)(hardware, bare)
    rows = np.array([32.0])
    work = stage_work(noun, cut_of(noun, pool, hardware), stages_of(noun, 1)[0], Tokens(rows, rows, rows, "decode"))
    total = sum(price.gemm(op) * op.count for op in work.gemms) + sum(price.moe(op) * op.count for op in work.moes)
    total = total + sum(price.elementwise(op) * op.count for op in work.passes)
    total = total + sum(price.collective(op) * op.count for op in work.messages)
    total = total + sum(price.decode_attention(op, rows, 8192.0) * op.count for op in work.decode)
    table = build_replica(noun, pool, hardware, bare, estimator=estimator)
    assert decode_s(table, 32, 8192.0) == pytest.approx(float(np.asarray(total)[0]), rel=1e-9)


def test_prefill_alone_is_the_linear_part_plus_the_weights_once(
    catalog: Catalog, bare: EngineProfile, pool_of: PoolOf
) -> None:
    """decode_s[0] + linear_s(T) - linear_s(0) is the whole linear time of T tokens, weights read once."""
    pool = pool_of("llama-3.1-8b", max_tokens_per_step=8192)
    noun, hardware = catalog.model(pool.model), hardware_of(catalog, pool)
    cost = build_replica(noun, pool, hardware, bare, estimator="roofline").cost
    at = np.interp(4096, np.arange(len(cost.linear_s)) * cost.linear_stride, cost.linear_s)
    step = cost.decode_s[0] + at - cost.linear_s[0]
    # All matrices of a layer, each token; norms, activations, rotary embedding and cache writes; the head once.
    products = 2 * 4096 * (8.03e9 - 2 * 128256 * 4096) / 989.4e12
    moved = 32 * (2 * 4 * 4096 + 3 * 14336 + 2 * (32 + 8) * 128 + 2 * 8 * 128) * 2 * 4096
    assert step == pytest.approx(products + (moved + 2 * 128256 * 4096) / 3.35e12, rel=5e-3)


def test_prompts_are_compute_bound_and_decode_is_memory_bound(
    replica_of: ReplicaOf, pool_of: PoolOf, decode_s: DecodeS
) -> None:
    pool = pool_of("llama-3.1-8b", max_tokens_per_step=8192)
    ideal = replica_of(pool, estimator="roofline")
    assert decode_s(ideal, 1, 1) == pytest.approx((16.06e9 - 128256 * 4096 * 2) / 3.35e12, rel=0.01)
    slope = (ideal.cost.linear_s[-1] - ideal.cost.linear_s[-2]) / ideal.cost.linear_stride
    assert slope >= 2 * 6.9e9 / 989.4e12


def test_attention_data_parallel_ranks_share_the_batch(replica_of: ReplicaOf, pool_of: PoolOf) -> None:
    """Eight ranks: nine sequences cost what sixteen do, and the context of all is an eighth of that on one rank."""
    place = {"node": "dgx-h200", "accelerator": "h200-sxm-141gb"}
    one = replica_of(pool_of("deepseek-v3", **place, tp=1, weights="fp8")).cost
    ranks = replica_of(pool_of("deepseek-v3", **place, dp=8, ep=8, weights="fp8"))
    assert ranks.dp == 8
    assert np.all(np.diff(ranks.cost.decode_s[9:17]) == 0)
    assert ranks.cost.decode_s[17] > ranks.cost.decode_s[16]
    assert ranks.cost.decode_context_s[64] == pytest.approx(one.decode_context_s[8] / 8, rel=1e-6)


def test_a_rank_without_requests_runs_along(replica_of: ReplicaOf, pool_of: PoolOf) -> None:
    """One request on eight ranks costs what eight do, one each; the ninth makes a rank with two the slowest."""
    place = {"node": "dgx-h200", "accelerator": "h200-sxm-141gb", "weights": "fp8", "dp": 8, "ep": 8}
    cost = replica_of(pool_of("deepseek-v3", **place)).cost
    assert np.array_equal(cost.decode_s[1:9], np.full(8, cost.decode_s[1]))
    assert cost.decode_s[9] > cost.decode_s[8]
    assert (cost.decode_s[1:] >= cost.decode_s[1]).all()


def test_no_rank_gets_more_than_its_share_of_a_full_step(replica_of: ReplicaOf, pool_of: PoolOf) -> None:
    """Prompts do not split over ranks, but each rank stops at its token budget, so full steps are even."""
    place = {"node": "dgx-h200", "accelerator": "h200-sxm-141gb", "weights": "fp8", "dp": 8, "ep": 8}
    tight, roomy = (
        replica_of(pool_of("deepseek-v3", **place, max_tokens_per_step=budget)).cost for budget in (16384, 65536)
    )
    at = 16384 // tight.linear_stride, 16384 // roomy.linear_stride
    assert tight.linear_s[at[0]] < 0.95 * roomy.linear_s[at[1]]


def test_a_pool_that_only_prefills_is_faster_and_hands_over(
    catalog: Catalog, bare: EngineProfile, pool_of: PoolOf
) -> None:
    profile = bare.model_copy(update={
        "overhead": bare.overhead.model_copy(update={"request_s": 7e-3, "handover_s": 50e-3}),
        "multipliers": bare.multipliers.model_copy(update={"prefill_alone": 0.75}),
    })  # fmt: skip
    pool = pool_of("llama-3.1-8b")
    noun, hardware = catalog.model(pool.model), hardware_of(catalog, pool)
    both = build_replica(noun, pool, hardware, profile)
    alone = build_replica(noun, pool.model_copy(update={"phases": ("prefill",)}), hardware, profile)
    assert alone.cost.linear_s[-1] == pytest.approx(0.75 * both.cost.linear_s[-1])
    assert alone.cost.pair_s == pytest.approx(0.75 * both.cost.pair_s)
    assert np.all(alone.cost.decode_s[1:] == both.cost.decode_s[1:])
    assert (both.request_s, alone.request_s) == (7e-3, pytest.approx(57e-3))


def test_kernels_that_read_the_cache_for_every_head_pay_by_group(
    catalog: Catalog, bare: EngineProfile, pool_of: PoolOf
) -> None:
    """Four query heads share a KV head in Llama-3.1-8B, one in Llama-2-7B."""
    older = bare.model_copy(update={"multipliers": bare.multipliers.model_copy(update={"attn_group": 0.5})})
    for model, slower in (("llama-3.1-8b", 2.0), ("llama-2-7b", 1.0)):
        pool = pool_of(model)
        noun, hardware = catalog.model(model), hardware_of(catalog, pool)
        now, then = (
            build_replica(noun, pool, hardware, p, estimator="analytic").cost.decode_context_s[32]
            for p in (bare, older)
        )
        assert then == pytest.approx(slower * now)


def test_pipeline_prices_the_slowest_stage(replica_of: ReplicaOf, pool_of: PoolOf, decode_s: DecodeS) -> None:
    whole, halves = (replica_of(pool_of("llama-3.1-70b", tp=4, pp=pp)) for pp in (1, 2))
    assert halves.stages == 2
    assert halves.hop_s > 0
    share = decode_s(halves, 32, 2000) / decode_s(whole, 32, 2000)
    assert 0.5 < share < 0.6


def test_context_parallel_ranks_share_prompts_and_cache(replica_of: ReplicaOf, pool_of: PoolOf) -> None:
    one, two = (replica_of(pool_of("llama-3.1-8b", cp=cp), estimator="roofline") for cp in (1, 2))
    assert two.cost.pair_s == pytest.approx(one.cost.pair_s / 2)
    assert two.cost.decode_context_s[8] == pytest.approx(one.cost.decode_context_s[8] / 2)
    assert 2 * one.kv_blocks <= two.kv_blocks < 2.01 * one.kv_blocks  # and a rank has half the activations


def test_decode_batches_round_up_to_captured_graphs(catalog: Catalog, replica_of: ReplicaOf, pool_of: PoolOf) -> None:
    profile = catalog.engine("vllm")
    quiet = profile.model_copy(update={"overhead": profile.overhead.model_copy(update={"per_seq_s": 0.0})})
    cost = replica_of(pool_of("llama-3.1-8b"), quiet).cost
    assert cost.decode_s[17] == cost.decode_s[24]
    assert cost.decode_s[25] > cost.decode_s[24]


def test_a_profile_with_new_numbers_is_a_copy(catalog: Catalog, replica_of: ReplicaOf, pool_of: PoolOf) -> None:
    profile, pool = catalog.engine("vllm"), pool_of("llama-3.1-8b")
    faster = profile.multipliers.model_copy(update={"prefill": 2.0 * profile.multipliers.prefill})
    slow = replica_of(pool, profile.model_copy(update={"multipliers": faster})).cost
    base = replica_of(pool, profile).cost
    assert slow.linear_s == pytest.approx(2 * base.linear_s)
    assert slow.pair_s == pytest.approx(2 * base.pair_s)
    assert np.all(slow.decode_s[1:] == base.decode_s[1:])


def test_overheads_enter_where_they_say(catalog: Catalog, bare: EngineProfile, pool_of: PoolOf) -> None:
    pool = pool_of("llama-3.1-8b")
    noun, hardware = catalog.model(pool.model), hardware_of(catalog, pool)
    over = bare.overhead.model_copy(update={
        "step_s": 1e-3, "per_layer_s": 1e-5, "per_seq_s": 1e-4, "chunk_s": 2e-3, "prefill_floor_per_layer_s": 1e-3,
        "request_s": 7e-3, "admission_lag_steps": 3.0,
    })  # fmt: skip
    free = build_replica(noun, pool, hardware, bare)
    paid = build_replica(noun, pool, hardware, bare.model_copy(update={"overhead": over}))
    extra = paid.cost.decode_s - free.cost.decode_s
    assert extra[[0, 1, 10]] == pytest.approx([1.32e-3, 1.42e-3, 2.32e-3])
    assert paid.cost.chunk_s - free.cost.chunk_s == pytest.approx(2e-3)
    assert paid.cost.prefill_floor_s == pytest.approx(32e-3)
    assert (paid.request_s, paid.admission_lag_steps) == (7e-3, 3.0)


def test_windowed_layers_stop_paying_at_their_window(replica_of: ReplicaOf, pool_of: PoolOf) -> None:
    cost = replica_of(pool_of("gpt-oss-120b", weights="mxfp4")).cost
    assert cost.window_tokens == 128
    assert cost.decode_window_s[8] > 0
    full = replica_of(pool_of("llama-3.1-8b")).cost
    assert (full.window_tokens, full.decode_window_s.max(), full.window_pair_s) == (0, 0.0, 0.0)


def test_a_model_without_room_has_no_blocks(replica_of: ReplicaOf, pool_of: PoolOf) -> None:
    assert replica_of(pool_of("llama-3.1-70b", tp=1)).kv_blocks == 0


def test_an_unknown_estimator_is_refused_with_the_nearest(replica_of: ReplicaOf, pool_of: PoolOf) -> None:
    with pytest.raises(BadInput, match="did you mean 'roofline'"):
        replica_of(pool_of("llama-3.1-8b"), estimator="rooflin")


def test_every_accelerator_and_model_can_be_priced(catalog: Catalog, replica_of: ReplicaOf) -> None:
    """All devices with a small model, all models on one device: finite, positive, no exception."""
    places = {catalog.node(name).accelerator: name for name in catalog.names("nodes")}
    pairs = [(board, node, "llama-3.1-8b") for board, node in places.items()]
    pairs += [("h200-sxm-141gb", "dgx-h200", model) for model in catalog.names("models")]
    for board, node, model in pairs:
        replica = replica_of(Pool(name="p", model=model, node=node, accelerator=board, max_tokens_per_step=2048))
        for array in (replica.cost.decode_s, replica.cost.linear_s):
            assert np.all(np.isfinite(array)), (board, model)
            assert np.all(array > 0), (board, model)
