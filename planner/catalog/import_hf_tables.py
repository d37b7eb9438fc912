"""Tables of the config.json importer: how fields are spelled, which are harmless, what a `model_type` leaves unsaid.

Not a list of models: a `model_type` names an architecture that many checkpoints share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

SPELLINGS: dict[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "n_embed", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "head_dim": ("head_dim",),
    "v_head_dim": ("v_head_dim",),
    "vocab": ("padded_vocab_size", "vocab_size"),
    "max_context": ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"),
    "tied": ("tie_word_embeddings",),
    "ffn": ("dense_intermediate_size", "intermediate_size_mlp", "intermediate_size", "ffn_hidden_size", "ffn_dim",
            "n_inner"),
    "bias": ("attention_bias", "attn_bias", "qkv_bias", "use_bias"),
    "all_bias": ("bias",),
    "norm_class": ("norm_class",),
    "parallel": ("parallel_residual",),
    "window": ("sliding_window", "sliding_window_size", "attention_chunk_size"),
    "use_window": ("use_sliding_window",),
    "layer_types": ("layer_types", "layers_block_type"),
    "hybrid_pattern": ("hybrid_override_pattern",),
    "full_every": ("sliding_window_pattern", "_sliding_window_pattern"),
    "experts": ("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts", "n_expert"),
    "top_k": ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_k", "moe_topk",
              "n_expert_per_token", "experts_per_token"),
    "moe_inner": ("moe_intermediate_size", "moe_ffn_hidden_size"),
    "moe_hidden": ("moe_latent_size", "routed_expert_hidden_size"),
    "shared_experts": ("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"),
    "shared_inner": ("moe_shared_expert_intermediate_size", "shared_expert_intermediate_size", "share_expert_dim",
                     "shared_intermediate_size"),
    "first_dense": ("first_k_dense_replace", "moe_layer_start_index"),
    "moe_every": ("decoder_sparse_step", "interleave_moe_layer_step", "expert_layer_period", "moe_layer_freq"),
    "moe_offset": ("expert_layer_offset",),
    "q_lora": ("q_lora_rank",),
    "kv_lora": ("kv_lora_rank",),
    "qk_nope_dim": ("qk_nope_head_dim",),
    "qk_rope_dim": ("qk_rope_head_dim",),
    "index_heads": ("index_n_heads",),
    "index_dim": ("index_head_dim",),
    "index_top_k": ("index_topk",),
    "index_every": ("index_topk_freq",),
}  # fmt: skip
"""Trait -> its spellings; the first one that a config holds counts."""

_HARMLESS = """
    _source _hub_id _name_or_path architectures auto_map transformers_version model_type torch_dtype dtype
    use_cache bos_token_id eos_token_id pad_token_id initializer_range attention_dropout hidden_dropout
    hidden_act hidden_activation activation_function layer_norm_eps rms_norm_eps layer_norm_epsilon pretraining_tp
    rope_theta rope_base rope_scaling rope_parameters rope_adjustments rotary_dim partial_rotary_factor rope_type
    qk_head_dim vocab_size padded_vocab_size max_window_layers
    n_group topk_group topk_method scoring_func norm_topk_prob routed_scaling_factor use_routing_bias
    router_aux_loss_coef output_router_logits num_hash_layers ep_size seq_aux aux_loss_alpha
    num_nextn_predict_layers mtp_num_hidden_layers num_mtp_modules
    vision_soft_tokens_per_image image_token_index expand use_qk_norm qk_norm_type
    attention_multiplier embedding_multiplier residual_multiplier logits_scaling mla_use_nope use_cla
    original_max_position_embeddings initial_context_length swiglu_limit logit_scale parallel_attn alibi
    no_rope_layers no_rope_layer_interval attn_scale attn_temperature_tuning floor_scale for_llm_compressor moe_layers
    mlp_hidden_act moe_shared_expert_overlap mtp_transformer_layers
    rope_local_base_freq router_jitter_noise num_logits_to_keep image_token_id video_token_id vision_start_token_id
    vision_end_token_id vision_token_id boi_token_index eoi_token_index mm_tokens_per_image embd_pdrop resid_pdrop
    attn_pdrop summary_type scale_attn_weights time_step_limit time_step_floor time_step_max time_step_min chunk_size
    residual_in_fp32 rescale_prenorm_residual mamba_hidden_act use_mamba_kernels
    attn_logit_softcapping final_logit_softcapping query_pre_attn_scalar cache_implementation
"""
HARMLESS: frozenset[str] = frozenset(_HARMLESS.split())
"""Fields that change neither a weight count nor a cached element. Multi-token-prediction layers are not counted."""

NEUTRAL: dict[str, object] = {
    "mamba_conv_bias": True,
    "use_conv_bias": True,
    "mamba_proj_bias": False,
    "use_bidirectional_attention": False,
    "hidden_size_per_layer_input": 0,
    "use_double_wide_mlp": False,
    "clip_qkv": None,
    "moe_intermediate_size_list": None,
}
"""Structural fields that are understood only at the value that switches them off."""

QkNorm = Literal["", "head", "full"]


@dataclass(frozen=True, slots=True)
class Traits:
    """What an architecture fixes in code and its config does not say. Norms count in hidden-size vectors."""

    qk_norm: QkNorm = ""
    bias: bool = False
    output_bias: bool = False
    """Where the attention has a bias, its output projection has one too."""
    output_gate: bool = False
    gated: bool = True
    ffn_bias: bool = False
    norms: int = 2
    moe_norms: int = 0
    """Norms of a layer with experts, where they differ."""
    final_norms: int = 1
    tied: bool = False
    router_bias: bool = False
    expert_bias: bool = False
    shared_gate: bool = False
    shared_experts: int = 0
    """Shared experts of the dense width that the config does not count."""
    dense_beside_experts: bool = False
    """The dense network runs beside the experts of the same layer."""
    sinks: Literal["", "all", "window"] = ""
    """Layers with one learned sink logit per query head."""
    full_every: int = 0
    """Every n-th layer sees the whole context, the others the window; 0 = the window holds for all."""
    head_bias: bool = False
    embedding_norms: int = 0
    """Norm of the embedding, hidden-size vectors."""
    optional_qk_norm: QkNorm = ""
    """Norm of q and k where the config says `use_qk_norm`."""
    position_rows_beyond_context: int | None = None
    """Learned positions: rows the table has beyond the context; None = rotary or ALiBi."""
    head_dim: int = 0
    """When the config leaves it out and it is not hidden / heads."""
    layer_extra: int = 0
    router_scale: bool = False
    """The router norms its input (hidden weights) and scales each expert."""


_LLAMA = Traits()
_BIASED = Traits(bias=True, output_bias=True, gated=False, ffn_bias=True, norms=4, final_norms=2, tied=True)
FAMILIES: dict[str, Traits] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "ministral3": _LLAMA,
    "mixtral": _LLAMA,
    "phi3": _LLAMA,
    "internlm2": _LLAMA,
    "nemotron-nas": _LLAMA,
    "deci": _LLAMA,
    "granite": Traits(tied=True),
    "granitemoe": Traits(tied=True),
    "qwen2": Traits(bias=True),
    "qwen2_moe": Traits(bias=True, shared_gate=True),
    "mimo": Traits(bias=True),
    "internlm": Traits(bias=True, output_bias=True),
    "qwen3": Traits(qk_norm="head"),
    "qwen3_moe": Traits(qk_norm="head"),
    "qwen3_vl_text": Traits(qk_norm="head"),
    "qwen3_vl_moe_text": Traits(qk_norm="head"),
    "qwen3_next": Traits(qk_norm="head", shared_gate=True, output_gate=True),
    "qwen3_5_text": Traits(qk_norm="head"),
    "qwen3_5_moe_text": Traits(qk_norm="head", shared_gate=True),
    "glm4_moe": Traits(bias=True, router_bias=True, optional_qk_norm="head"),
    "gemma": Traits(tied=True, head_dim=256),
    "gemma2": Traits(norms=4, tied=True, full_every=2),
    "gemma3": Traits(qk_norm="head", norms=4, tied=True, full_every=6),
    "gemma3_text": Traits(qk_norm="head", norms=4, tied=True, full_every=6),
    "gemma4_text": Traits(
        qk_norm="head", norms=4, moe_norms=7, tied=True, dense_beside_experts=True, layer_extra=1, router_scale=True
    ),
    "olmo2": Traits(qk_norm="full"),
    "phi": Traits(bias=True, output_bias=True, gated=False, ffn_bias=True, norms=2, final_norms=2, head_bias=True),
    "falcon": Traits(gated=False, norms=2, final_norms=2, tied=True),
    "deepseek_v2": _LLAMA,
    "deepseek_v3": Traits(router_bias=True),
    "deepseek_v32": Traits(router_bias=True),
    "deepseek_v4": Traits(router_bias=True),
    "kimi_k2": Traits(router_bias=True),
    "kimi_linear": Traits(router_bias=True),
    "glm_moe_dsa": Traits(router_bias=True),
    "glm4_moe_lite": Traits(router_bias=True),
    "gpt_oss": Traits(bias=True, output_bias=True, router_bias=True, expert_bias=True, sinks="all"),
    "minimax_m2": Traits(qk_norm="full", router_bias=True),
    "minimax_m3": Traits(qk_norm="head", router_bias=True),
    "llama4_text": Traits(full_every=4, shared_experts=1),
    "mimo_v2_flash": Traits(router_bias=True, sinks="window"),
    "step3p7": Traits(router_bias=True),
    "nemotron_h": Traits(gated=False, norms=1, router_bias=True),
    "nemotron": Traits(gated=False, norms=4, final_norms=2),
    "opt": replace(_BIASED, position_rows_beyond_context=2),
    "gpt": replace(_BIASED, position_rows_beyond_context=0),
    "gpt_bigcode": replace(_BIASED, position_rows_beyond_context=0),
    "bloom": replace(_BIASED, embedding_norms=2),
    "starcoder2": _BIASED,
    "gptj": Traits(gated=False, ffn_bias=True, norms=2, final_norms=2, head_bias=True),
    "phimoe": Traits(bias=True, output_bias=True, norms=4, final_norms=2, head_bias=True),
    "phi3small": replace(_BIASED, gated=True),
    "cohere": Traits(norms=1, tied=True, optional_qk_norm="full"),
    "dbrx": _LLAMA,
    "grok-1": Traits(norms=4, tied=True),
    "jamba": _LLAMA,
    "mamba": Traits(norms=1, tied=True),
    "minimax": _LLAMA,
    "ernie4_5_moe": Traits(router_bias=True, tied=True),
    "hunyuan_v1_moe": Traits(tied=True, optional_qk_norm="head"),
    "mllama_text_model": _LLAMA,
    "chameleon": Traits(qk_norm="full"),
}
