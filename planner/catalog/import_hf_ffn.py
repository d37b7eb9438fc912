"""Feed-forward networks and number formats of the config.json importer.

Not the order of the layers: that is `import_hf`.
"""

from __future__ import annotations

from planner.catalog.import_hf_fields import Fields
from planner.catalog.import_hf_tables import Traits
from planner.spec.model import DenseFfn, MoeFfn
from planner.spec.precision import Dtype

_QUANT_METHODS: dict[str, tuple[Dtype | None, Dtype | None]] = {
    "fp8": ("fp8", None), "mxfp4": (None, "mxfp4"), "compressed-tensors": (None, "int4"), "gptq": ("int4", None),
    "awq": ("int4", None), "modelopt": (None, None),
}  # fmt: skip
"""quant_method -> (format of the checkpoint, format of the routed experts); None = as torch_dtype says."""

_MLP_CLASSES = {"LLaMAMLP": True, "GemmaMLP": True, "GptNeoxMLP": False}
"""Network classes of LitGPT's tables -> gated."""


def has_experts(text: Fields, index: int) -> bool:
    experts, every, enabled = text.number("experts", 0), text.get("moe_every", 1), text.raw("enable_moe_block", True)
    first, dense = text.number("first_dense", 0), text.numbers("mlp_only_layers")
    if not experts or enabled is False or index < first or index in dense:
        return False
    if every and isinstance(every, list) and text.raw("moe_layer_freq") is every:
        return bool(text.per_layer("moe_layer_freq")[index])
    period = text.number("moe_every", 1) or 1
    return index % period == text.number("moe_offset", period - 1)


def dense(text: Fields, traits: Traits) -> DenseFfn:
    network = text.word("mlp_class", _MLP_CLASSES)
    gated = _MLP_CLASSES[network] if network else traits.gated
    bias = traits.ffn_bias or bool(text.get("all_bias", False)) or bool(text.raw("mlp_bias", False))
    text.skip("experts", "top_k")
    return DenseFfn(inner=text.number("ffn"), gated=gated, bias=bias)


def mixture(text: Fields, traits: Traits) -> MoeFfn:
    inner = text.number("moe_inner", text.raw("intermediate_size"))
    shared = text.number("shared_inner", 0) or text.number("shared_experts", 0) * inner
    shared += traits.shared_experts * inner
    shared += text.number("ffn") if traits.dense_beside_experts else 0
    text.skip("ffn", "first_dense", "moe_every", "shared_experts")
    return MoeFfn(
        experts=text.number("experts"), top_k=text.number("top_k"), inner=inner, gated=traits.gated,
        bias=traits.expert_bias, shared_inner=shared, shared_gate=traits.shared_gate, router_bias=traits.router_bias,
        latent=text.number("moe_hidden", 0), expert_dtype=_expert_dtype(text),
    )  # fmt: skip


def _quant(text: Fields) -> tuple[Dtype | None, Dtype | None]:
    method = text.sub("quantization_config").word("quant_method", _QUANT_METHODS)
    return _QUANT_METHODS[method] if method else (None, None)


def native_dtype(text: Fields) -> Dtype:
    plain = str(text.raw("torch_dtype") or text.raw("dtype") or "bfloat16")
    names: dict[str, Dtype] = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
    if plain not in names:
        raise text.bad(f"torch_dtype {plain!r} is not known")
    return _quant(text)[0] or names[plain]


def _expert_dtype(text: Fields) -> Dtype | None:
    return "mxfp4" if text.raw("expert_dtype") == "fp4" else _quant(text)[1]
