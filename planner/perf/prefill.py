"""Prices of the attention of prompts: per query-key pair, per cached token read again, per chunk. No linear work."""

from __future__ import annotations

from dataclasses import dataclass

from planner.perf.collectives import context_link
from planner.perf.cut import Cut
from planner.perf.estimators import Estimator
from planner.perf.estimators.analytic import DECODE_BYTES, GEMM_FLOP
from planner.perf.operators.attention_prefill import PrefillAttention
from planner.perf.work import StageWork

PROMPTS = (1024.0, 8192.0)  # prefill attention is made affine in the pairs through these two


@dataclass(frozen=True, slots=True)
class PrefillPrices:
    """Seconds, as the fields of StepCost with the same names."""

    pair_s: float = 0.0
    window_pair_s: float = 0.0
    context_s: float = 0.0
    chunk_s: float = 0.0

    def scaled(self, factor: float) -> PrefillPrices:
        return PrefillPrices(
            self.pair_s * factor, self.window_pair_s * factor, self.context_s * factor, self.chunk_s * factor
        )


def prefill_prices(work: StageWork, cut: Cut, price: Estimator) -> PrefillPrices:
    """Sum over the attention layers of a stage, for the rank that runs the chunk (the simulator spreads chunks)."""
    pair = window_pair = context = chunk = 0.0
    for op in work.prefill:
        fixed, slope = _affine(op, price)
        chunk += fixed * op.count
        context += _context_s(op, cut) * op.count
        if op.window:
            window_pair += slope * op.count
        else:
            pair += slope * op.count
    share = 1.0 / cut.degrees.cp
    return PrefillPrices(pair * share, window_pair * share, context, chunk)


def _affine(op: PrefillAttention, price: Estimator) -> tuple[float, float]:
    """time of one prompt = constant + slope * pairs; the slope stays at or above the roofline."""
    low, high = PROMPTS if not op.window else (op.window / 8.0, float(op.window))
    at_low, at_high = price.prefill_attention(op, low), price.prefill_attention(op, high)
    slope = (at_high - at_low) / (_pairs(high) - _pairs(low))
    return max(at_low - slope * _pairs(low), 0.0), slope


def _pairs(tokens: float) -> float:
    return tokens * (tokens + 1.0) / 2.0


def _context_s(op: PrefillAttention, cut: Cut) -> float:
    """A cached token read again by a chunk, after its key and value came from the rank that keeps them.

    Expanding a latent runs as a product.
    """
    hardware = cut.hardware
    expand = op.context_flop / (GEMM_FLOP * hardware.flop_per_s(hardware.rate("bf16")))
    fetched = op.bytes_per_context_token * (1.0 - 1.0 / cut.kv_split) / context_link(cut)
    return op.bytes_per_context_token / (DECODE_BYTES * hardware.bandwidth) + expand + fetched
