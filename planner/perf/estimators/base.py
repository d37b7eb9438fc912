"""Estimator: seconds for each kind of work on one rank. The seam price lists plug into; it prices nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from planner.perf.collectives import Collective
from planner.perf.hardware import Hardware
from planner.perf.operators.attention_decode import DecodeAttention
from planner.perf.operators.attention_prefill import PrefillAttention
from planner.perf.operators.elementwise import Elementwise
from planner.perf.operators.gemm import Gemm
from planner.perf.operators.moe import Moe
from planner.perf.work import StageWork
from planner.registry import Registry
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.model import Model
from planner.spec.step import StepCost

Floats = NDArray[np.float64]


class Estimator(Protocol):
    """Seconds of one call, launches included, never below the roofline. Arrays run over token counts."""

    source: str

    def gemm(self, op: Gemm) -> Floats: ...

    def moe(self, op: Moe) -> Floats: ...

    def elementwise(self, op: Elementwise) -> Floats: ...

    def decode_attention(self, op: DecodeAttention, seqs: Floats, context: float) -> Floats:
        """`seqs` sequences of `context` cached tokens each that they see."""
        ...

    def prefill_attention(self, op: PrefillAttention, tokens: float) -> float:
        """Self-attention of one prompt of `tokens` with nothing cached."""
        ...

    def collective(self, op: Collective) -> Floats: ...

    def doubts(self, work: StageWork) -> tuple[str, ...]:
        """What of this work lies outside what the source was made from; each makes the error wider."""
        ...

    def settle(self, cost: StepCost, model: Model, pool: Pool) -> StepCost:
        """The prices of a step, added up, with what the source knows of whole steps."""
        ...


class Plain:
    """An estimator that knows operators only, and works for all of them alike."""

    def doubts(self, work: StageWork) -> tuple[str, ...]:
        return ()

    def settle(self, cost: StepCost, model: Model, pool: Pool) -> StepCost:
        return cost


StepSource = Callable[[Model, Pool, Hardware, EngineProfile], StepCost]
"""Prices a whole step at once, for sources that do not see operators."""

WHOLE_STEPS: Registry[StepSource] = Registry("step source")

ESTIMATORS: Registry[Callable[[Hardware, EngineProfile], Estimator]] = Registry("estimator")
