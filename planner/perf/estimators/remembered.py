"""Remembered: an estimator that is asked for the price of an operator of one shape and size only once. No prices.

Replicas of one tensor-parallel degree share most of their products, stages of one pipeline nearly all, and a search
prices hundreds of both.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np

from planner.perf.collectives import Collective
from planner.perf.estimators.base import Estimator, Floats, Plain
from planner.perf.hardware import Hardware
from planner.perf.operators.attention_decode import DecodeAttention
from planner.perf.operators.attention_prefill import PrefillAttention
from planner.perf.operators.elementwise import Elementwise
from planner.perf.operators.gemm import Gemm
from planner.perf.operators.moe import Moe
from planner.perf.work import StageWork
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.model import Model
from planner.spec.step import StepCost

NAMES = {
    kind: tuple(one.name for one in fields(kind) if one.name != "count")
    for kind in (Gemm, Moe, Collective, DecodeAttention, PrefillAttention)
}
"""Fields of an operator but for how many calls there are."""
Thing = TypeVar("Thing")
Price = TypeVar("Price")


@dataclass(frozen=True, slots=True, eq=False)
class Itself(Generic[Thing]):
    """A thing that equals nothing but itself, as the key of what is remembered about it."""

    thing: Thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


def estimator_of(
    source: Callable[[Hardware, EngineProfile], Estimator], hardware: Hardware, profile: EngineProfile
) -> Estimator:
    """The source's estimator for a profile on hardware; one that reads nothing but these is kept for the next time."""
    reads_no_more = isinstance(source, type) and issubclass(source, Plain)
    return _kept(source, hardware, Itself(profile)) if reads_no_more else source(hardware, profile)


@lru_cache(maxsize=32)
def _kept(
    source: Callable[[Hardware, EngineProfile], Estimator], hardware: Hardware, profile: Itself[EngineProfile]
) -> Estimator:
    return Remembered(source(hardware, profile.thing))


class Remembered:
    """Another estimator's prices. Arrays that it returns are shared and must not be changed."""

    def __init__(self, price: Estimator):
        self._price = price
        self._known: dict[Hashable, Any] = {}
        self.source = price.source

    def gemm(self, op: Gemm) -> Floats:
        return self._once(("gemm", *shape_of(op)), lambda: self._price.gemm(op))

    def moe(self, op: Moe) -> Floats:
        return self._once(("moe", *shape_of(op)), lambda: self._price.moe(op))

    def elementwise(self, op: Elementwise) -> Floats:
        return self._price.elementwise(op)

    def decode_attention(self, op: DecodeAttention, seqs: Floats, context: float) -> Floats:
        key = ("decode", *shape_of(op), seqs.tobytes(), context)
        return self._once(key, lambda: self._price.decode_attention(op, seqs, context))

    def prefill_attention(self, op: PrefillAttention, tokens: float) -> float:
        return self._once(("prefill", *shape_of(op), tokens), lambda: self._price.prefill_attention(op, tokens))

    def collective(self, op: Collective) -> Floats:
        return self._once(("collective", *shape_of(op)), lambda: self._price.collective(op))

    def doubts(self, work: StageWork) -> tuple[str, ...]:
        return self._price.doubts(work)

    def settle(self, cost: StepCost, model: Model, pool: Pool) -> StepCost:
        return self._price.settle(cost, model, pool)

    def _once(self, key: Hashable, ask: Callable[[], Price]) -> Price:
        if key not in self._known:
            self._known[key] = ask()
        found: Price = self._known[key]
        return found


def shape_of(op: Gemm | Moe | Collective | DecodeAttention | PrefillAttention) -> tuple[Hashable, ...]:
    """Everything that the price of one call depends on: all but how many calls there are."""
    values = (getattr(op, name) for name in NAMES[type(op)])
    return tuple(value.tobytes() if isinstance(value, np.ndarray) else value for value in values)
