"""Weights, cache and room: published sizes, what each degree divides, what it replicates."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from planner.catalog import Catalog
from planner.perf.cut import Cut, Formats, Stage, cut_of, formats_of, stages_of
from planner.perf.hardware import hardware_of
from planner.perf.memory import Memory, kv_bytes_per_token, memory_of, weights_bytes
from planner.spec.counting import total_parameters
from planner.spec.deployment import Pool

PoolOf = Callable[..., Pool]
GB = 1e9
H200 = {"node": "dgx-h200", "accelerator": "h200-sxm-141gb"}


@pytest.fixture
def room(catalog: Catalog) -> Callable[..., Memory]:
    def measure(pool: Pool, engine: str = "vllm", **options: int) -> Memory:
        place = hardware_of(catalog, pool)
        return memory_of(catalog.model(pool.model), pool, place, catalog.engine(engine), **options)

    return measure


@pytest.mark.parametrize(
    ("model", "published"),
    [
        ("llama-3-70b", 327_680),
        ("mixtral-8x7b", 131_072),
        ("llama-2-7b", 524_288),
        ("deepseek-v2-lite", 31_104),
        ("deepseek-v3", 70_272),
    ],
)
def test_cache_bytes_per_token(catalog: Catalog, pool_of: PoolOf, model: str, published: int) -> None:
    assert kv_bytes_per_token(catalog.model(model), pool_of(model)) == published


def test_every_weight_of_every_model_is_in_some_product(catalog: Catalog, pool_of: PoolOf) -> None:
    """What the operators read equals the parameter count from the blocks, within half a percent."""
    for name in catalog.names("models"):
        model, pool = catalog.model(name), pool_of(name)
        cut = _sixteen_bits(cut_of(model, pool, hardware_of(catalog, pool)))
        counted = 2 * total_parameters(model)
        assert weights_bytes(model, cut, stages_of(model, 1)[0]) == pytest.approx(counted, rel=5e-3), name


def _sixteen_bits(cut: Cut) -> Cut:
    return Cut(cut.hardware, cut.degrees, Formats("bf16", "bf16", "bf16", "bf16"), cut.hidden, cut.kv_bytes, False)


def test_experts_spread_over_all_ranks_and_attention_copies(room: Callable[..., Memory], pool_of: PoolOf) -> None:
    """DeepSeek-V3 in fp8: 653.9 G routed weights over 8 ranks, the rest whole on each attention-data-parallel rank."""
    split, copied = (room(pool_of("deepseek-v3", weights="fp8", **d)) for d in ({"tp": 8}, {"dp": 8, "ep": 8}))
    experts = 58 * 256 * 3 * 7168 * 2048 / 8
    router = 2 * 58 * 256 * 7168
    replicated = 61 * 7168 * (1536 + 576) + router  # down projections of the latents stay whole on every rank
    rest = 671.0e9 - 8 * experts + 2 * 129280 * 7168 + router / 2  # embedding, head and router in 16 bits
    assert copied.weights_bytes - experts == pytest.approx(rest, rel=5e-3)
    assert split.weights_bytes - experts == pytest.approx((rest - replicated) / 8 + replicated, rel=5e-3)


def test_latent_cache_is_not_divided_by_tp(room: Callable[..., Memory], catalog: Catalog, pool_of: PoolOf) -> None:
    model = catalog.model("deepseek-v3")
    for tp in (8, 16):
        memory = room(pool_of("deepseek-v3", **H200, tp=tp, weights="fp8"))
        per_token = memory.kv_bytes / memory.kv_tokens
        assert per_token == pytest.approx(kv_bytes_per_token(model, pool_of("deepseek-v3")), rel=1e-3)


def test_key_value_heads_are_replicated_beyond_their_number(room: Callable[..., Memory], pool_of: PoolOf) -> None:
    """Llama-3.1-70B has 8: on 16 ranks a token takes as much of each rank as on 8."""
    eight, sixteen = room(pool_of("llama-3.1-70b", tp=8)), room(pool_of("llama-3.1-70b", tp=16))
    assert eight.kv_bytes / eight.kv_tokens == pytest.approx(sixteen.kv_bytes / sixteen.kv_tokens, rel=1e-3)


def test_attention_data_parallel_ranks_add_their_caches(room: Callable[..., Memory], pool_of: PoolOf) -> None:
    one, eight = (room(pool_of("deepseek-v3", **H200, weights="fp8", **d)) for d in ({"tp": 8}, {"dp": 8, "ep": 8}))
    assert eight.kv_tokens / eight.kv_bytes == pytest.approx(8 * one.kv_tokens / one.kv_bytes, rel=1e-3)


def test_windows_hold_no_more_than_the_window(room: Callable[..., Memory], pool_of: PoolOf) -> None:
    """gpt-oss-120b: half of the layers see 128 tokens, so long contexts cost half of what short ones do."""
    pool = pool_of("gpt-oss-120b", weights="mxfp4")
    short, long = room(pool, context_tokens=128), room(pool, context_tokens=128_000)
    assert long.kv_tokens / short.kv_tokens == pytest.approx(2.0, rel=1e-2)


def test_engine_rules(room: Callable[..., Memory], pool_of: PoolOf) -> None:
    """A fraction of all memory (vllm) or of what is free beside the weights (trtllm)."""
    pool = pool_of("llama-3.1-8b")
    vllm, trtllm = room(pool), room(pool, "trtllm")
    capacity = 80 * 2**30
    fixed = vllm.weights_bytes + vllm.activation_bytes + vllm.comm_bytes + vllm.graph_bytes
    assert vllm.kv_bytes == pytest.approx(0.92 * capacity - fixed)
    fixed = trtllm.activation_bytes + trtllm.comm_bytes + trtllm.graph_bytes
    assert trtllm.kv_bytes == pytest.approx(0.95 * (capacity - trtllm.weights_bytes) - fixed)


def test_what_does_not_fit_says_by_how_much(room: Callable[..., Memory], pool_of: PoolOf) -> None:
    tight = room(pool_of("llama-3.1-70b", tp=1))
    assert not tight.fits
    assert tight.kv_blocks == 0
    assert tight.missing_bytes == pytest.approx(141.1 * GB - 0.92 * 80 * 2**30 + 2.1 * GB, rel=0.02)


@pytest.mark.parametrize(
    ("model", "asked", "expected"),
    [
        ("llama-3.1-70b", "fp8", ("fp8", "fp8", "fp8", "bf16")),
        ("llama-3.1-70b", "nvfp4", ("nvfp4", "nvfp4", "nvfp4", "bf16")),
        ("llama-3.1-70b", "int4", ("int4", "int4", "int4", "bf16")),
        ("gpt-oss-120b", "mxfp4", ("bf16", "bf16", "mxfp4", "bf16")),
        ("gpt-oss-120b", "bf16", ("bf16", "bf16", "mxfp4", "bf16")),
        ("deepseek-r1", "nvfp4", ("bf16", "nvfp4", "nvfp4", "bf16")),
        ("deepseek-r1", "fp8", ("fp8", "fp8", "fp8", "bf16")),
        ("kimi-k2.5", "nvfp4", ("bf16", "nvfp4", "nvfp4", "bf16")),
    ],
)
def test_formats_of_checkpoints(
    catalog: Catalog, pool_of: PoolOf, model: str, asked: str, expected: tuple[str, str, str, str]
) -> None:
    assert formats_of(catalog.model(model), pool_of(model, weights=asked)) == Formats(*expected)


@pytest.mark.parametrize(("model", "pp"), [("llama-3.1-70b", 3), ("deepseek-v3", 4), ("gpt-oss-120b", 2)])
def test_stages_hold_every_layer_once(catalog: Catalog, model: str, pp: int) -> None:
    noun = catalog.model(model)
    stages = stages_of(noun, pp)
    assert stages[0].first
    assert stages[-1].last
    depths = [stage.depth for stage in stages]
    assert max(depths) - min(depths) <= 1
    assert pp * max(depths) >= len(noun.layers) >= pp * min(depths)


def test_pipeline_stages_divide_the_weights(catalog: Catalog, pool_of: PoolOf) -> None:
    model, pool = catalog.model("llama-3.1-70b"), pool_of("llama-3.1-70b", pp=2)
    cut = cut_of(model, pool, hardware_of(catalog, pool))
    halves: list[Stage] = list(stages_of(model, 2))
    total = sum(weights_bytes(model, cut, stage) for stage in halves)
    assert total == pytest.approx(2 * total_parameters(model), rel=1e-3)
