"""Lower bound of every operator: peak FLOP/s, peak memory bandwidth, peak link. Nothing real is this fast.

t = max(FLOP / P, bytes / BW) with dense peaks; one launch takes no time (physics of `roofline`, Williams 2009).
"""

from __future__ import annotations

import numpy as np

from planner.perf.collectives import Collective
from planner.perf.estimators.base import ESTIMATORS, Floats, Plain
from planner.perf.hardware import Hardware
from planner.perf.operators.attention_decode import DecodeAttention
from planner.perf.operators.attention_prefill import PrefillAttention
from planner.perf.operators.elementwise import Elementwise
from planner.perf.operators.gemm import Gemm
from planner.perf.operators.moe import Moe
from planner.spec.engine import EngineProfile


@ESTIMATORS.register("roofline")
class Roofline(Plain):
    """Peaks only."""

    def __init__(self, hardware: Hardware, profile: EngineProfile):
        self.hardware = hardware
        self.source = "roofline"

    def gemm(self, op: Gemm) -> Floats:
        return np.maximum(op.flop / self.hardware.flop_per_s(op.rate), op.hbm_bytes / self.hardware.bandwidth)

    def moe(self, op: Moe) -> Floats:
        return np.maximum(op.flop / self.hardware.flop_per_s(op.rate), op.hbm_bytes / self.hardware.bandwidth)

    def elementwise(self, op: Elementwise) -> Floats:
        return op.hbm_bytes / self.hardware.bandwidth

    def decode_attention(self, op: DecodeAttention, seqs: Floats, context: float) -> Floats:
        peak = self.hardware.flop_per_s(self.hardware.rate("bf16"))
        return seqs * context * max(op.flop_per_token / peak, op.bytes_per_token / self.hardware.bandwidth)

    def prefill_attention(self, op: PrefillAttention, tokens: float) -> float:
        return op.flop_per_pair * tokens * (tokens + 1) / 2 / self.hardware.flop_per_s(op.rate)

    def collective(self, op: Collective) -> Floats:
        """Inside a switch that reduces, every byte crosses the link once: half the ring traffic is the bound."""
        inside = op.traffic(op.inside) / self.hardware.link
        share = 0.5 if op.kind == "all_reduce" else 1.0
        if op.across == 1:
            return share * inside
        return share * np.maximum(inside, op.traffic(op.across) / op.inside / self.hardware.outside(op.gpus))
