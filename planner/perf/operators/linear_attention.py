"""Mixers with constant state (Mamba, gated delta net, lightning): projections and the state that moves. Work only."""

from __future__ import annotations

from planner.perf.cut import Cut
from planner.perf.operators.elementwise import Elementwise
from planner.perf.operators.gemm import Floats, Gemm, gemm
from planner.spec.model import LinearAttention

# Kernels besides the projections in current engines (fla kernels of vLLM and SGLang): decode splits the projection,
# convolves, gates, updates the state and norms; prompts add key norms and the five passes of the chunked scan.
DECODE_KERNELS, PREFILL_KERNELS = 5.0, 10.0
STATE_BYTES = 4.0  # engines keep the recurrent state in fp32 (mamba_ssm_dtype of the published configurations)
CHUNK = 64  # tokens between two passes over the state in the chunked prefill kernels (2405.21060, section 6)


def projections(cut: Cut, mixer: LinearAttention, rows: Floats, count: float) -> list[Gemm]:
    """All parameters of the mixer as an input (2/3) and an output (1/3) projection."""
    width = mixer.parameters / cut.hidden / cut.degrees.tp
    kind = cut.formats.attention
    return [
        gemm(cut, rows, width * 2 / 3, cut.hidden, kind, count),
        gemm(cut, rows, cut.hidden, width / 3, kind, count),
    ]


def decode_state(cut: Cut, mixer: LinearAttention, seqs: Floats, count: float) -> Elementwise:
    """Each sequence reads and writes its state once per step."""
    return Elementwise(2.0 * seqs * state_bytes(cut, mixer), count, launches=DECODE_KERNELS)


def prefill_state(cut: Cut, mixer: LinearAttention, rows: Floats, count: float) -> Elementwise:
    """The chunked scan touches the state once per CHUNK tokens."""
    return Elementwise(2.0 * rows / CHUNK * state_bytes(cut, mixer), count, launches=PREFILL_KERNELS)


def state_bytes(cut: Cut, mixer: LinearAttention) -> float:
    """State of one sequence in one layer on one rank."""
    return mixer.state_elements * STATE_BYTES / cut.degrees.tp
