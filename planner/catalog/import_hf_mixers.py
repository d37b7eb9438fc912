"""Token mixers of the config.json importer: one function per kind, from Fields to an attention noun.

Not the order of the layers: that is `import_hf`.
"""

from __future__ import annotations

from planner.catalog.import_hf_fields import Fields
from planner.catalog.import_hf_tables import Traits
from planner.spec.model import CompressedAttention, CrossAttention, LatentAttention, LinearAttention, SoftmaxAttention

_SPARSE = frozenset({
    "sparse_attention_freq", "sparse_num_index_heads", "sparse_index_dim", "sparse_topk_blocks", "sparse_block_size",
    "sparse_disable_index_value", "sparse_init_block", "sparse_local_block", "sparse_score_type",
    "use_sparse_attention",
})  # fmt: skip
"""Fields of `sparse_attention_config` that are read, or that change neither weights nor what is cached."""


def softmax(fields: Fields, traits: Traits, windowed: bool) -> SoftmaxAttention:
    """MHA, GQA or MQA; `windowed` layers see only the window."""
    hidden, heads = fields.number("hidden"), fields.number("heads")
    bias = bool(fields.get("bias", traits.bias)) or bool(fields.get("all_bias", False))
    window = fields.number("window", 0)
    norm = traits.qk_norm or (traits.optional_qk_norm if fields.raw("use_qk_norm", False) else "")
    return SoftmaxAttention(
        heads=heads,
        kv_heads=fields.number("kv_heads", _unsaid_kv_heads(fields, heads)),
        head_dim=fields.number("head_dim", traits.head_dim or hidden // heads),
        v_head_dim=fields.number("v_head_dim", 0) or None,
        window=window if windowed and window else None,
        bias=bias,
        output_bias=bias and (traits.output_bias or bool(fields.get("all_bias", False))),
        qk_norm=bool(norm),
        qk_norm_full=norm == "full",
        output_gate=bool(fields.raw("attn_output_gate", traits.output_gate)),
    )


def _unsaid_kv_heads(fields: Fields, heads: int) -> int:
    """One shared head with `multi_query` (but not in Falcon's newer blocks, which say how many), else one per query."""
    single = fields.raw("multi_query", False) and not fields.raw("new_decoder_architecture", False)
    return 1 if single else heads


def grouped_softmax(fields: Fields, traits: Traits, heads_per_group: int) -> SoftmaxAttention:
    """Full-context layer with its own number of query heads per key-value head (searched architectures)."""
    shape = softmax(fields, traits, windowed=False)
    return SoftmaxAttention.model_validate(dict(shape) | {"kv_heads": shape.heads // heads_per_group})


def global_softmax(fields: Fields, traits: Traits, layer: int) -> SoftmaxAttention:
    """Full-context layer; its heads may differ from the windowed ones (`global_head_dim`, Gemma-4)."""
    local = softmax(fields, traits, windowed=False)
    sparse = fields.sub("sparse_attention_config")
    sparse.refuse_unread(_SPARSE)
    indexed = bool((sparse.per_layer("sparse_attention_freq", layer + 1) or [0] * (layer + 1))[layer])
    shape = {
        "head_dim": fields.exact("global_head_dim", local.head_dim),
        "kv_heads": _kv_heads_of(fields, layer, fields.exact("num_global_key_value_heads", local.kv_heads)),
        "keys_are_values": bool(fields.raw("attention_k_eq_v", False)),
        "index_heads": sparse.exact("sparse_num_index_heads", 0) if indexed else 0,
        "index_dim": sparse.exact("sparse_index_dim", 0) if indexed else 0,
        "index_top_k": sparse.exact("sparse_topk_blocks") * sparse.exact("sparse_block_size") if indexed else 0,
    }
    return SoftmaxAttention.model_validate(dict(local) | shape)


def _kv_heads_of(fields: Fields, layer: int, usual: int) -> int:
    per_layer = fields.per_layer("num_key_value_heads_per_layer")
    return per_layer[layer] if per_layer else usual


def cross(fields: Fields) -> CrossAttention:
    """Attention onto the encoder's output, with norms of q and k (Llama-3.2-Vision)."""
    hidden, heads = fields.number("hidden"), fields.number("heads")
    return CrossAttention(
        heads=heads, kv_heads=fields.number("kv_heads", heads), head_dim=fields.number("head_dim", hidden // heads)
    )


def window_softmax(fields: Fields, traits: Traits) -> SoftmaxAttention:
    """Windowed layer whose heads differ from the full ones (`swa_*`, MiMo-V2)."""
    full = softmax(fields, traits, windowed=True)
    shape = {
        "heads": fields.exact("swa_num_attention_heads", full.heads),
        "kv_heads": fields.exact("swa_num_key_value_heads", full.kv_heads),
        "head_dim": fields.exact("swa_head_dim", full.head_dim),
    }
    v_head_dim = fields.exact("swa_v_head_dim", 0) or full.v_head_dim
    return SoftmaxAttention.model_validate(dict(full) | shape | {"v_head_dim": v_head_dim})


def latent(fields: Fields, layer: int) -> LatentAttention:
    """MLA, with the indexer of DSA when the config has one; `index_every` layers share one index."""
    fields.skip("head_dim", "kv_heads", "bias")
    every = fields.number("index_every", 1) or 1
    return LatentAttention(
        heads=fields.number("heads"),
        q_lora=fields.number("q_lora", 0),
        kv_lora=fields.number("kv_lora"),
        qk_nope_dim=fields.number("qk_nope_dim"),
        qk_rope_dim=fields.number("qk_rope_dim"),
        v_head_dim=fields.number("v_head_dim"),
        index_heads=fields.number("index_heads", 0),
        index_dim=fields.number("index_dim", 0),
        index_top_k=fields.number("index_top_k", 0),
        # The first layer and then every n-th from the second own an index (GLM-5.2).
        index_shared=bool(max(layer - 1, 0) % every) if fields.has("index_heads") else False,
        output_gate=bool(fields.raw("mla_use_output_gate", False)),
    )


def gated_delta_net(fields: Fields) -> LinearAttention:
    """Gated DeltaNet (2412.06464) as in Qwen3-Next: fused q, k, v, z and b, a projections, one causal convolution."""
    hidden, taps = fields.number("hidden"), fields.exact("linear_conv_kernel_dim")
    key_heads, key_dim = fields.exact("linear_num_key_heads"), fields.exact("linear_key_head_dim")
    heads, value_dim = fields.exact("linear_num_value_heads"), fields.exact("linear_value_head_dim")
    keys, values = key_heads * key_dim, heads * value_dim
    projections = hidden * (2 * keys + 2 * values + 2 * heads) + values * hidden
    parameters = projections + (2 * keys + values) * taps + 2 * heads + value_dim
    state = heads * key_dim * value_dim + (2 * keys + values) * (taps - 1)
    return LinearAttention(flavour="gated-delta-net", parameters=parameters, state_elements=state, heads=heads)


def mamba2(fields: Fields) -> LinearAttention:
    """Mamba-2 (2405.21060) as in Nemotron-H: one input projection, a biased convolution, a gated norm."""
    hidden, taps = fields.number("hidden"), fields.exact("conv_kernel")
    heads, head_dim = fields.exact("mamba_num_heads"), fields.exact("mamba_head_dim")
    inner, groups = heads * head_dim, 2 * fields.exact("n_groups") * fields.exact("ssm_state_size")
    parameters = hidden * (2 * inner + groups + heads) + inner * hidden + (inner + groups) * (taps + 1)
    state = inner * fields.exact("ssm_state_size") + (inner + groups) * (taps - 1)
    return LinearAttention(
        flavour="mamba2", parameters=parameters + 3 * heads + inner, state_elements=state, heads=heads
    )


def kimi_delta(fields: Fields) -> LinearAttention:
    """Kimi Delta Attention (2510.26692): convolutions on q, k, v, low-rank decay, low- or full-rank output gate."""
    hidden, linear = fields.number("hidden"), fields.sub("linear_attn_config")
    heads, head_dim = linear.exact("num_heads"), linear.exact("head_dim")
    taps, width = linear.exact("short_conv_kernel_size"), heads * head_dim
    low_rank = hidden * head_dim + head_dim * width
    gate = hidden * width if linear.raw("use_full_rank_gate", False) else low_rank
    parameters = 4 * hidden * width + 3 * width * taps + low_rank + gate + hidden * heads + heads + width + head_dim
    linear.refuse_unread(frozenset({"kda_layers", "full_attn_layers", "gate_lower_bound"}))
    state = heads * head_dim * head_dim + 3 * width * (taps - 1)
    return LinearAttention(flavour="kda", parameters=parameters, state_elements=state, heads=heads)


def mamba1(fields: Fields) -> LinearAttention:
    """Mamba (2312.00752); `mamba_*` spellings are Jamba's, which also norms dt, B and C."""
    hidden = fields.number("hidden")
    inner = fields.exact("mamba_expand", 2) * hidden
    state, taps = fields.exact("mamba_d_state", 16), fields.exact("mamba_d_conv", 4)
    rank = fields.exact("mamba_dt_rank", -(-hidden // 16))
    parameters = 3 * hidden * inner + inner * (taps + 1) + inner * (rank + 2 * state) + rank * inner + inner
    parameters += inner * state + inner + (rank + 2 * state if fields.raw("mamba_inner_layernorms", False) else 0)
    elements = inner * state + inner * (taps - 1)
    return LinearAttention(flavour="mamba1", parameters=parameters, state_elements=elements, heads=1)


def lightning(fields: Fields) -> LinearAttention:
    """Lightning attention (2501.08313): q, k, v, output gate and output of full width, one norm."""
    hidden, heads = fields.number("hidden"), fields.number("heads")
    head_dim = fields.number("head_dim", hidden // heads)
    width = heads * head_dim
    return LinearAttention(
        flavour="lightning", parameters=5 * hidden * width + width, state_elements=width * head_dim, heads=heads
    )


def compressed(fields: Fields, ratio: int) -> CompressedAttention:
    """DeepSeek-V4: one shared key-value head per `ratio` tokens plus a recent window; ratio 4 also has an indexer."""
    hidden, heads, head_dim = fields.number("hidden"), fields.number("heads"), fields.number("head_dim")
    q_lora, o_lora, groups = fields.number("q_lora"), fields.exact("o_lora_rank"), fields.exact("o_groups")
    window = fields.number("window")
    fields.skip("kv_heads", "bias", "qk_rope_dim", "index_heads", "index_dim", "index_top_k")
    parameters = hidden * q_lora + q_lora + q_lora * heads * head_dim + hidden * head_dim + head_dim + heads
    parameters += heads * head_dim * o_lora + groups * o_lora * hidden
    elements, reads = 0.0, window
    if ratio:
        overlap = 2 if ratio == 4 else 1
        parameters += _compressor(hidden, head_dim, ratio, overlap)
        elements, reads = head_dim / ratio, window + -(-fields.number("max_context") // ratio)
    if ratio == 4:
        index_heads, index_dim = fields.number("index_heads"), fields.number("index_dim")
        parameters += q_lora * index_heads * index_dim + hidden * index_heads + _compressor(hidden, index_dim, ratio, 2)
        elements, reads = elements + index_dim / ratio, window + fields.number("index_top_k")
    return CompressedAttention(
        heads=heads, kv_elements_per_token=elements, head_dim=head_dim, window=window, read_tokens=reads,
        parameters=parameters,
    )  # fmt: skip


def _compressor(hidden: int, width: int, ratio: int, overlap: int) -> int:
    """Key-value and gate projections, position table and norm of one compressor."""
    return 2 * hidden * overlap * width + ratio * overlap * width + width
