"""The work of one pipeline stage for a set of token counts: every operator and message of its layers. No times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from planner.perf import collectives
from planner.perf.collectives import Collective
from planner.perf.cut import Cut, Stage
from planner.perf.operators import (
    attention_decode,
    attention_prefill,
    elementwise,
    embedding_head,
    linear_attention,
    mla,
    moe,
    softmax_attention,
)  # fmt: skip
from planner.perf.operators.attention_decode import DecodeAttention
from planner.perf.operators.attention_prefill import PrefillAttention
from planner.perf.operators.elementwise import Elementwise
from planner.perf.operators.gemm import Gemm, dense_ffn
from planner.perf.operators.moe import Moe
from planner.perf.operators.quantise import quantised
from planner.spec.model import (
    Attention,
    CompressedAttention,
    Coverage,
    CrossAttention,
    DenseFfn,
    Ffn,
    LatentAttention,
    LinearAttention,
    Model,
    SoftmaxAttention,
)  # fmt: skip

Floats = NDArray[np.float64]
Op = TypeVar("Op", Gemm, Moe, Elementwise, Collective)
Phase = Literal["decode", "prefill"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token counts of a step, arrays of equal length: on one rank, in the whole replica, and sequences that sample."""

    rank: Floats
    replica: Floats
    sampling: Floats
    phase: Phase


@dataclass(slots=True)
class StageWork:
    """Everything one rank does in a stage; arrays run over the token counts asked for. Filled by `stage_work` only."""

    layers: int
    gemms: list[Gemm] = field(default_factory=list)
    moes: list[Moe] = field(default_factory=list)
    passes: list[Elementwise] = field(default_factory=list)
    decode: list[DecodeAttention] = field(default_factory=list)
    prefill: list[PrefillAttention] = field(default_factory=list)
    messages: list[Collective] = field(default_factory=list)


def stage_work(model: Model, cut: Cut, stage: Stage, tokens: Tokens) -> StageWork:
    """Work of `stage` in a step of `tokens`."""
    work = StageWork(stage.depth)
    for layer, count in stage.layers:
        if layer.norms:
            work.passes.append(elementwise.norms(cut, tokens.rank, count * layer.norms))
        if layer.attention is not None:
            _mix(work, cut, layer.attention, tokens, count)
        if layer.ffn is not None:
            _feed(work, cut, layer.ffn, tokens, count, model)
        if cut.quantises_apart:
            work.passes += quantised(cut, layer, tokens.rank, tokens.replica, count)
    _ends(work, model, cut, stage, tokens)
    work.gemms = _merged(work.gemms, lambda op: (op.n, op.k, op.weights, op.batch, op.rows[0], op.rows[-1]))
    work.moes = _merged(work.moes, lambda op: (op.experts, op.top_k, op.width, op.inner, op.matrices))
    work.passes = _merged(work.passes, lambda op: (op.launches, op.hbm_bytes[0], op.hbm_bytes[-1]))
    work.messages = _merged(work.messages, lambda op: (op.kind, op.inside, op.across, op.payload[0], op.payload[-1]))
    return work


def _merged(ops: list[Op], key: Callable[[Op], tuple[object, ...]]) -> list[Op]:
    """One operator for each shape: layers of different kinds share most products, and pricing is the dear part.

    All counts of tokens grow along the same grid, so equal ends mean equal arrays.
    """
    shapes: dict[tuple[object, ...], Op] = {}
    counts: dict[tuple[object, ...], float] = {}
    for op in ops:
        shape = key(op)
        shapes.setdefault(shape, op)
        counts[shape] = counts.get(shape, 0.0) + op.count
    return [replace(op, count=counts[shape]) for shape, op in shapes.items()]


def projections(cut: Cut, mixer: Attention, rows: Floats, count: float) -> list[Gemm]:
    """Products of a token mixer with its weights."""
    if isinstance(mixer, LinearAttention):
        return linear_attention.projections(cut, mixer, rows, count)
    if isinstance(mixer, SoftmaxAttention):
        return softmax_attention.projections(cut, mixer, rows, count)
    if isinstance(mixer, LatentAttention):
        return mla.projections(cut, mixer, rows, count)
    if isinstance(mixer, CompressedAttention):
        return softmax_attention.compressed_projections(cut, mixer, rows, count)
    return softmax_attention.cross_projections(cut, mixer, rows, count)


def cache_reads(cut: Cut, mixer: Attention, count: float) -> list[DecodeAttention]:
    """What a decode step reads of the caches of a token mixer."""
    if isinstance(mixer, SoftmaxAttention):
        reads = [attention_decode.softmax_decode(cut, mixer, count)]
        indexed = [attention_decode.index_decode(mixer.index_heads, mixer.index_dim, count)]
        return reads + indexed if mixer.index_heads else reads
    if isinstance(mixer, LatentAttention):
        return mla.decode(cut, mixer, count)
    if isinstance(mixer, CompressedAttention):
        return [attention_decode.compressed_decode(cut, mixer, count)]
    return [attention_decode.cross_decode(cut, mixer, count)] if isinstance(mixer, CrossAttention) else []


def feed_forward(
    cut: Cut, ffn: Ffn, tokens: Tokens, count: float, coverage: Coverage | None
) -> tuple[list[Gemm], list[Moe]]:
    """Products of a feed-forward network with its weights."""
    if isinstance(ffn, DenseFfn):
        return dense_ffn(cut, tokens.rank, ffn.inner, ffn.gated, cut.formats.ffn, count), []
    routed = moe.routed(cut, ffn, tokens.replica, count, coverage, tokens.phase)
    return moe.around(cut, ffn, tokens.rank, count), [routed]


def _mix(work: StageWork, cut: Cut, mixer: Attention, tokens: Tokens, count: float) -> None:
    """Token mixer: projections, attention or state, and the all-reduce after the output projection."""
    rows = tokens.rank
    work.gemms += projections(cut, mixer, rows, count)
    work.decode += cache_reads(cut, mixer, count)
    if isinstance(mixer, LinearAttention):
        state = linear_attention.decode_state if tokens.phase == "decode" else linear_attention.prefill_state
        work.passes.append(state(cut, mixer, rows, count))
    else:
        _attend(work, cut, mixer, tokens, count)
    work.messages += collectives.tensor_parallel(cut, rows, count)


def _attend(
    work: StageWork, cut: Cut, mixer: SoftmaxAttention | LatentAttention | CompressedAttention | CrossAttention,
    tokens: Tokens, count: float,
) -> None:  # fmt: skip
    rows = tokens.rank
    heads = cut.heads(mixer.heads)
    if isinstance(mixer, SoftmaxAttention):
        work.prefill.append(attention_prefill.softmax_prefill(cut, mixer, count))
        if mixer.index_heads:
            work.prefill.append(attention_prefill.index_prefill(cut, mixer.index_heads, mixer.index_dim, count))
        query, kv = heads * mixer.head_dim, cut.kv_heads(mixer.kv_heads) * mixer.head_dim
        _share_context(work, cut, tokens, (heads, 2.0 * kv, mixer.head_dim, mixer.v_head_dim or mixer.head_dim), count)
    elif isinstance(mixer, LatentAttention):
        work.prefill += mla.prefill(cut, mixer, count)
        latents = rows * (mixer.q_lora + mixer.kv_lora) / cut.hidden / 2
        work.passes.append(elementwise.norms(cut, latents, count))  # both latents are normed in one kernel
        query, kv = heads * mixer.qk_rope_dim, (mixer.kv_lora + mixer.qk_rope_dim) / 2
        latent = mixer.kv_lora + mixer.qk_rope_dim
        _share_context(work, cut, tokens, (heads, latent, latent, mixer.kv_lora), count)
    elif isinstance(mixer, CompressedAttention):
        work.prefill.append(attention_prefill.compressed_prefill(cut, mixer, count))
        query, kv = heads * mixer.head_dim, mixer.head_dim / 2
    else:
        work.prefill.append(attention_prefill.cross_prefill(cut, mixer, count))
        return
    work.passes.append(elementwise.rope_and_cache(cut, rows, query, kv, count))


def _share_context(
    work: StageWork, cut: Cut, tokens: Tokens, shape: tuple[float, float, float, float], count: float
) -> None:
    """Messages between ranks that share the sequences. shape: heads, cached elements, query and output dimension."""
    if cut.kv_split == 1:
        return
    heads, cached, query, output = shape
    if tokens.phase == "prefill":
        work.messages += collectives.gathered_prompt(cut, tokens.rank, cached, count)
    else:
        work.messages += collectives.merged_decode(cut, tokens.rank, heads, (query, output), count)


def _feed(work: StageWork, cut: Cut, ffn: Ffn, tokens: Tokens, count: float, model: Model) -> None:
    """Feed-forward network and the exchange after (and, for distributed experts, before) it."""
    gemms, moes = feed_forward(cut, ffn, tokens, count, model.coverage)
    work.gemms += gemms
    work.moes += moes
    if isinstance(ffn, DenseFfn):
        work.passes.append(elementwise.activation(tokens.rank, ffn.inner / cut.degrees.tp, count))
        work.messages += collectives.tensor_parallel(cut, tokens.rank, count)
        return
    if ffn.shared_inner and not moe.fused_shared(cut, ffn):
        work.passes.append(elementwise.activation(tokens.rank, ffn.shared_inner / cut.degrees.tp, count))
    work.messages += collectives.expert_exchange(cut, tokens.rank, tokens.replica, ffn.top_k, count)


def _ends(work: StageWork, model: Model, cut: Cut, stage: Stage, tokens: Tokens) -> None:
    """Embedding of the first stage; final norm, head and sampler of the last."""
    if stage.first:
        work.passes.append(embedding_head.embedding(cut, tokens.rank))
        work.messages += collectives.tensor_parallel(cut, tokens.rank, 1.0)
    if stage.last:
        work.passes.append(elementwise.norms(cut, tokens.sampling, 1.0))
        work.gemms.append(embedding_head.head(cut, tokens.sampling, model.vocab))
        work.passes.append(embedding_head.sampler(tokens.sampling, model.vocab))
        logits = tokens.sampling * model.vocab * embedding_head.LOGIT_BYTES
        work.messages += collectives.collective(cut, "all_gather", logits, cut.degrees.tp, 1.0)
