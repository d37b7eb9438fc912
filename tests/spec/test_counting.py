"""Counts against published checkpoints, written out here so that they do not lean on the shipped catalog."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.spec.counting import (
    GROUPS,
    Parameters,
    active_parameters,
    kv_elements_per_token,
    layer_parameters,
    model_parameters,
    state_elements,
    total_parameters,
)
from planner.spec.model import (
    Attention,
    Block,
    CompressedAttention,
    CrossAttention,
    DenseFfn,
    Encoder,
    Ffn,
    LatentAttention,
    Layer,
    LinearAttention,
    Model,
    MoeFfn,
    SoftmaxAttention,
)

BF16 = 2


def gqa(heads: int, kv_heads: int, head_dim: int = 128, **rest: object) -> SoftmaxAttention:
    return SoftmaxAttention.model_validate({"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim} | rest)


def model(hidden: int, vocab: int, *blocks: tuple[int, Attention | None, Ffn | None], **rest: object) -> Model:
    built = tuple(Block(repeat=n, layers=(Layer(attention=mixer, ffn=ffn),)) for n, mixer, ffn in blocks)
    return Model.model_validate(
        {"name": "m", "hidden": hidden, "vocab": vocab, "blocks": built, "source": "test"} | rest
    )


LLAMA_2_7B = model(4096, 32000, (32, gqa(32, 32), DenseFfn(inner=11008)))
LLAMA_3_70B = model(8192, 128256, (80, gqa(64, 8), DenseFfn(inner=28672)))
MIXTRAL_8X7B = model(4096, 32000, (32, gqa(32, 8), MoeFfn(experts=8, top_k=2, inner=14336)))
QWEN3_30B = model(2048, 151936, (48, gqa(32, 4, qk_norm=True), MoeFfn(experts=128, top_k=8, inner=768)))
QWEN25_7B = model(3584, 152064, (28, gqa(28, 4, bias=True), DenseFfn(inner=18944)))
LITE_MLA = LatentAttention(heads=16, kv_lora=512, qk_nope_dim=128, qk_rope_dim=64, v_head_dim=128)
LITE_MOE = MoeFfn(experts=64, top_k=6, inner=1408, shared_inner=2816)
DEEPSEEK_V2_LITE = model(2048, 102400, (1, LITE_MLA, DenseFfn(inner=10944)), (26, LITE_MLA, LITE_MOE))
V3_MLA = LatentAttention(heads=128, q_lora=1536, kv_lora=512, qk_nope_dim=128, qk_rope_dim=64, v_head_dim=128)
V3_MOE = MoeFfn(experts=256, top_k=8, inner=2048, shared_inner=2048, router_bias=True)
DEEPSEEK_V3 = model(7168, 129280, (3, V3_MLA, DenseFfn(inner=18432)), (58, V3_MLA, V3_MOE))

# Safetensors counts of the checkpoints on the model hub.
TOTALS = {
    "llama-2-7b": (LLAMA_2_7B, 6_738_415_616),
    "llama-3-70b": (LLAMA_3_70B, 70_553_706_496),
    "mixtral-8x7b": (MIXTRAL_8X7B, 46_702_792_704),
    "qwen3-30b-a3b": (QWEN3_30B, 30_532_122_624),
    "qwen2.5-7b": (QWEN25_7B, 7_615_616_512),
    "deepseek-v2-lite": (DEEPSEEK_V2_LITE, 15_706_484_224),
    "deepseek-v3": (DEEPSEEK_V3, 671_026_419_200),
}


@pytest.mark.parametrize("name", TOTALS)
def test_total_is_the_checkpoint_to_the_unit(name: str) -> None:
    counted, published = TOTALS[name]
    assert total_parameters(counted) == published


def test_tied_biased_layernorm_model_to_the_unit() -> None:
    mixer = gqa(40, 40, bias=True, output_bias=True)
    layer = Layer(attention=mixer, ffn=DenseFfn(inner=20480, gated=False, bias=True), norms=4)
    opt_13b = Model(
        name="opt-13b", hidden=5120, vocab=50272, tied_embeddings=True, learned_positions=2050, final_norms=2,
        blocks=(Block(repeat=40, layers=(layer,)),), source="test",
    )  # fmt: skip
    assert total_parameters(opt_13b) == 12_853_473_280


def test_expert_biases_and_sinks_to_the_unit() -> None:
    def layer(window: int | None) -> Layer:
        mixer = gqa(64, 8, 64, bias=True, output_bias=True, window=window)
        return Layer(attention=mixer, ffn=GPT_OSS_MOE, extra_parameters=64)

    blocks = (Block(repeat=12, layers=(layer(128), layer(None))),)
    gpt_oss_20b = Model(name="gpt-oss-20b", hidden=2880, vocab=201088, blocks=blocks, source="test")
    assert total_parameters(gpt_oss_20b) == 20_914_757_184
    assert kv_elements_per_token(gpt_oss_20b) == [(1024.0, 128), (1024.0, None)] * 12


GPT_OSS_MOE = MoeFfn(experts=32, top_k=4, inner=2880, bias=True, router_bias=True)
CACHE_BYTES = [
    (LLAMA_3_70B, 327_680),
    (MIXTRAL_8X7B, 131_072),
    (LLAMA_2_7B, 524_288),
    (DEEPSEEK_V2_LITE, 31_104),
    (DEEPSEEK_V3, 70_272),
]


@pytest.mark.parametrize(("counted", "published"), CACHE_BYTES)
def test_cache_bytes_per_token(counted: Model, published: int) -> None:
    assert BF16 * sum(elements for elements, window in kv_elements_per_token(counted) if window is None) == published


def test_active_leaves_out_idle_experts() -> None:
    idle = 48 * (128 - 8) * 3 * 2048 * 768
    assert active_parameters(QWEN3_30B) == total_parameters(QWEN3_30B) - idle
    assert active_parameters(LLAMA_3_70B) == total_parameters(LLAMA_3_70B)


def test_groups_of_a_model_with_everything() -> None:
    whole = model(
        2048, 1000, (1, LITE_MLA, LITE_MOE), (1, None, DenseFfn(inner=64)), encoder=Encoder(parameters=77)
    )  # fmt: skip
    counted = model_parameters(whole)
    assert counted.experts == 64 * 3 * 2048 * 1408
    assert counted.shared == 3 * 2048 * 2816
    assert counted.router == 64 * 2048
    assert counted.ffn == 3 * 2048 * 64
    assert (counted.embedding, counted.head, counted.encoder) == (2_048_000, 2_048_000, 77)
    assert counted.norms == (2 + 2 + 1) * 2048
    assert sum(getattr(counted, group) for group in GROUPS) == counted.total


def test_latent_experts_work_in_their_own_width() -> None:
    narrow = MoeFfn(experts=4, top_k=1, inner=10, gated=False, latent=16)
    counted = layer_parameters(Layer(ffn=narrow, norms=0), hidden=64)
    assert counted == Parameters(experts=4 * 2 * 16 * 10, shared=2 * 64 * 16, router=4 * 64)


def test_layers_that_cache_nothing_and_state() -> None:
    mixers: list[Attention] = [
        LinearAttention(flavour="mamba2", parameters=5, state_elements=300, heads=2),
        CrossAttention(heads=4, kv_heads=2, head_dim=8),
        gqa(8, 2, 16, shares_kv=True),
        CompressedAttention(
            heads=8, kv_elements_per_token=1.5, head_dim=6, window=10, read_tokens=20, parameters=9
        ),
    ]  # fmt: skip
    hybrid = model(64, 10, *[(1, mixer, None) for mixer in mixers])
    assert kv_elements_per_token(hybrid) == [(0.0, None), (0.0, None), (0.0, None), (1.5, None)]
    assert state_elements(hybrid) == 300 + 6 * 10


def test_special_caches() -> None:
    one_tensor = model(64, 10, (1, gqa(8, 2, 16, keys_are_values=True), None))
    uneven = model(64, 10, (1, gqa(8, 2, 16, v_head_dim=8), None))
    sparse = LatentAttention(
        heads=2, kv_lora=32, qk_nope_dim=8, qk_rope_dim=4, v_head_dim=8, index_heads=2, index_dim=8, index_top_k=64
    )
    shared = sparse.model_copy(update={"index_shared": True})
    assert kv_elements_per_token(one_tensor) == [(32.0, None)]
    assert kv_elements_per_token(uneven) == [(2 * (16 + 8), None)]
    assert kv_elements_per_token(model(64, 10, (1, sparse, None), (1, shared, None))) == [(44.0, None), (36.0, None)]


@given(
    repeat=st.integers(1, 9), heads=st.sampled_from([2, 4, 8]), inner=st.integers(1, 64), top_k=st.integers(1, 6),
    spare=st.integers(0, 6),
)  # fmt: skip
def test_layers_add_up(repeat: int, heads: int, inner: int, top_k: int, spare: int) -> None:
    ffn = MoeFfn(experts=top_k + spare, top_k=top_k, inner=inner)
    once = model(32, 11, (1, gqa(heads, 2, 4), ffn))
    many = model(32, 11, (repeat, gqa(heads, 2, 4), ffn))
    layer = layer_parameters(once.layers[0], 32).total
    assert total_parameters(many) - total_parameters(once) == (repeat - 1) * layer
    assert active_parameters(many) <= total_parameters(many)
    assert (active_parameters(many) == total_parameters(many)) == (spare == 0)
    assert len(kv_elements_per_token(many)) == repeat
