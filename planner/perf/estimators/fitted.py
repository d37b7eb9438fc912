"""The default: geometric mean of the component model and fitted kernels, the kernels clipped around the model.

The errors of the two partly cancel (left-out TPOT error 12.3 % against 13.3 and 14.0 % alone), and the clip keeps a
table measured on another kernel from ruling (11.3 instead of 12.7 %): calibration study, sections 5 and 7.
"""

from __future__ import annotations

import numpy as np

from planner.perf.coefficients import coefficients_of
from planner.perf.collectives import Collective
from planner.perf.estimators.analytic import Analytic
from planner.perf.estimators.base import ESTIMATORS, Floats, Plain
from planner.perf.estimators.kernels import kernels_of
from planner.perf.estimators.messages import Messages
from planner.perf.hardware import Hardware
from planner.perf.operators.attention_decode import DecodeAttention
from planner.perf.operators.attention_prefill import PrefillAttention
from planner.perf.operators.elementwise import Elementwise
from planner.perf.operators.gemm import Gemm
from planner.perf.operators.moe import Moe
from planner.perf.work import StageWork
from planner.spec.engine import EngineProfile

CLIP = (0.75, 1.33)
# Grouped products run up to twice as slow as the component model says (4-bit formats on Hopper, block-scaled fp8), and
# runs follow the table there: with 1.67 the TPOT error of mixtures falls from 13.8 to 12.7 %. 1.45 is as far as the
# recorded runs stay as good as they were.
MOE_CLIP = (0.75, 1.45)
UNMEASURED = 0.25
"""Share of the weights that may lie outside the measured kernels without a word: heads alone are a tenth."""


@ESTIMATORS.register("fitted")
class Fitted(Plain):
    """Component model everywhere, pulled halfway towards measured kernels where a grid matches device and format.

    Collectives have no grid but fitted forms per count of GPUs. What no kernel was measured for is told (`doubts`).
    """

    def __init__(self, hardware: Hardware, profile: EngineProfile):
        known = coefficients_of(hardware.accelerator) if profile.kernels_like else None
        self.model = Analytic(hardware, profile)
        self.kernels = kernels_of(hardware, profile.kernels_like)
        self.messages = Messages(hardware, known) if known else None
        self.hardware, self.kernels_like = hardware, profile.kernels_like
        self.source = f"analytic x kernels {self.kernels.grids.device}" if self.kernels else "analytic"

    def doubts(self, work: StageWork) -> tuple[str, ...]:
        """Where no kernels were measured: on this accelerator, or for much of the weights that a step reads."""
        board = self.hardware.accelerator
        if not self.kernels_like:
            return ()  # the error of such an engine is that of the component model already
        if self.kernels is None:
            return (f"{board.name} has no measured kernels; its step times come from its datasheet",)
        found = []
        if self.kernels.grids.device != board.name:
            like = self.kernels.grids.device
            found.append(f"{board.name} has no measured kernels; its efficiency is that of {like}")
        share = self.kernels.unmeasured(work)
        if share > UNMEASURED:
            found.append(f"{share:.0%} of the weights have a format or shape outside the measured kernels")
        return tuple(found)

    def gemm(self, op: Gemm) -> Floats:
        model = self.model.gemm(op)
        return _mean(model, self.kernels.gemm(op), self.model.bound.gemm(op)) if self.kernels else model

    def moe(self, op: Moe) -> Floats:
        model = self.model.moe(op)
        return _mean(model, self.kernels.moe(op), self.model.bound.moe(op), MOE_CLIP) if self.kernels else model

    def elementwise(self, op: Elementwise) -> Floats:
        return self.model.elementwise(op)

    def decode_attention(self, op: DecodeAttention, seqs: Floats, context: float) -> Floats:
        model = self.model.decode_attention(op, seqs, context)
        if self.kernels is None:
            return model
        measured = self.kernels.decode_attention(op, seqs, context)
        return _mean(model, measured, self.model.bound.decode_attention(op, seqs, context))

    def prefill_attention(self, op: PrefillAttention, tokens: float) -> float:
        model = self.model.prefill_attention(op, tokens)
        measured = self.kernels.prefill_attention(op, tokens) if self.kernels else None
        if measured is None:
            return model
        return float(_mean(np.array([model]), np.array([measured]), np.zeros(1))[0])

    def collective(self, op: Collective) -> Floats:
        model = self.model.collective(op)
        return _mean(model, self.messages.collective(op), self.model.bound.collective(op)) if self.messages else model


def _mean(model: Floats, fitted: Floats | None, bound: Floats, clip: tuple[float, float] = CLIP) -> Floats:
    """sqrt(model * clipped measurement), at least the roofline; the model where nothing was measured."""
    if fitted is None:
        return model
    clipped = np.clip(fitted, clip[0] * model, clip[1] * model)
    return np.maximum(np.sqrt(model * clipped), bound)
