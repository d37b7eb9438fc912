"""What must hold for any model and hardware: the roofline bounds it, resources never hurt, work never helps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.catalog import Catalog
from planner.perf.cut import cut_of, stages_of
from planner.perf.estimators import ESTIMATORS
from planner.perf.hardware import Hardware, hardware_of
from planner.perf.memory import memory_of
from planner.perf.replica import build_replica
from planner.perf.work import Tokens, stage_work
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.step import Replica, StepCost

MODELS = ("llama-3.1-8b", "llama-3.1-70b", "mixtral-8x7b", "gpt-oss-120b", "deepseek-v3", "qwen3.5-397b-a17b",
          "deepseek-v3.2", "gemma-3-27b", "nemotron-3-nano-30b-a3b")  # fmt: skip
PLACES = {"h100-sxm5-80gb": "dgx-h100", "b200-sxm-180gb": "dgx-b200", "l40s": "l40s-8"}
pools = st.builds(
    dict,
    model=st.sampled_from(MODELS),
    accelerator=st.sampled_from(("h100-sxm5-80gb", "b200-sxm-180gb", "l40s")),
    tp=st.sampled_from((1, 2, 4, 8)),
    dp=st.sampled_from((1, 1, 2)),
    weights=st.sampled_from(("bf16", "fp8", "nvfp4", "int4")),
    kv=st.sampled_from(("bf16", "fp8")),
)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PoolOf = Callable[..., Pool]
ReplicaOf = Callable[..., Replica]
DecodeS = Callable[[Replica, int, float], float]


def make(pool_of: PoolOf, fields: dict[str, object]) -> Pool:
    return pool_of(node=PLACES[str(fields["accelerator"])], max_tokens_per_step=2048, **fields)


@quick
@given(fields=pools, estimator=st.sampled_from(("analytic", "fitted")))
def test_no_operator_beats_the_roofline(
    catalog: Catalog, bare: EngineProfile, pool_of: PoolOf, fields: dict[str, object], estimator: str
) -> None:
    pool = make(pool_of, fields)
    model, hardware = catalog.model(pool.model), hardware_of(catalog, pool)
    fast = bare.model_copy(update={"multipliers": bare.multipliers.model_copy(update={"gemm": 0.5, "moe": 0.5})})
    price, bound = ESTIMATORS.get(estimator)(hardware, fast), ESTIMATORS.get("roofline")(hardware, fast)
    counts = np.array([1.0, 7.0, 64.0, 1000.0])
    tokens = Tokens(counts, counts * pool.parallelism.dp, counts, "decode")
    work = stage_work(model, cut_of(model, pool, hardware), stages_of(model, 1)[0], tokens)
    for gemm in work.gemms:
        assert np.all(price.gemm(gemm) >= bound.gemm(gemm) * (1 - 1e-12))
    for moe in work.moes:
        assert np.all(price.moe(moe) >= bound.moe(moe) * (1 - 1e-12))
    for message in work.messages:
        assert np.all(price.collective(message) >= bound.collective(message) * (1 - 1e-12))
    for op in work.decode:
        context = float(op.window or 3000)
        least = bound.decode_attention(op, counts, context)
        assert np.all(price.decode_attention(op, counts, context) >= least * (1 - 1e-12))
    for prompt in work.prefill:
        assert price.prefill_attention(prompt, 4096.0) >= bound.prefill_attention(prompt, 4096.0)


@quick
@given(fields=pools, batch=st.integers(1, 256), context=st.floats(64, 30000))
def test_a_step_never_beats_the_roofline_step(
    replica_of: ReplicaOf, pool_of: PoolOf, decode_s: DecodeS, fields: dict[str, object], batch: int, context: float
) -> None:
    pool = make(pool_of, fields)
    real, ideal = replica_of(pool), replica_of(pool, estimator="roofline")
    assert decode_s(real, batch, context) >= decode_s(ideal, batch, context) * (1 - 1e-9)


BETTER = ("memory_bandwidth_bytes_per_s", "scaleup_bandwidth_bytes_per_s", "pcie_bandwidth_bytes_per_s", "peak")


@quick
@given(
    fields=pools, factor=st.floats(1.0, 4.0), context=st.floats(1, 30000), better=st.sampled_from(BETTER),
    estimator=st.sampled_from(("roofline", "analytic", "fitted")),
)  # fmt: skip
def test_more_bandwidth_links_or_peak_are_never_slower(
    catalog: Catalog, replica_of: ReplicaOf, pool_of: PoolOf, decode_s: DecodeS,
    fields: dict[str, object], factor: float, context: float, better: str, estimator: str,
) -> None:  # fmt: skip
    pool = make(pool_of, fields)
    slow = hardware_of(catalog, pool)
    fast = _with_more(slow, better, factor)
    before, after = (replica_of(pool, hardware=h, estimator=estimator) for h in (slow, fast))
    for batch in (1, 16, 256):
        assert decode_s(after, batch, context) <= decode_s(before, batch, context) * (1 + 1e-9)
    for tokens in (128, 1024, 2048):
        assert prompt_s(after.cost, tokens) <= prompt_s(before.cost, tokens) * (1 + 1e-9)
    assert after.cost.context_s <= before.cost.context_s * (1 + 1e-9)


def prompt_s(cost: StepCost, tokens: int) -> float:
    """A step with one whole prompt; constant and slope of attention are fitted together: only their sum falls."""
    grid = np.arange(len(cost.linear_s)) * float(cost.linear_stride)
    seen = min(tokens, cost.window_tokens or tokens)
    windowed = seen * (seen + 1) / 2 + (tokens - seen) * seen
    attention = cost.pair_s * tokens * (tokens + 1) / 2 + cost.window_pair_s * windowed
    return float(np.interp(tokens, grid, cost.linear_s)) + attention + cost.chunk_s


def _with_more(hardware: Hardware, better: str, factor: float) -> Hardware:
    board = hardware.accelerator
    value = getattr(board, better)
    if better == "peak":
        rates = {name: rate * factor for name, rate in value if rate}
        return replace(hardware, accelerator=board.model_copy(update={"peak": value.model_copy(update=rates)}))
    return replace(hardware, accelerator=board.model_copy(update={better: value * factor}))


@quick
@given(fields=pools, tp=st.sampled_from((1, 2, 4)))
def test_tensor_parallelism_halves_what_a_rank_reads(
    catalog: Catalog, pool_of: PoolOf, fields: dict[str, object], tp: int
) -> None:
    """Weights of all products and experts of a decode step on one rank; routers, latents and norms stay whole."""
    sizes = []
    for degree in (tp, 2 * tp):
        pool = make(pool_of, {**fields, "tp": degree, "dp": 1})
        model, hardware = catalog.model(pool.model), hardware_of(catalog, pool)
        counts = np.array([8.0])
        work = stage_work(model, cut_of(model, pool, hardware), stages_of(model, 1)[0],
                          Tokens(counts, counts, counts, "decode"))  # fmt: skip
        sizes.append(sum(op.weight_bytes * op.count for op in work.gemms)
                     + sum(op.weight_bytes * op.count for op in work.moes))  # fmt: skip
    assert sizes[0] / 2 <= sizes[1] * (1 + 1e-9)
    assert sizes[1] <= sizes[0] / 2 * 1.15


@quick
@given(fields=pools, estimator=st.sampled_from(("roofline", "analytic", "fitted")))
def test_more_context_batch_and_prompt_are_never_faster(
    replica_of: ReplicaOf, pool_of: PoolOf, fields: dict[str, object], estimator: str
) -> None:
    cost = replica_of(make(pool_of, fields), estimator=estimator).cost
    assert np.all(cost.decode_context_s >= 0)
    assert np.all(cost.decode_window_s >= 0)
    assert np.all(np.diff(cost.linear_s) >= 0)
    assert min(cost.pair_s, cost.window_pair_s, cost.context_s, cost.chunk_s, cost.prefill_floor_s) >= 0
    assert np.all(np.isfinite(cost.decode_s))
    assert np.all(cost.decode_s > 0)


@pytest.mark.parametrize("model", ["llama-3.1-70b", "qwen3-32b"])
def test_tensor_parallelism_halves_the_weights(
    catalog: Catalog, bare: EngineProfile, pool_of: PoolOf, model: str
) -> None:
    """Norms are replicated: they are what is left over, under one per mille."""
    sizes = []
    for tp in (1, 2, 4):
        pool = pool_of(model, tp=tp)
        sizes.append(memory_of(catalog.model(model), pool, hardware_of(catalog, pool), bare).weights_bytes)
    assert sizes[0] / 2 == pytest.approx(sizes[1], rel=1e-3)
    assert sizes[1] / 2 == pytest.approx(sizes[2], rel=1e-3)


def test_tensor_parallelism_makes_a_decode_step_faster(
    replica_of: ReplicaOf, pool_of: PoolOf, decode_s: DecodeS
) -> None:
    times = [decode_s(replica_of(pool_of("llama-3.1-70b", tp=tp)), 32, 2000) for tp in (2, 4, 8)]
    assert times[0] > times[1] > times[2]


def test_prices_of_long_tables_cost_little_more(replica_of: ReplicaOf, pool_of: PoolOf) -> None:
    """Search prices thousands of pools: 16 times the batch and the prompt must not take 16 times the time.

    Only the ratio is held; tools/bench_price.py prints the milliseconds.
    """

    def spent_s(seqs: int, tokens: int) -> float:
        pool = pool_of("deepseek-v3", tp=8, weights="fp8", max_seqs=seqs, max_tokens_per_step=tokens)
        replica_of(pool)
        found = []
        for _ in range(5):
            start = time.process_time()
            replica_of(pool)
            found.append(time.process_time() - start)
        return min(found)

    assert spent_s(1024, 16384) < 6.0 * spent_s(64, 1024)


def test_a_power_limit_slows_products_not_memory(catalog: Catalog, bare: EngineProfile, pool_of: PoolOf) -> None:
    """H100 PCIe holds less of its peak at 350 W than H100 SXM at 700 W: prompts feel it, small batches do not."""
    noun, pool = catalog.model("llama-3.1-8b"), pool_of("llama-3.1-8b", "h100-pcie-4", "h100-pcie-80gb")
    place = hardware_of(catalog, pool)
    free = replace(place, accelerator=place.accelerator.model_copy(update={"sustained": 1.0}))
    limited, unlimited = (build_replica(noun, pool, at, bare).cost for at in (place, free))
    assert limited.linear_s[-1] > 1.1 * unlimited.linear_s[-1]
    assert limited.pair_s > 1.1 * unlimited.pair_s
    assert limited.decode_s[1] == pytest.approx(unlimited.decode_s[1], rel=0.01)
