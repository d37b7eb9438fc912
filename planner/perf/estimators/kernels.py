"""Measured kernels: operator times read off the grids of `planner.perf.grids`, None where no grid matches. No blending.

A device without grids of its own borrows those of the device it behaves like, in units of its own roofline.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from planner.perf.estimators.base import Floats
from planner.perf.grids import Grid, Grids, Roofline, grids_of
from planner.perf.hardware import Hardware
from planner.perf.operators.attention_decode import DecodeAttention
from planner.perf.operators.attention_prefill import PrefillAttention
from planner.perf.operators.gemm import Gemm
from planner.perf.operators.moe import Moe
from planner.perf.work import StageWork
from planner.spec.precision import BYTES_PER_WEIGHT


class Kernels:
    """Grids of one accelerator under the engine whose kernels are nearest."""

    def __init__(self, hardware: Hardware, grids: Grids, engine: str):
        self.hardware, self.grids, self.engine = hardware, grids, engine

    def gemm(self, op: Gemm) -> Floats | None:
        grid = self._grid("gemm", _format(op.weights, op.rate, op.block_scaled))
        if grid is None or op.batch > 1:
            return None
        floor = np.maximum(
            op.flop / self.hardware.sustained_flop_per_s(op.rate), op.hbm_bytes / self.hardware.bandwidth
        )
        return grid.seconds(floor, np.log2(op.rows), np.log2(op.n), np.log2(op.k))

    def moe(self, op: Moe) -> Floats | None:
        """Routing skew is in the grid, so the balanced, uniform load of a rank goes in."""
        grid = self._grid("moe", _format(op.weights, op.rate, op.block_scaled))
        if grid is None:
            return None
        local, weight = max(op.experts / op.ep, 1.0), BYTES_PER_WEIGHT[op.weights]
        floor = self._roofline(op.rate).moe_s(op.assignments, local, op.expert_bytes / weight, weight)
        rows = np.log2(op.assignments / local)
        return grid.seconds(floor, rows, np.log2(local), np.log2(op.expert_bytes), np.log2(op.ep))

    def decode_attention(self, op: DecodeAttention, seqs: Floats, context: float) -> Floats | None:
        grid = self._grid(_by_head("decode", op.head_dim, op.latent), "fp8" if op.kv_bytes == 1.0 else "bf16")
        if grid is None or not (op.fitted_shape or op.latent):
            return None
        context = context / op.shared
        roof, seen = self._roofline("bf16"), np.log2(context)
        if op.latent:
            floor = roof.mla_decode_s(seqs, op.heads, context, op.kv_bytes)
            return grid.seconds(floor, np.log2(seqs), seen, np.log2(op.heads))
        floor = roof.decode_s(seqs, op.heads, op.kv_heads, context, op.head_dim, op.kv_bytes)
        return grid.seconds(floor, np.log2(seqs * op.kv_heads), seen, np.log2(op.heads / op.kv_heads))

    def prefill_attention(self, op: PrefillAttention, tokens: float) -> float | None:
        grid = self._grid(_by_head("prefill", op.head_dim, op.latent), "bf16")
        if grid is None or not (op.fitted_shape or op.latent):
            return None
        roof, length = self._roofline("bf16"), np.log2(tokens)
        if op.latent:
            return float(grid.seconds(roof.mla_prefill_s(1.0, op.heads, tokens), 0.0, length, np.log2(op.heads)))
        return float(grid.seconds(roof.prefill_s(1.0, op.heads, tokens, op.head_dim), np.log2(op.heads), length))

    def unmeasured(self, work: StageWork) -> float:
        """Share of the weight bytes of a stage whose products no grid holds: no such format, or beyond its axes."""
        inside = outside = 0.0
        for gemm in work.gemms:
            held = self._holds("gemm", gemm, {1: gemm.n, 2: gemm.k}) or gemm.batch > 1
            inside, outside = _counted(inside, outside, gemm.weight_bytes * gemm.count, held)
        for moe in work.moes:
            shape = {1: max(moe.experts / moe.ep, 1.0), 2: moe.expert_bytes, 3: float(moe.ep)}
            held = self._holds("moe", moe, shape)
            inside, outside = _counted(inside, outside, moe.weight_bytes * moe.count, held)
        return outside / (inside + outside) if outside else 0.0

    def _holds(self, operator: str, op: Gemm | Moe, shape: Mapping[int, float]) -> bool:
        """Whether a grid of the format exists and the shape lies within an octave of its axes."""
        grid = self._grid(operator, _format(op.weights, op.rate, op.block_scaled))
        if grid is None:
            return False
        ends = ((float(grid.axes[i][0]), float(np.log2(size)), float(grid.axes[i][-1])) for i, size in shape.items())
        return all(low - 1.0 <= at <= high + 1.0 for low, at, high in ends)

    def _grid(self, operator: str, dtype: str) -> Grid | None:
        return self.grids.find(operator, self.engine, dtype)

    def _roofline(self, rate: str) -> Roofline:
        return Roofline(
            self.hardware.sustained_flop_per_s(self.hardware.rate("bf16") if rate == "bf16" else rate),
            self.hardware.bandwidth,
        )


def kernels_of(hardware: Hardware, engine: str) -> Kernels | None:
    """The measured kernels of an accelerator, its own or borrowed; None when neither was measured."""
    grids = grids_of(hardware.accelerator) if engine else None
    return Kernels(hardware, grids, engine) if grids else None


def _counted(inside: float, outside: float, size: float, held: bool) -> tuple[float, float]:
    return (inside + size, outside) if held else (inside, outside + size)


def _format(weights: str, rate: str, block_scaled: bool) -> str:
    """Name of the measured kernel family of a product."""
    if weights == "fp8":
        return ("fp8_block" if block_scaled else "fp8") if rate == "fp8" else ""
    if weights == "mxfp4":
        return "mxfp4_fp8" if rate == "fp8" else "mxfp4"
    if weights in ("bf16", "fp16"):
        return "bf16"
    return weights if weights == "int4" or rate == "fp4" else ""


def _by_head(operator: str, head_dim: float, latent: bool) -> str:
    """Grid of the nearest measured head dimension."""
    if latent:
        return f"mla_{operator}"
    return f"{operator}{64 if head_dim <= 64 else 256 if head_dim > 192 else 128}"
