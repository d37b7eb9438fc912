"""Parameters, cached elements and state of a Model, counted from its blocks.

Not bytes and not FLOP: formats and time belong to `planner.perf`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

from planner.spec.model import (
    Attention,
    CompressedAttention,
    CrossAttention,
    DenseFfn,
    LatentAttention,
    Layer,
    LinearAttention,
    Model,
    MoeFfn,
    SoftmaxAttention,
)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Weights by group; `experts` are the routed ones, with their latent projections under `shared`."""

    attention: int = 0
    ffn: int = 0
    experts: int = 0
    shared: int = 0
    router: int = 0
    norms: int = 0
    embedding: int = 0
    head: int = 0
    encoder: int = 0

    @property
    def total(self) -> int:
        return sum(astuple(self))

    def __add__(self, other: Parameters) -> Parameters:
        return Parameters(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


GROUPS: tuple[str, ...] = tuple(field.name for field in fields(Parameters))


def attention_parameters(mixer: Attention, hidden: int) -> int:
    """Weights of one token mixer: projections, biases, norms of q and k, indexer, gate."""
    if isinstance(mixer, LinearAttention | CompressedAttention):
        return mixer.parameters
    if isinstance(mixer, LatentAttention):
        return _latent(mixer, hidden)
    if isinstance(mixer, CrossAttention):
        return 2 * (mixer.heads + mixer.kv_heads) * mixer.head_dim * hidden + 2 * mixer.head_dim
    return _softmax(mixer, hidden)


def _softmax(a: SoftmaxAttention, hidden: int) -> int:
    q_width, out_width = a.heads * a.head_dim, a.heads * (a.v_head_dim or a.head_dim)
    k_width, v_width = a.kv_heads * a.head_dim, a.kv_heads * (a.v_head_dim or a.head_dim)
    kv_width = 0 if a.shares_kv else k_width + (0 if a.keys_are_values else v_width)
    count = hidden * (q_width + kv_width + out_width)
    count += (q_width + kv_width) if a.bias else 0
    count += hidden if a.output_bias else 0
    count += hidden * out_width if a.output_gate else 0
    if a.qk_norm:
        count += q_width + k_width if a.qk_norm_full else 2 * a.head_dim
    # Index projections work on the hidden state; queries and keys are normed per head (MiniMax-M3).
    return count + (hidden * (a.index_heads + 1) * a.index_dim + 2 * a.index_dim if a.index_heads else 0)


def _latent(a: LatentAttention, hidden: int) -> int:
    """DeepSeek-V2 (2405.04434, section 2.1); indexer of DeepSeek-V3.2 (query from the q latent, one key, weights)."""
    q_width, q_input = a.heads * (a.qk_nope_dim + a.qk_rope_dim), a.q_lora or hidden
    count = q_input * q_width + (hidden * a.q_lora + a.q_lora)
    count += hidden * (a.kv_lora + a.qk_rope_dim) + a.kv_lora
    count += a.kv_lora * a.heads * (a.qk_nope_dim + a.v_head_dim)
    count += a.heads * a.v_head_dim * hidden * (2 if a.output_gate else 1)
    if a.index_heads and not a.index_shared:
        count += q_input * a.index_heads * a.index_dim + hidden * a.index_dim + 2 * a.index_dim + hidden * a.index_heads
    return count


def expert_parameters(ffn: MoeFfn, hidden: int) -> int:
    """Weights of one routed expert."""
    width = ffn.latent or hidden
    count = (3 if ffn.gated else 2) * width * ffn.inner
    return count + ((2 if ffn.gated else 1) * ffn.inner + width if ffn.bias else 0)


def layer_parameters(layer: Layer, hidden: int) -> Parameters:
    """Weights of one layer by group; its extra parameters count with the attention."""
    attention = attention_parameters(layer.attention, hidden) if layer.attention else 0
    counted = Parameters(attention=attention + layer.extra_parameters, norms=layer.norms * hidden)
    if isinstance(layer.ffn, DenseFfn):
        return counted + Parameters(ffn=_dense(layer.ffn, hidden))
    return counted + _moe(layer.ffn, hidden, layer.ffn.experts) if layer.ffn else counted


def _dense(ffn: DenseFfn, hidden: int) -> int:
    matrices = 3 if ffn.gated else 2
    return matrices * hidden * ffn.inner + (((matrices - 1) * ffn.inner + hidden) if ffn.bias else 0)


def _moe(ffn: MoeFfn, hidden: int, experts: int) -> Parameters:
    shared = (3 if ffn.gated else 2) * hidden * ffn.shared_inner
    shared += hidden if ffn.shared_gate else 0
    shared += 2 * hidden * ffn.latent
    router = ffn.experts * (hidden + (1 if ffn.router_bias else 0))
    return Parameters(experts=experts * expert_parameters(ffn, hidden), shared=shared, router=router)


def _ends(model: Model) -> Parameters:
    """Everything that is not a layer: embedding, head, final norm, encoder."""
    table = model.vocab * model.hidden
    return Parameters(
        embedding=table + model.learned_positions * model.hidden + model.embedding_parameters_extra,
        head=0 if model.tied_embeddings else table,
        norms=model.final_norms * model.hidden,
        encoder=model.encoder.parameters if model.encoder else 0,
    )


def model_parameters(model: Model) -> Parameters:
    """All weights of the model by group."""
    return _sum((layer_parameters(layer, model.hidden) for layer in model.layers), _ends(model))


def _sum(parts: Iterable[Parameters], start: Parameters) -> Parameters:
    total = start
    for part in parts:
        total = total + part
    return total


def total_parameters(model: Model) -> int:
    """Weights of the checkpoint, encoder included, multi-token-prediction layers excluded."""
    return model_parameters(model).total


def active_parameters(model: Model) -> int:
    """Weights one token uses: top_k instead of all experts; embedding, head and encoder count whole."""
    return total_parameters(model) - sum(_idle_experts(layer, model.hidden) for layer in model.layers)


def _idle_experts(layer: Layer, hidden: int) -> int:
    if not isinstance(layer.ffn, MoeFfn):
        return 0
    return (layer.ffn.experts - layer.ffn.top_k) * expert_parameters(layer.ffn, hidden)


def kv_elements_per_token(model: Model) -> list[tuple[float, int | None]]:
    """Per layer in order: (elements one token adds to the cache, window in tokens or None for the whole context).

    Cross-attention adds nothing per text token; linear layers and the recent window of compressed ones are state.
    """
    return [_cached(layer.attention) for layer in model.layers]


def _cached(mixer: Attention | None) -> tuple[float, int | None]:
    if isinstance(mixer, SoftmaxAttention) and not mixer.shares_kv:
        keys, values = mixer.head_dim, 0 if mixer.keys_are_values else mixer.v_head_dim or mixer.head_dim
        return float(mixer.kv_heads * (keys + values) + mixer.index_dim), mixer.window
    if isinstance(mixer, LatentAttention):
        return float(mixer.kv_lora + mixer.qk_rope_dim + (0 if mixer.index_shared else mixer.index_dim)), None
    if isinstance(mixer, CompressedAttention):
        return mixer.kv_elements_per_token, None
    return 0.0, None


def state_elements(model: Model) -> int:
    """Elements one sequence keeps whatever its length: recurrent states and the windows of compressed attention."""
    return sum(_state(layer.attention) for layer in model.layers)


def _state(mixer: Attention | None) -> int:
    if isinstance(mixer, LinearAttention):
        return mixer.state_elements
    return mixer.head_dim * mixer.window if isinstance(mixer, CompressedAttention) else 0
