"""The config.json importer: small configs here, every config of the source tables when they are near, and bad input."""

from __future__ import annotations

import csv
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog.import_hf import blocks_of, import_config, to_yaml
from planner.errors import BadInput
from planner.spec.counting import kv_elements_per_token, state_elements, total_parameters
from planner.spec.model import (
    Block,
    DenseFfn,
    Encoder,
    LatentAttention,
    Layer,
    LinearAttention,
    Model,
    MoeFfn,
    SoftmaxAttention,
)

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "catalog"
PLAIN: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    "max_position_embeddings": 8192, "torch_dtype": "bfloat16", "rope_theta": 500000.0, "tie_word_embeddings": False,
    "hidden_act": "silu", "rms_norm_eps": 1e-5, "attention_bias": False, "bos_token_id": 128000,
}  # fmt: skip
LATENT: dict[str, Any] = {
    "model_type": "deepseek_v2", "hidden_size": 2048, "intermediate_size": 10944, "num_hidden_layers": 27,
    "num_attention_heads": 16, "num_key_value_heads": 16, "kv_lora_rank": 512, "q_lora_rank": None,
    "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 64,
    "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_intermediate_size": 1408, "first_k_dense_replace": 1,
    "moe_layer_freq": 1, "vocab_size": 102400, "max_position_embeddings": 163840, "tie_word_embeddings": False,
}  # fmt: skip
HYBRID: dict[str, Any] = {
    "model_type": "nemotron_h", "hidden_size": 64, "num_hidden_layers": 8, "hybrid_override_pattern": "MEM*M-M-",
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96, "conv_kernel": 4,
    "mamba_num_heads": 8, "mamba_head_dim": 16, "n_groups": 2, "ssm_state_size": 8, "n_routed_experts": 6,
    "num_experts_per_tok": 2, "moe_intermediate_size": 24, "moe_shared_expert_intermediate_size": 48,
    "moe_latent_size": 32, "vocab_size": 100, "max_position_embeddings": 512,
}  # fmt: skip


def without(config: dict[str, Any], *keys: str, **others: Any) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in keys} | others


def test_plain_model_to_the_unit() -> None:
    model = import_config(PLAIN, "llama-3-8b")
    layer = Layer(attention=SoftmaxAttention(heads=32, kv_heads=8, head_dim=128), ffn=DenseFfn(inner=14336))
    assert model.blocks == (Block(repeat=32, layers=(layer,)),)
    assert total_parameters(model) == 8_030_261_248
    assert (model.max_context, model.native_dtype, model.family) == (8192, "bf16", "llama")


def test_other_spellings_mean_the_same() -> None:
    renamed = {"n_embd": 4096, "n_layer": 32, "n_head": 32, "num_kv_heads": 8, "n_positions": 8192, "n_inner": 14336}
    dropped = (
        "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "max_position_embeddings",
        "intermediate_size",
    )  # fmt: skip
    assert import_config(without(PLAIN, *dropped, **renamed), "a").blocks == import_config(PLAIN, "a").blocks


def test_latent_attention_shared_experts_and_a_dense_first_layer_to_the_unit() -> None:
    model = import_config(LATENT, "deepseek-v2-lite")
    assert total_parameters(model) == 15_706_484_224
    assert [block.repeat for block in model.blocks] == [1, 26]
    assert isinstance(model.layers[0].ffn, DenseFfn)
    ffn = model.layers[1].ffn
    assert isinstance(ffn, MoeFfn)
    assert (ffn.experts, ffn.top_k, ffn.shared_inner) == (64, 6, 2816)


def test_an_indexer_belongs_to_the_first_layer_and_every_fourth_from_the_second() -> None:
    index = {"index_n_heads": 4, "index_head_dim": 128, "index_topk": 2048, "index_topk_freq": 4}
    model = import_config(without(LATENT, q_lora_rank=64, num_hidden_layers=10, **index), "sparse")
    mixers = [layer.attention for layer in model.layers]
    own = [i for i, mixer in enumerate(mixers) if isinstance(mixer, LatentAttention) and not mixer.index_shared]
    assert own == [0, 1, 5, 9]


def test_single_sublayers_in_the_order_of_the_pattern() -> None:
    model = import_config(HYBRID, "hybrid")
    kinds = [type(layer.attention).__name__[:3] + type(layer.ffn).__name__[:3] for layer in model.layers]
    assert kinds == ["LinNon", "NonMoe", "LinNon", "SofNon", "LinNon", "NonDen", "LinNon", "NonDen"]
    # Mamba-2 by hand: inner 128, conv over 128 + 2 * 2 * 8 = 160 channels.
    mixer = model.layers[0].attention
    assert isinstance(mixer, LinearAttention)
    assert mixer.parameters == 64 * (2 * 128 + 32 + 8) + 128 * 64 + 160 * 4 + 160 + 3 * 8 + 128
    assert mixer.state_elements == 128 * 8 + 160 * 3
    assert state_elements(model) == 4 * mixer.state_elements
    moe = model.layers[1].ffn
    assert isinstance(moe, MoeFfn)
    assert (moe.latent, moe.shared_inner, moe.gated) == (32, 48, False)
    assert model.layers[3].norms == 1


def test_windows_interleave_by_architecture_by_list_and_by_switch() -> None:
    gemma = without(PLAIN, model_type="gemma2", num_hidden_layers=4, sliding_window=4096, head_dim=256)
    listed = without(PLAIN, num_hidden_layers=3, sliding_window=128, layer_types=[
        "full_attention", "sliding_attention", "sliding_attention"
    ])  # fmt: skip
    switched_off = without(PLAIN, sliding_window=4096, use_sliding_window=False)
    everywhere = without(PLAIN, model_type="mistral", sliding_window=4096)
    assert [window for _, window in kv_elements_per_token(import_config(gemma, "g"))] == [4096, None] * 2
    assert [window for _, window in kv_elements_per_token(import_config(listed, "l"))] == [None, 128, 128]
    assert {window for _, window in kv_elements_per_token(import_config(switched_off, "s"))} == {None}
    assert {window for _, window in kv_elements_per_token(import_config(everywhere, "e"))} == {4096}


NEXT: dict[str, Any] = {
    "model_type": "qwen3_next", "hidden_size": 2048, "intermediate_size": 5120, "num_hidden_layers": 48,
    "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256, "full_attention_interval": 4,
    "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_num_key_heads": 16,
    "linear_num_value_heads": 32, "linear_value_head_dim": 128, "num_experts": 512, "num_experts_per_tok": 10,
    "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "decoder_sparse_step": 1,
    "mlp_only_layers": [], "vocab_size": 151936, "max_position_embeddings": 262144, "tie_word_embeddings": False,
}  # fmt: skip


def test_linear_layers_spaced_by_an_interval() -> None:
    model = import_config(NEXT, "qwen3-next-80b-a3b")
    linear = [isinstance(layer.attention, LinearAttention) for layer in model.layers]
    assert linear == [True, True, True, False] * 12
    assert total_parameters(model) == pytest.approx(79.67e9, rel=1e-4)  # the card, without multi-token prediction


def test_one_shared_key_value_head() -> None:
    falcon = {
        "model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71,
        "multi_query": True, "parallel_attn": True, "alibi": False, "bias": False, "ffn_hidden_size": 18176,
        "vocab_size": 65024,
    }  # fmt: skip
    assert total_parameters(import_config(falcon, "falcon-7b")) == 6_921_720_704


def test_layers_that_read_an_earlier_cache_store_none() -> None:
    model = import_config(without(PLAIN, num_hidden_layers=6, num_kv_shared_layers=2), "shared")
    assert [elements for elements, _ in kv_elements_per_token(model)] == [2048.0] * 4 + [0.0] * 2


def test_number_formats() -> None:
    fp8 = import_config(without(PLAIN, quantization_config={"quant_method": "fp8"}), "a")
    experts = import_config(without(LATENT, quantization_config={"quant_method": "mxfp4"}), "b")
    ffn = experts.layers[1].ffn
    assert isinstance(ffn, MoeFfn)
    assert (fp8.native_dtype, experts.native_dtype, ffn.expert_dtype) == ("fp8", "bf16", "mxfp4")


def test_vision_tower_to_the_unit() -> None:
    """Qwen3-VL-8B: 8,767,123,696 weights on the hub, of them 8,190,735,360 in the text model."""
    text = without(
        PLAIN, model_type="qwen3_vl_text", intermediate_size=12288, num_hidden_layers=36, vocab_size=151936,
        head_dim=128,
    )  # fmt: skip
    vision = {
        "model_type": "qwen3_vl", "depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "num_heads": 16,
        "out_hidden_size": 4096, "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2,
    }  # fmt: skip
    model = import_config({"model_type": "qwen3_vl", "text_config": text, "vision_config": vision}, "qwen3-vl-8b")
    assert total_parameters(model) == 8_767_123_696
    given = import_config(PLAIN, "other", encoder=Encoder(parameters=5))
    assert given.encoder == Encoder(parameters=5)


@pytest.mark.parametrize("config", [PLAIN, LATENT, HYBRID])
def test_yaml_round_trip(config: dict[str, Any]) -> None:
    model = import_config(config, "round-trip")
    text = to_yaml(model)
    assert Model.model_validate(yaml.safe_load(text)) == model
    assert text.startswith("name: round-trip\n")


REFUSED = [
    (without(PLAIN, mlp_class=["LLaMAMLP"]), "mlp_class ['LLaMAMLP'] is not known", "known: LLaMAMLP"),
    (without(LATENT, "moe_layer_freq", decoder_sparse_step=[1]), "moe_every: expected a whole number, not [1]", ""),
    (without(PLAIN, model_type="llamoid"), "architecture 'llamoid' is not known", "did you mean 'llama'"),
    (without(PLAIN, "model_type"), "model_type is missing", "does not say which architecture"),
    (without(PLAIN, "hidden_size"), "hidden is missing", "known spellings: hidden_size, n_embd"),
    (without(PLAIN, state_channels=4), "field 'state_channels' is not understood", ""),
    (without(PLAIN, num_key_value_head=4), "field 'num_key_value_head' is not understood", "'num_key_value_heads'"),
    (without(PLAIN, num_hidden_layers="32"), "layers: expected a whole number, not '32'", ""),
    (without(PLAIN, num_hidden_layers=0), "layers: 0 is not between 1 and", ""),
    (without(PLAIN, num_key_value_heads=5), "heads (32) must be a multiple of kv_heads (5)", ""),
    (without(PLAIN, torch_dtype="float7"), "torch_dtype 'float7' is not known", ""),
    (without(PLAIN, quantization_config={"quant_method": "magic"}), "quant_method 'magic' is not known", "known: fp8"),
    (without(PLAIN, layer_types=["full_attention"] * 31), "32 layers are stated but 31 are described", ""),
    (without(PLAIN, layer_types=["round_attention"] * 32), "layer types 'round_attention' are not understood", ""),
    (without(PLAIN, hidden_size_per_layer_input=256), "field 'hidden_size_per_layer_input' is not understood", ""),
    (without(PLAIN, text_config=3), "text_config: expected an object", ""),
    (without(LATENT, moe_layer_freq=[0, 1]), "moe_layer_freq: 2 values for 27 layers", ""),
    (without(PLAIN, vision_config={"shape": "round"}), "field 'shape' is not understood", ""),
]


@pytest.mark.parametrize(("config", "what", "hint"), REFUSED)
def test_what_is_not_understood_is_refused_by_name(config: dict[str, Any], what: str, hint: str) -> None:
    with pytest.raises(BadInput) as refused:
        import_config(config, "x")
    assert any(what in problem.what and hint in problem.hint for problem in refused.value.problems), refused.value


def test_every_unknown_field_is_named_at_once() -> None:
    with pytest.raises(BadInput) as refused:
        import_config(without(PLAIN, aaa=1, bbb=2), "x")
    assert len(refused.value.problems) == 2


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 200), st.floats(), st.text(max_size=4),
    st.lists(st.integers(-1, 3), max_size=4),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip
NESTED = (
    "text_config vision_config layer_types compress_ratios kda_layers block_configs linear_attn_config "
    "sparse_attention_config cross_attention_layers index_topk_freq cla_share_factor quantization_config mlp_class"
)
KEYS = sorted({*PLAIN, *LATENT, *HYBRID, *NESTED.split()})


@settings(max_examples=300, deadline=None)
@given(
    base=st.sampled_from([PLAIN, LATENT, HYBRID]),
    junk=st.dictionaries(st.sampled_from(KEYS), JUNK, min_size=1, max_size=3),
)  # fmt: skip
def test_bad_input_is_a_model_or_a_refusal_never_a_traceback(base: dict[str, Any], junk: dict[str, Any]) -> None:
    try:
        counted = total_parameters(import_config(base | junk, "fuzzed"))
    except BadInput as refused:
        counted = len(refused.problems)
    assert counted > 0


@given(st.lists(st.sampled_from("ab"), max_size=40))
def test_blocks_keep_every_layer_in_order(letters: list[str]) -> None:
    kinds = {letter: Layer(ffn=DenseFfn(inner=n)) for n, letter in enumerate("ab", start=1)}
    layers = [kinds[letter] for letter in letters]
    expanded = [layer for block in blocks_of(layers) for _ in range(block.repeat) for layer in block.layers]
    assert expanded == layers


@cache
def source_rows() -> dict[str, dict[str, str]]:
    with (SHARED / "models.csv").open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def completed(config: dict[str, Any], row: dict[str, str]) -> dict[str, Any]:
    """Configs derived from another library's table say neither architecture nor tying: the source table does."""
    if "model_type" in config:
        return config
    facts = {
        "model_type": row["family"], "tie_word_embeddings": row["tied"] == "1", "vocab_size": int(row["vocab"]),
        "dtype": {"fp16": "float16"}.get(row["dtype"], "bfloat16"),
    }  # fmt: skip
    unused = ["padded_vocab_size"] + ([] if row["sliding_window"] else ["sliding_window_size"])
    return without(config, *unused, **facts)


CONFIGS = sorted((SHARED / "configs").glob("*.json"))


def test_all_configs_are_near_or_none() -> None:
    if not SHARED.is_dir():
        pytest.skip("the source tables are not beside the repository")
    assert len(CONFIGS) == 99


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_gives_the_shipped_entry(path: Path) -> None:
    row = source_rows()[path.stem]
    shipped_file = next((ROOT / "model_db").glob(f"*/{path.stem}.yaml"))
    shipped = Model.model_validate(yaml.safe_load(shipped_file.read_text(encoding="utf-8")))
    model = import_config(completed(json.loads(path.read_text(encoding="utf-8")), row), path.stem)
    assert without_formats(model) == without_formats(shipped)
    encoders = [m.encoder.parameters if m.encoder else 0 for m in (model, shipped)]
    assert total_parameters(model) - encoders[0] == total_parameters(shipped) - encoders[1]
    assert encoders[0] in (0, encoders[1])


def without_formats(model: Model) -> list[Layer]:
    """Layers without expert formats: some configs describe a re-quantised copy of the checkpoint."""
    return [
        layer.model_copy(update={"ffn": layer.ffn.model_copy(update={"expert_dtype": None})})
        if isinstance(layer.ffn, MoeFfn)
        else layer
        for layer in model.layers
    ]
