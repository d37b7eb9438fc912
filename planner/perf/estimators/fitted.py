"""Operator forms fitted to measured kernel tables, where device and format have one. Every method may answer None.

Forms, coefficients and their errors: `hardware_db/coefficients` (with NOTICE). They interpolate inside the measured
grid of one engine version; sliding windows, latent and linear attention have no fit. Not a default by itself: `blend`.
"""

from __future__ import annotations

import numpy as np

from planner.perf.coefficients import Coefficients, coefficients_of
from planner.perf.collectives import Collective
from planner.perf.estimators.analytic import Analytic
from planner.perf.estimators.base import ESTIMATORS, Floats
from planner.perf.hardware import Hardware
from planner.perf.operators.attention_decode import DecodeAttention
from planner.perf.operators.attention_prefill import PrefillAttention
from planner.perf.operators.elementwise import Elementwise
from planner.perf.operators.gemm import Gemm
from planner.perf.operators.moe import Moe
from planner.spec.engine import EngineProfile

TILES = np.array([(128, 256), (128, 128), (64, 128), (64, 64), (16, 64)], dtype=float)
SPLITS = np.array([1, 2, 4, 8, 16], dtype=float)
CUSTOM_AR_BYTES = 8.4e6  # largest message in the tables of the engines' own all-reduce; beyond it they call NCCL


class Forms:
    """The fitted forms of one accelerator, None where there is no fit."""

    def __init__(self, hardware: Hardware, coefficients: Coefficients, engine: str):
        self.hardware, self.known, self.engine = hardware, coefficients, engine
        self.sms = float(hardware.accelerator.sm_count)

    def gemm(self, op: Gemm) -> Floats | None:
        """`tile_split_k`: the best of 25 tilings; tensor-core time of the waves against memory time."""
        if min(op.n, op.k) < 128 or op.batch > 1:
            return None
        c = self.known.gemm(_kernel_dtype(op.weights, op.rate, op.block_scaled), self.engine)
        if c is None:
            return None
        peak, bandwidth = self.hardware.flop_per_s(op.rate), self.hardware.bandwidth
        rows, tile_m, tile_n = op.rows[:, None, None], TILES[:, 0][None, :, None], TILES[:, 1][None, :, None]
        split = SPLITS[None, None, :]
        tiles = np.ceil(rows / tile_m) * np.ceil(op.n / tile_n)
        efficiency = c["ec"] * tile_m * tile_n / (tile_m * tile_n + c["a"])
        waves = np.ceil(tiles * split / self.sms)
        compute = waves * 2.0 * tile_m * tile_n * (np.ceil(op.k / split) + c["kk"]) / (peak / self.sms * efficiency)
        moved = op.hbm_bytes[:, None, None]
        cached = np.where(moved < 0.6 * self.hardware.accelerator.l2_bytes, c["l2f"], 1.0)
        occupied = np.minimum(1.0, tiles * split / self.sms / c["sp"])
        memory = moved / (bandwidth * c["eb"] * cached) / occupied
        time = (compute**4 + memory**4) ** 0.25 + c["so_s"] * np.log2(split)
        best: Floats = time.min(axis=(1, 2))
        return c["t0_s"] + best

    def moe(self, op: Moe) -> Floats | None:
        """`hot_share`: the rank with the most tokens, under power-law routing."""
        c = self.known.moe(_kernel_dtype(op.weights, op.rate, op.block_scaled))
        if c is None or op.matrices != 3:
            return None
        local = max(op.experts / op.ep, 1.0)
        assigned = op.tokens * op.top_k * (1.0 / op.ep) ** c["gamma"]
        active = local * -np.expm1(-((assigned / local) ** c["skew"]))
        moved = active * op.expert_bytes + assigned * (2.0 * op.width + 3.0 * op.inner) * 2.0
        memory = moved / (self.hardware.bandwidth * c["em"])
        flop = (assigned + active * c["pad_rows"]) * 6.0 * op.width * op.inner
        compute = flop / (self.hardware.flop_per_s(op.rate) * c["ec"])
        passes = c["passes"] * op.tokens * op.width * 2.0 / self.hardware.bandwidth
        time: Floats = c["t0_s"] + (memory**3 + compute**3) ** (1 / 3) + passes
        return time

    def decode_attention(self, op: DecodeAttention, seqs: Floats, context: float) -> Floats | None:
        """`split_kv`: memory time, but no faster than the thread blocks a small batch can occupy."""
        c = self.known.attention_decode("fp8" if op.kv_bytes == 1.0 else "bfloat16")
        if c is None or not op.fitted_shape or op.window or op.head_dim != 128 or context < 64:
            return None
        heads = seqs * op.kv_heads
        moved = seqs * context * op.bytes_per_token + 4.0 * seqs * op.heads * op.head_dim
        memory = moved / (self.hardware.bandwidth * c["em"])
        blocks = np.minimum(heads * max(1.0, np.ceil(context / c["w_tokens"])), self.sms)
        group = (op.heads / op.kv_heads) ** (c["alpha"] - 1.0)
        streamed = np.maximum(memory, moved / (blocks * c["bw1_Bps"]))
        time: Floats = c["t0_s"] + c["c_s"] * heads * group + streamed + c["k2"] * np.sqrt(memory)
        return time

    def prefill_attention(self, op: PrefillAttention, tokens: float) -> float | None:
        """`tiled`: 128-row tiles of one causal prompt."""
        c = self.known.attention_prefill("bfloat16")
        if c is None or not op.fitted_shape or op.window or op.head_dim != 128 or tokens < 128:
            return None
        peak = self.hardware.flop_per_s(op.rate)
        blocks = op.heads * np.ceil(tokens / 128)
        work = blocks * 128 * (tokens / 2 + c["c"]) * 4 * op.head_dim
        used = blocks / (np.ceil(blocks / self.sms) * self.sms)
        longest = 128 * (tokens + c["c"]) * 4 * op.head_dim / (peak / self.sms * c["e"])
        compute = max(work / (peak * c["e"] * np.sqrt(max(used, 0.05))), longest)
        moved = tokens * op.head_dim * (4 * op.heads + 2 * op.kv_heads * op.kv_bytes)
        memory = moved / (self.hardware.bandwidth * c["em"])
        return float(c["t0_s"] + (compute**3 + memory**3) ** (1 / 3) + c["lin"] * 1e-9 * tokens * op.heads)

    def collective(self, op: Collective) -> Floats | None:
        """`per_gpu_count` inside one node; the engine's own all-reduce for small messages, NCCL for large ones."""
        if op.across > 1:
            return None
        library = self._message(op, "nccl", "alltoall" if op.kind == "all_to_all" else op.kind)
        if op.kind != "all_reduce":
            return library
        own = self._message(op, "trtllm_custom_ar", op.kind)
        if own is None or library is None:
            return library if own is None else own
        return np.where(op.payload <= CUSTOM_AR_BYTES, np.minimum(own, library), library)

    def _message(self, op: Collective, library: str, kind: str) -> Floats | None:
        c = self.known.collective(kind, library, op.gpus)
        if c is None:
            return None
        sent = op.traffic(op.gpus) / self.hardware.link
        power = c["p"]
        time: Floats = (c["a_s"] ** power + (c["e"] * sent + c["k"] * np.sqrt(sent)) ** power) ** (1 / power)
        return time


@ESTIMATORS.register("fitted")
class Fitted:
    """Fitted forms where they exist, the component model elsewhere."""

    def __init__(self, hardware: Hardware, profile: EngineProfile):
        known = coefficients_of(hardware.accelerator)
        self.forms = Forms(hardware, known, profile.kernels_like) if known else None
        self.rest = Analytic(hardware, profile)
        self.source = f"fitted {known.device}" if known else "analytic"

    def gemm(self, op: Gemm) -> Floats:
        time = self.forms.gemm(op) if self.forms else None
        return self.rest.gemm(op) if time is None else np.maximum(time, self.rest.bound.gemm(op))

    def moe(self, op: Moe) -> Floats:
        time = self.forms.moe(op) if self.forms else None
        return self.rest.moe(op) if time is None else np.maximum(time, self.rest.bound.moe(op))

    def elementwise(self, op: Elementwise) -> Floats:
        return self.rest.elementwise(op)

    def decode_attention(self, op: DecodeAttention, seqs: Floats, context: float) -> Floats:
        time = self.forms.decode_attention(op, seqs, context) if self.forms else None
        if time is None:
            return self.rest.decode_attention(op, seqs, context)
        return np.maximum(time, self.rest.bound.decode_attention(op, seqs, context))

    def prefill_attention(self, op: PrefillAttention, tokens: float) -> float:
        time = self.forms.prefill_attention(op, tokens) if self.forms else None
        if time is None:
            return self.rest.prefill_attention(op, tokens)
        return max(time, self.rest.bound.prefill_attention(op, tokens))

    def collective(self, op: Collective) -> Floats:
        time = self.forms.collective(op) if self.forms else None
        return self.rest.collective(op) if time is None else np.maximum(time, self.rest.bound.collective(op))


def _kernel_dtype(weights: str, rate: str, block_scaled: bool) -> str:
    """Name of the measured kernel family, "" when the product runs in another one (weights expanded on the fly)."""
    if weights == "nvfp4" and rate == "fp4":
        return "nvfp4"
    if weights == "fp8" and rate == "fp8":
        return "fp8_block" if block_scaled else "fp8"
    return "bfloat16" if weights in ("bf16", "fp16") and rate in ("bf16", "fp16") else ""
