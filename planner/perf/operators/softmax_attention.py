"""Projections of softmax attention (MHA, GQA, MQA, windowed, cross): query, keys, values, gate, output. Work only."""

from __future__ import annotations

from planner.perf.cut import Cut
from planner.perf.operators.gemm import Floats, Gemm, gemm
from planner.spec.model import CompressedAttention, CrossAttention, SoftmaxAttention


def projections(cut: Cut, att: SoftmaxAttention, rows: Floats, count: float) -> list[Gemm]:
    """One fused product in (KV heads replicated when tp exceeds them), one out."""
    heads, kv = cut.heads(att.heads), cut.kv_heads(att.kv_heads)
    value_dim = att.v_head_dim or att.head_dim
    keys_values = att.head_dim if att.keys_are_values else att.head_dim + value_dim
    width = heads * att.head_dim * (2 if att.output_gate else 1) + (0.0 if att.shares_kv else kv * keys_values)
    kind = cut.formats.attention
    out = gemm(cut, rows, cut.hidden, heads * value_dim, kind, count)
    gemms = [gemm(cut, rows, width, cut.hidden, kind, count), out]
    if att.index_heads:
        gemms.append(gemm(cut, rows, (att.index_heads + 1) * att.index_dim, cut.hidden, kind, count))
    return gemms


def compressed_projections(cut: Cut, att: CompressedAttention, rows: Floats, count: float) -> list[Gemm]:
    """All parameters of the mixer, three quarters in and one out, cut over tp."""
    width = att.parameters / cut.hidden / cut.degrees.tp
    kind = cut.formats.attention
    return [
        gemm(cut, rows, width * 3 / 4, cut.hidden, kind, count),
        gemm(cut, rows, cut.hidden, width / 4, kind, count),
    ]


def cross_projections(cut: Cut, att: CrossAttention, rows: Floats, count: float) -> list[Gemm]:
    """Query and output for every token; keys and values are projected once per image, which is not part of a step."""
    width = cut.heads(att.heads) * att.head_dim
    kind = cut.formats.attention
    return [gemm(cut, rows, width, cut.hidden, kind, count), gemm(cut, rows, cut.hidden, width, kind, count)]
