"""Mixture of experts on one rank: the grouped products of the routed experts. Router and shared experts are GEMMs.

Routed experts live on all tp * dp ranks of a stage: ep of them hold different experts, the rest slices of one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.perf.cut import Cut
from planner.perf.operators.gemm import Floats, Gemm, dense_ffn, gemm
from planner.spec.model import Coverage, MoeFfn
from planner.spec.precision import BYTES_PER_WEIGHT


@dataclass(frozen=True, slots=True)
class Moe:
    """`count` layers. tokens: of the whole replica before routing [rows]; touched: experts used on the fullest rank."""

    tokens: Floats
    touched: Floats
    top_k: int
    experts: int
    ep: int
    expert_tp: float
    width: int
    inner: float
    matrices: int
    weights: str
    rate: str
    count: float
    block_scaled: bool = False
    shared: float = 0.0
    """Shared experts that run in the same grouped product, in experts as large as a routed one on this rank."""
    launches: float = 6.0

    @property
    def assignments(self) -> Floats:
        """Token-expert pairs of one rank, balanced, [rows]."""
        return self.tokens * (self.top_k / self.ep + self.shared)

    @property
    def expert_bytes(self) -> float:
        """Weights of one expert on this rank."""
        return self.matrices * self.width * self.inner * BYTES_PER_WEIGHT[self.weights]

    @property
    def weight_bytes(self) -> float:
        """All experts of one layer on this rank."""
        return (self.experts / self.ep + self.shared) * self.expert_bytes

    @property
    def flop(self) -> Floats:
        return 2.0 * self.matrices * self.width * self.inner * self.assignments

    @property
    def hbm_bytes(self) -> Floats:
        activations = self.assignments * (2.0 * self.width + self.matrices * self.inner) * 2.0
        return self.touched * self.expert_bytes + activations


def routed(cut: Cut, ffn: MoeFfn, tokens: Floats, count: float, coverage: Coverage | None, phase: str) -> Moe:
    """The routed experts of `count` layers for `tokens` new tokens of the whole replica."""
    kind = cut.formats.experts
    inner = ffn.inner / cut.expert_tp
    shared = ffn.shared_inner / cut.degrees.tp / inner if fused_shared(cut, ffn) else 0.0
    touched = shared + hottest(
        distinct_experts(ffn, tokens, coverage, phase) / cut.degrees.ep, ffn.experts, cut.degrees.ep
    )
    return Moe(
        tokens=tokens, touched=touched, top_k=ffn.top_k, experts=ffn.experts, ep=cut.degrees.ep,
        expert_tp=cut.expert_tp, width=ffn.latent or cut.hidden, inner=inner,
        matrices=3 if ffn.gated else 2, weights=kind, rate=cut.hardware.rate(kind), count=count,
        block_scaled=cut.block_scaled and kind == "fp8", shared=shared,
    )  # fmt: skip


def fused_shared(cut: Cut, ffn: MoeFfn) -> bool:
    """Engines run shared experts inside the grouped product of the routed ones when both have one format and width."""
    return bool(ffn.shared_inner) and not ffn.latent and cut.formats.ffn == cut.formats.experts


def hottest(mean: Floats, experts: int, ep: int) -> Floats:
    """Experts touched on the fullest of ep ranks when `mean` are on average: all ranks wait for it.

    Mean plus the expected maximum of ep normal variates (0.56, 1.03, 1.42, 1.77 for 2, 4, 8, 16; within 4 % of
    .56 log2(ep)^.85) times the spread of a binomial draw.
    """
    if np.ndim(ep) == 0 and ep <= 1:
        return mean
    local = experts / ep
    spread = np.sqrt(np.maximum(mean * (1.0 - mean / local), 0.0))
    fullest: Floats = np.minimum(mean + 0.56 * np.log2(ep) ** 0.85 * spread, local)
    return fullest


def distinct_experts(ffn: MoeFfn, tokens: Floats, coverage: Coverage | None, phase: str) -> Floats:
    """Experts touched by `tokens`: measured coverage of the model where there is one, else uniform routing."""
    if coverage is None:
        uniform: Floats = ffn.experts * -np.expm1(tokens * ffn.top_k * np.log1p(-1.0 / max(ffn.experts, 1 + 1e-9)))
        return uniform
    decode = phase == "decode"
    a, g = (coverage.decode_a, coverage.decode_g) if decode else (coverage.prefill_a, coverage.prefill_g)
    missed = np.log1p(-ffn.top_k / max(ffn.experts, ffn.top_k + 1e-9))
    measured: Floats = ffn.experts * -np.expm1(a * tokens**g * missed)
    return np.minimum(measured, np.minimum(tokens * ffn.top_k, ffn.experts))


def around(cut: Cut, ffn: MoeFfn, rows: Floats, count: float) -> list[Gemm]:
    """Router, shared experts and the projections into a latent width: plain products of every token."""
    gemms = [gemm(cut, rows, ffn.experts, cut.hidden, "bf16", count)]
    if ffn.shared_inner and not fused_shared(cut, ffn):
        gemms += dense_ffn(cut, rows, ffn.shared_inner, ffn.gated, cut.formats.ffn, count)
    if ffn.latent:
        gemms.append(gemm(cut, rows, ffn.latent, cut.hidden, cut.formats.ffn, count))
        gemms.append(gemm(cut, rows, cut.hidden, ffn.latent, cut.formats.ffn, count))
    return gemms
