"""Multi-head latent attention (DeepSeek-V2, 2405.04434), absorbed in decode and expanded in prefill. Work only.

The cached latent is shared by all heads, so tensor parallelism does not divide its bytes. With an indexer (DSA,
DeepSeek-V3.2) attention reads `index_top_k` tokens and the indexer reads one short key of every token.
"""

from __future__ import annotations

from planner.perf.cut import Cut
from planner.perf.operators.attention_decode import DecodeAttention, index_decode
from planner.perf.operators.attention_prefill import PrefillAttention, index_prefill
from planner.perf.operators.gemm import Floats, Gemm, gemm
from planner.spec.model import LatentAttention


def projections(cut: Cut, att: LatentAttention, rows: Floats, count: float) -> list[Gemm]:
    """Down projections whole on every rank; up projections, absorption and output cut over tp."""
    kind, heads = cut.formats.attention, _heads(cut, att)
    query_dim = att.qk_nope_dim + att.qk_rope_dim
    latent = att.kv_lora + att.qk_rope_dim
    gemms = [
        gemm(cut, rows, att.q_lora + latent, cut.hidden, kind, count),
        gemm(cut, rows, heads * query_dim, att.q_lora or cut.hidden, kind, count),
        gemm(cut, rows, att.kv_lora, att.qk_nope_dim, kind, count, batch=heads),
        gemm(cut, rows, att.v_head_dim, att.kv_lora, kind, count, batch=heads),
        gemm(cut, rows, cut.hidden, heads * att.v_head_dim, kind, count),
    ]
    if att.output_gate:
        gemms.append(gemm(cut, rows, heads * att.v_head_dim, cut.hidden, kind, count))
    if _own_index(att):
        gemms.append(gemm(cut, rows, att.index_heads * att.index_dim, att.q_lora or cut.hidden, kind, count))
        gemms.append(gemm(cut, rows, att.index_dim + att.index_heads, cut.hidden, kind, count))
    return gemms


def decode(cut: Cut, att: LatentAttention, count: float) -> list[DecodeAttention]:
    heads, latent = _heads(cut, att), att.kv_lora + att.qk_rope_dim
    main = DecodeAttention(
        bytes_per_token=latent * cut.kv_bytes / cut.kv_split,
        flop_per_token=2.0 * heads * (2 * att.kv_lora + att.qk_rope_dim) / cut.degrees.cp,
        heads=heads * cut.degrees.dcp, kv_heads=1.0, head_dim=latent, kv_bytes=cut.kv_bytes, window=att.index_top_k,
        count=count, fitted_shape=False, latent=True, shared=cut.kv_split,
    )  # fmt: skip
    if not _own_index(att):
        return [main]
    return [main, index_decode(att.index_heads, att.index_dim, count)]


def prefill(cut: Cut, att: LatentAttention, count: float) -> list[PrefillAttention]:
    heads = _heads(cut, att)
    expand = 2.0 * att.kv_lora * heads * (att.qk_nope_dim + att.v_head_dim)
    main = PrefillAttention(
        flop_per_pair=2.0 * heads * (att.qk_nope_dim + att.qk_rope_dim + att.v_head_dim),
        bytes_per_context_token=(att.kv_lora + att.qk_rope_dim) * cut.kv_bytes, context_flop=expand,
        heads=heads, kv_heads=heads, head_dim=att.qk_nope_dim + att.qk_rope_dim, kv_bytes=cut.kv_bytes,
        window=att.index_top_k, count=count, rate=cut.hardware.rate("bf16"), fitted_shape=False, latent=True,
    )  # fmt: skip
    if not _own_index(att):
        return [main]
    return [main, index_prefill(cut, att.index_heads, att.index_dim, count)]


def _own_index(att: LatentAttention) -> bool:
    return att.index_heads > 0 and not att.index_shared


def _heads(cut: Cut, att: LatentAttention) -> float:
    return cut.heads(att.heads)
