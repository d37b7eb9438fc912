"""Sequences shared by position: prompts over copies of the weights, caches over ranks that held copies of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planner.catalog import Catalog
from planner.perf.collectives import gathered_prompt, merged_decode
from planner.perf.cut import cut_of
from planner.perf.hardware import hardware_of
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.step import Replica

ReplicaOf = Callable[..., Replica]
PoolOf = Callable[..., Pool]
DecodeS = Callable[[Replica, int, float], float]


def test_a_long_prompt_is_nearly_twice_as_fast_on_two_ranks(
    replica_of: ReplicaOf, pool_of: PoolOf, bare: EngineProfile
) -> None:
    one, two = (replica_of(pool_of("llama-3.1-8b", cp=cp), bare).cost for cp in (1, 2))
    seconds = [float(c.linear_s[8192 // c.linear_stride] + c.pair_s * 8192 * 8193 / 2) for c in (one, two)]
    assert 0.5 < seconds[1] / seconds[0] < 0.65


def test_ranks_that_only_hold_copies_do_not_decode_faster_without_context(
    replica_of: ReplicaOf, pool_of: PoolOf, bare: EngineProfile
) -> None:
    """Weights are read by every rank, and the outputs must be merged."""
    one, two = (replica_of(pool_of("llama-3.1-8b", cp=cp), bare) for cp in (1, 2))
    assert np.all(two.cost.decode_s[1:33] > one.cost.decode_s[1:33])


def test_shared_caches_replace_copies(
    replica_of: ReplicaOf, pool_of: PoolOf, decode_s: DecodeS, bare: EngineProfile
) -> None:
    """Qwen3-235B has 4 KV heads: 8 ranks hold each twice, or every rank half of the positions of one."""
    copies, shared = (replica_of(pool_of("qwen3-235b-a22b", tp=8, ep=8, dcp=n, weights="fp8"), bare) for n in (1, 2))
    assert shared.kv_blocks == 2 * copies.kv_blocks
    assert decode_s(shared, 1, 0) > decode_s(copies, 1, 0)  # messages
    assert decode_s(shared, 64, 30000) < decode_s(copies, 64, 30000)  # half the bytes


def test_a_latent_cache_is_shared_by_all_ranks(replica_of: ReplicaOf, pool_of: PoolOf) -> None:
    copies, shared = (
        replica_of(pool_of("deepseek-v3", "aws-p5en.48xlarge", "h200-sxm-141gb", tp=8, dcp=n, weights="fp8"))
        for n in (1, 8)
    )
    assert shared.kv_blocks == 8 * copies.kv_blocks
    assert shared.cost.decode_context_s[64] < copies.cost.decode_context_s[64]


def test_prompt_attention_is_untouched_by_shared_caches(replica_of: ReplicaOf, pool_of: PoolOf) -> None:
    one, two = (replica_of(pool_of("qwen3-235b-a22b", tp=8, ep=8, dcp=n, weights="fp8")).cost for n in (1, 2))
    assert two.pair_s == one.pair_s
    assert two.context_s > one.context_s  # what is cached comes over the link


def test_messages_count_their_bytes(catalog: Catalog, pool_of: PoolOf) -> None:
    pool = pool_of("qwen3-235b-a22b", tp=4, cp=2, dcp=1)
    cut = cut_of(catalog.model(pool.model), pool, hardware_of(catalog, pool))
    (keys,) = gathered_prompt(cut, np.array([100.0]), 2 * 128, 1.0)
    assert (keys.payload[0], keys.inside, keys.across) == (100 * 2 * 256 * 2.0, 2, 1)
    (merge,) = merged_decode(cut, np.array([10.0]), 16, (128, 128), 1.0)
    assert (merge.kind, merge.payload[0]) == ("all_reduce", 10 * 16 * (2 * 128 + 4))
    far = cut_of(catalog.model(pool.model), pool_of("qwen3-235b-a22b", tp=8, cp=2), hardware_of(catalog, pool))
    (outside,) = gathered_prompt(far, np.array([100.0]), 128, 1.0)
    assert (outside.inside, outside.across) == (1, 2)


@pytest.mark.parametrize("model", ["llama-3.1-8b", "deepseek-v3", "qwen3-235b-a22b"])
def test_one_rank_sends_no_message(catalog: Catalog, pool_of: PoolOf, model: str) -> None:
    pool = pool_of(model, tp=4)
    cut = cut_of(catalog.model(model), pool, hardware_of(catalog, pool))
    assert cut.kv_split == 1
    assert not gathered_prompt(cut, np.ones(1), 1.0, 1.0)
    assert not merged_decode(cut, np.ones(1), 1.0, (1.0, 1.0), 1.0)
