"""Messages: who talks to whom, how the traffic is counted, and what crossing a node costs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planner.catalog import Catalog
from planner.perf.collectives import Collective, collective
from planner.perf.cut import cut_of, stages_of
from planner.perf.estimators import ESTIMATORS
from planner.perf.hardware import hardware_of
from planner.perf.work import StageWork, Tokens, stage_work
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile

PoolOf = Callable[..., Pool]
SIZES = np.array([1e4, 1e6, 1e8])


def work_of(catalog: Catalog, pool: Pool, tokens: float = 64.0) -> StageWork:
    model = catalog.model(pool.model)
    cut = cut_of(model, pool, hardware_of(catalog, pool))
    rows = np.array([tokens])
    return stage_work(model, cut, stages_of(model, 1)[0], Tokens(rows, rows * pool.parallelism.dp, rows, "decode"))


def test_a_single_rank_is_silent(catalog: Catalog, pool_of: PoolOf) -> None:
    assert work_of(catalog, pool_of("llama-3.1-8b")).messages == []


def test_tensor_parallelism_reduces_twice_a_layer_and_once_after_the_embedding(
    catalog: Catalog, pool_of: PoolOf
) -> None:
    messages = work_of(catalog, pool_of("llama-3.1-70b", tp=4)).messages
    reduces = [m for m in messages if m.kind == "all_reduce"]
    assert sum(m.count for m in reduces) == 2 * 80 + 1
    assert all(m.payload[0] == 64 * 8192 * 2 for m in reduces)


def test_traffic_of_one_gpu() -> None:
    eight = Collective("all_reduce", np.array([8e6]), 8, 1)
    assert eight.traffic(8)[0] == pytest.approx(2 * 7 / 8 * 8e6)
    assert Collective("all_gather", np.array([8e6]), 8, 1).traffic(8)[0] == pytest.approx(7 / 8 * 8e6)


def test_distributed_experts_exchange_tokens_only_across_attention_ranks(catalog: Catalog, pool_of: PoolOf) -> None:
    split = work_of(catalog, pool_of("deepseek-v3", tp=8, ep=8, weights="fp8")).messages
    assert {m.kind for m in split} == {"all_reduce", "all_gather"}  # the gather is that of the logits
    ranks = work_of(catalog, pool_of("deepseek-v3", dp=8, ep=8, weights="fp8")).messages
    assert {m.kind for m in ranks} <= {"all_to_all", "all_gather", "reduce_scatter"}
    assert sum(m.count for m in ranks) == 2 * 58


@pytest.mark.parametrize("kind", ["all_reduce", "all_gather", "all_to_all"])
def test_crossing_nodes_is_slower(catalog: Catalog, bare: EngineProfile, pool_of: PoolOf, kind: str) -> None:
    hardware = hardware_of(catalog, pool_of("llama-3.1-8b"))
    price = ESTIMATORS.get("analytic")(hardware, bare)
    near, far = Collective(kind, SIZES, 8, 1), Collective(kind, SIZES, 8, 2)
    assert np.all(price.collective(far) > price.collective(near))


def test_groups_beyond_the_scale_up_domain_span_nodes(catalog: Catalog, pool_of: PoolOf) -> None:
    pool = pool_of("llama-3.1-405b", tp=16)
    cut = cut_of(catalog.model(pool.model), pool, hardware_of(catalog, pool))
    (message,) = collective(cut, "all_reduce", SIZES, 16, 1.0)
    assert (message.inside, message.across) == (8, 2)


def test_a_slow_fabric_is_believed(catalog: Catalog, bare: EngineProfile, pool_of: PoolOf) -> None:
    """8 L40S behind PCIe: the fabric's measured bus bandwidth bounds the analytic all-reduce, not the link peak."""
    slow = hardware_of(catalog, pool_of("llama-3.1-8b", node="l40s-8", accelerator="l40s"))
    assert slow.scaleup is not None
    measured = slow.scaleup.allreduce_bandwidth_bytes_per_s
    time = ESTIMATORS.get("analytic")(slow, bare).collective(Collective("all_reduce", np.array([1e8]), 8, 1))
    assert time[0] >= 2 * 7 / 8 * 1e8 / measured


def test_experts_touched_follow_the_measured_coverage() -> None:
    """Qwen3-30B-A3B, 128 experts, top-8: decode batches of 32 and 128 touch .55 and .863 of them; uniform .87 and 1."""
    from planner.perf.operators.moe import distinct_experts
    from planner.spec.model import Coverage, MoeFfn

    ffn = MoeFfn(experts=128, top_k=8, inner=768)
    fit = Coverage(decode_a=2.28, decode_g=0.514, prefill_a=4.67, prefill_g=0.280, source="physics study, section 3")
    decode = distinct_experts(ffn, np.array([32.0, 128.0]), fit, "decode") / 128
    assert np.allclose(decode, [0.55, 0.863], atol=0.042)
    prompts = distinct_experts(ffn, np.array([512.0, 1024.0, 2048.0, 4096.0, 8192.0]), fit, "prefill") / 128
    assert np.allclose(prompts, [0.824, 0.876, 0.920, 0.949, 0.985], atol=0.0085)
    uniform = distinct_experts(ffn, np.array([16.0, 32.0, 64.0]), None, "decode") / 128
    assert np.allclose(uniform, [0.644, 0.873, 0.984], atol=0.012)


EFA_V2_BUS_GB_S = {
    "all_reduce": (8e9, {16: 478, 32: 357, 64: 355, 128: 356}, 0.35),
    "all_gather": (2e9, {16: 329, 32: 331, 64: 294, 128: 265, 256: 263}, 0.31),
    "all_to_all": (2e9, {16: 79, 32: 54, 64: 50, 128: 44, 256: 41}, 0.13),
}


@pytest.mark.parametrize("kind", sorted(EFA_V2_BUS_GB_S))
def test_large_messages_over_many_nodes_follow_measured_bus_bandwidths(
    catalog: Catalog, bare: EngineProfile, pool_of: PoolOf, kind: str
) -> None:
    """H100 nodes on EFA v2, 3200 Gb/s a node. Worst: all-reduce of 16 GPUs priced 32 % high (reduction in the switch),
    all-gather of 128 priced 29 % low."""
    payload, measured, tolerance = EFA_V2_BUS_GB_S[kind]
    hardware = hardware_of(catalog, pool_of("llama-3.1-8b", node="aws-p5.48xlarge"))
    price = ESTIMATORS.get("analytic")(hardware, bare)
    for gpus, bus in measured.items():
        op = Collective(kind, np.array([payload]), 8, gpus // 8)
        expected = op.traffic(gpus)[0] / (bus * 1e9)
        assert price.collective(op)[0] == pytest.approx(expected, rel=tolerance), gpus


def test_dispatch_to_experts_follows_measured_kernels(catalog: Catalog, bare: EngineProfile, pool_of: PoolOf) -> None:
    """Hidden 7168, top-8, 128 tokens per rank, H200 EP8: dispatch 39.8, combine 72.4 us (SGLang wide-EP tables)."""
    hardware = hardware_of(catalog, pool_of("deepseek-v3", node="dgx-h200", accelerator="h200-sxm-141gb"))
    price = ESTIMATORS.get("analytic")(hardware, bare)
    for element_bytes, micros in ((1.0, 39.8), (2.0, 72.4)):
        op = Collective("all_to_all", np.array([128 * 8 * 7168 * element_bytes]), 8, 1)
        assert price.collective(op)[0] * 1e6 == pytest.approx(micros, rel=0.4)


def test_boards_in_one_server_without_links_meet_over_pcie(catalog: Catalog, pool_of: PoolOf) -> None:
    """Not over the network, which is several times slower and shared; only beyond the server does it come in."""
    pool = pool_of("llama-3.1-8b", node="l40s-8", accelerator="l40s", tp=8)
    hardware = hardware_of(catalog, pool)
    (message,) = collective(cut_of(catalog.model(pool.model), pool, hardware), "all_reduce", np.array([64e6]), 8, 1.0)
    assert (message.inside, message.across) == (8, 1)
    analytic = ESTIMATORS.get("analytic")(hardware, catalog.engine("vllm"))
    assert analytic.collective(message)[0] < 0.5 * message.traffic(8)[0] / hardware.nic
    assert hardware.outside(16) == hardware.nic


def test_pairs_under_a_bridge_meet_the_others_over_pcie(catalog: Catalog, pool_of: PoolOf) -> None:
    pool = pool_of("llama-3.1-8b", node="h100-pcie-4", accelerator="h100-pcie-80gb", tp=4)
    hardware = hardware_of(catalog, pool)
    (message,) = collective(cut_of(catalog.model(pool.model), pool, hardware), "all_reduce", np.array([64e6]), 4, 1.0)
    assert (message.inside, message.across) == (2, 2)
    assert hardware.outside(4) > hardware.nic
