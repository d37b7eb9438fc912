"""Component model: a base time per operator from a few efficiencies, times the multipliers of the engine profile.

Bases and their constants: calibration of step times on public serving results (six global constants reach 13.3 %
TPOT error on configurations left out). Always available, for any accelerator with a datasheet. Not a kernel model.
"""

from __future__ import annotations

import numpy as np

from planner.perf.collectives import Collective
from planner.perf.estimators.base import ESTIMATORS, Floats, Plain
from planner.perf.estimators.roofline import Roofline
from planner.perf.hardware import Hardware
from planner.perf.operators.attention_decode import DecodeAttention
from planner.perf.operators.attention_prefill import PrefillAttention
from planner.perf.operators.elementwise import Elementwise
from planner.perf.operators.gemm import Gemm
from planner.perf.operators.moe import Moe
from planner.spec.engine import EngineProfile

GEMM_FLOP, GEMM_BYTES = 0.70, 0.80
MOE_FLOP, MOE_BYTES = 0.45, 0.70
DECODE_BYTES, DECODE_FLOP = 0.75, 0.50
PREFILL_FLOP = 0.50
STREAM_BYTES = 0.80
LINK_SHARE = 0.75  # measured / peak of NVLink rings; less on PCIe and xGMI, where the fabric states its own figure
NIC_SHARE = 0.90  # of the line rate that large messages reach on InfiniBand, RoCE and EFA
ALPHA_S = 6e-6
SHARED_PATHS = ("tree", "through host memory")
FAR_ALPHA_S = 20e-6  # between nodes through a CPU proxy, where the fabric states nothing (12-20 us)


@ESTIMATORS.register("analytic")
class Analytic(Plain):
    """time = max(roofline, multiplier * base) + launches."""

    def __init__(self, hardware: Hardware, profile: EngineProfile):
        self.hardware, self.times, self.launch_s = hardware, profile.multipliers, profile.overhead.launch_s
        self.bound = Roofline(hardware, profile)
        self.source = "analytic"

    def gemm(self, op: Gemm) -> Floats:
        base = self._smooth(op.flop, op.hbm_bytes, op.rate, GEMM_FLOP, GEMM_BYTES)
        return np.maximum(self.bound.gemm(op), self.times.gemm * base) + self.launch_s * op.launches

    def moe(self, op: Moe) -> Floats:
        base = self._smooth(op.flop, op.hbm_bytes, op.rate, MOE_FLOP, MOE_BYTES)
        return np.maximum(self.bound.moe(op), self.times.moe * base) + self.launch_s * op.launches

    def elementwise(self, op: Elementwise) -> Floats:
        return op.hbm_bytes / (STREAM_BYTES * self.hardware.bandwidth) + self.launch_s * op.launches

    def decode_attention(self, op: DecodeAttention, seqs: Floats, context: float) -> Floats:
        peak = DECODE_FLOP * self.hardware.flop_per_s(self.hardware.rate("bf16"))
        again = (op.heads / op.kv_heads) ** self.times.attn_group if op.fitted_shape else 1.0
        base = max(again * op.bytes_per_token / (DECODE_BYTES * self.hardware.bandwidth), op.flop_per_token / peak)
        bound = self.bound.decode_attention(op, seqs, context)
        return np.maximum(bound, self.times.attn_decode * base * seqs * context) + self.launch_s * op.launches

    def prefill_attention(self, op: PrefillAttention, tokens: float) -> float:
        share = PREFILL_FLOP * self.hardware.accelerator.sustained
        return self.bound.prefill_attention(op, tokens) / share + self.launch_s * op.launches

    def collective(self, op: Collective) -> Floats:
        """Stages inside and between the nodes overlap, so the slower one counts; their latencies add up.

        The multiplier stands for ranks that arrive late, so it scales the latency; bytes move at what fabrics measure.
        """
        latency, moving = self._latency_s(op), op.traffic(op.inside) / self._bus()
        if op.across > 1:
            moving = np.maximum(moving, self._outside_bytes(op) / (NIC_SHARE * self.hardware.outside(op.gpus)))
        return np.maximum(self.bound.collective(op), latency + moving)

    def _latency_s(self, op: Collective) -> float:
        """ALPHA_S over direct links; PCIe and host memory state their own; between nodes one hop per doubling."""
        near, far = self.hardware.scaleup, self.hardware.scaleout
        alpha = max(ALPHA_S, near.alpha_s) if near and near.topology in SHARED_PATHS else ALPHA_S
        inside = self.times.comm * alpha if op.inside > 1 else 0.0
        hop = (far.alpha_s if far else 0.0) or FAR_ALPHA_S
        return inside + hop * float(np.ceil(np.log2(op.across)))

    def _bus(self) -> float:
        """Sustained bytes/s of one GPU inside the domain: the fabric's measured figure where it is the lower one."""
        fabric = self.hardware.scaleup
        ring = LINK_SHARE * self.hardware.link
        measured = fabric.allreduce_bandwidth_bytes_per_s if fabric else 0.0
        return min(ring, measured) if measured else ring

    def _outside_bytes(self, op: Collective) -> Floats:
        """Bytes through the NIC of one GPU: its share of the message, or all it sends to other nodes."""
        if op.kind == "all_to_all":
            return op.payload * (op.across - 1) / op.across
        return op.traffic(op.across) / op.inside

    def _smooth(self, flop: Floats, hbm_bytes: Floats, rate: str, flop_share: float, byte_share: float) -> Floats:
        """Roofline with a rounded corner: the 4-norm of its two sides."""
        compute = flop / (flop_share * self.hardware.sustained_flop_per_s(rate))
        memory = hbm_bytes / (byte_share * self.hardware.bandwidth)
        return np.sqrt(np.hypot(compute * compute, memory * memory))
