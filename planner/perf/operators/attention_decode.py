"""Attention of one new token per sequence over its cache on one rank: bytes and FLOP per cached token. No times."""

from __future__ import annotations

from dataclasses import dataclass

from planner.perf.cut import Cut
from planner.spec.model import CompressedAttention, CrossAttention, SoftmaxAttention

IMAGE_TOKENS = 1601  # of one tile in Llama-3.2-Vision; the length of an encoder's output is not part of a step


@dataclass(frozen=True, slots=True)
class DecodeAttention:
    """`count` layers; every cached token that a sequence sees costs `bytes_per_token` and `flop_per_token`.

    window: tokens seen at most, 0 = all. heads, kv_heads, head_dim: on this rank, for forms fitted by shape.
    fitted_shape: whether such forms apply (plain softmax attention). latent: absorbed MLA, all heads on one latent.
    """

    bytes_per_token: float
    flop_per_token: float
    heads: float
    kv_heads: float
    head_dim: float
    kv_bytes: float
    window: int
    count: float
    fitted_shape: bool = True
    latent: bool = False
    shared: int = 1
    """Ranks that share the positions of a sequence; the two prices per token are this rank's part."""
    launches: float = 2.0


def softmax_decode(cut: Cut, att: SoftmaxAttention, count: float) -> DecodeAttention:
    """GQA/MHA/MQA: K and V of the rank's heads are read once per step.

    Ranks that share a cache (dcp) gather their queries: each reads its share of the positions for all their heads.
    """
    heads, kv = cut.heads(att.heads), cut.kv_heads(att.kv_heads)
    dims = att.head_dim + (att.v_head_dim or att.head_dim)
    cached = att.head_dim if att.keys_are_values else dims
    return DecodeAttention(
        bytes_per_token=kv * cached * cut.kv_bytes / cut.kv_split,
        flop_per_token=2.0 * heads * dims / cut.degrees.cp,
        heads=heads * cut.degrees.dcp, kv_heads=kv, head_dim=att.head_dim, kv_bytes=cut.kv_bytes,
        window=att.index_top_k or att.window or 0, count=count, shared=cut.kv_split,
    )  # fmt: skip


def compressed_decode(cut: Cut, att: CompressedAttention, count: float) -> DecodeAttention:
    """A query reads at most `read_tokens` compressed entries: a window in cost, though not in meaning."""
    heads = cut.heads(att.heads)
    return DecodeAttention(
        bytes_per_token=att.head_dim * cut.kv_bytes, flop_per_token=4.0 * heads * att.head_dim,
        heads=heads, kv_heads=1.0, head_dim=att.head_dim, kv_bytes=cut.kv_bytes, window=att.read_tokens, count=count,
        fitted_shape=False,
    )  # fmt: skip


def cross_decode(cut: Cut, att: CrossAttention, count: float) -> DecodeAttention:
    """Onto encoder output: its length is not the context, so it is priced as a window of one image tile."""
    heads, kv = cut.heads(att.heads), cut.kv_heads(att.kv_heads)
    return DecodeAttention(
        bytes_per_token=2.0 * kv * att.head_dim * cut.kv_bytes, flop_per_token=4.0 * heads * att.head_dim,
        heads=heads, kv_heads=kv, head_dim=att.head_dim, kv_bytes=cut.kv_bytes, window=IMAGE_TOKENS, count=count,
    )  # fmt: skip


def index_decode(heads: int, dim: int, count: float) -> DecodeAttention:
    """The indexer of sparse attention reads one 8-bit key of every cached token."""
    return DecodeAttention(
        bytes_per_token=dim * 1.0, flop_per_token=2.0 * heads * dim, heads=heads, kv_heads=1.0, head_dim=dim,
        kv_bytes=1.0, window=0, count=count, fitted_shape=False,
    )  # fmt: skip
