"""Attention of the new tokens of a prompt over themselves and what is cached: FLOP per query-key pair. No times."""

from __future__ import annotations

from dataclasses import dataclass

from planner.perf.cut import Cut
from planner.perf.operators.attention_decode import IMAGE_TOKENS
from planner.spec.model import CompressedAttention, CrossAttention, SoftmaxAttention


@dataclass(frozen=True, slots=True)
class PrefillAttention:
    """`count` layers. A pair is one query seeing one key; a cached token is read again by every chunk.

    context_flop: per cached token and chunk besides the pairs (MLA expands the latent again).
    """

    flop_per_pair: float
    bytes_per_context_token: float
    context_flop: float
    heads: float
    kv_heads: float
    head_dim: float
    kv_bytes: float
    window: int
    count: float
    rate: str
    fitted_shape: bool = True
    latent: bool = False
    launches: float = 2.0


def softmax_prefill(cut: Cut, att: SoftmaxAttention, count: float) -> PrefillAttention:
    heads, kv = cut.heads(att.heads), cut.kv_heads(att.kv_heads)
    dims = att.head_dim + (att.v_head_dim or att.head_dim)
    return PrefillAttention(
        flop_per_pair=2.0 * heads * dims, bytes_per_context_token=kv * dims * cut.kv_bytes, context_flop=0.0,
        heads=heads, kv_heads=kv, head_dim=att.head_dim, kv_bytes=cut.kv_bytes,
        window=att.index_top_k or att.window or 0, count=count,
        rate=cut.hardware.rate("bf16"),
    )  # fmt: skip


def compressed_prefill(cut: Cut, att: CompressedAttention, count: float) -> PrefillAttention:
    heads = cut.heads(att.heads)
    return PrefillAttention(
        flop_per_pair=4.0 * heads * att.head_dim, bytes_per_context_token=att.kv_elements_per_token * cut.kv_bytes,
        context_flop=0.0, heads=heads, kv_heads=1.0, head_dim=att.head_dim, kv_bytes=cut.kv_bytes,
        window=att.read_tokens, count=count, rate=cut.hardware.rate("bf16"), fitted_shape=False,
    )  # fmt: skip


def cross_prefill(cut: Cut, att: CrossAttention, count: float) -> PrefillAttention:
    heads, kv = cut.heads(att.heads), cut.kv_heads(att.kv_heads)
    return PrefillAttention(
        flop_per_pair=4.0 * heads * att.head_dim, bytes_per_context_token=0.0, context_flop=0.0, heads=heads,
        kv_heads=kv, head_dim=att.head_dim, kv_bytes=cut.kv_bytes, window=IMAGE_TOKENS, count=count,
        rate=cut.hardware.rate("bf16"),
    )  # fmt: skip


def index_prefill(cut: Cut, heads: int, dim: int, count: float) -> PrefillAttention:
    """The indexer of sparse attention scores every pair in 8 bits."""
    return PrefillAttention(
        flop_per_pair=2.0 * heads * dim, bytes_per_context_token=dim * 1.0, context_flop=0.0, heads=heads, kv_heads=1.0,
        head_dim=dim, kv_bytes=1.0, window=0, count=count, rate=cut.hardware.rate("fp8"), fitted_shape=False,
    )  # fmt: skip
