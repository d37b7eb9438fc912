"""What happens once per step: embedding lookup, head over the sampling sequences, sampler. Work only."""

from __future__ import annotations

from planner.perf.cut import Cut
from planner.perf.operators.elementwise import Elementwise
from planner.perf.operators.gemm import Floats, Gemm, gemm

LOGIT_BYTES = 4.0
SAMPLER_PASSES = 3.0  # softmax, top-k/top-p mask, draw


def embedding(cut: Cut, rows: Floats) -> Elementwise:
    return Elementwise(2.0 * rows * cut.hidden * 2.0)


def head(cut: Cut, seqs: Floats, vocab: int) -> Gemm:
    """Rows are the sequences that sample, not the tokens of the step."""
    return gemm(cut, seqs, vocab / cut.degrees.tp, cut.hidden, cut.formats.head, 1.0)


def sampler(seqs: Floats, vocab: int) -> Elementwise:
    return Elementwise(SAMPLER_PASSES * seqs * vocab * LOGIT_BYTES, launches=SAMPLER_PASSES)
