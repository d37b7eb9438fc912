"""Whole steps beside those of another program, loosely: its figures are a model of the same thing, not a measurement.

TensorRT-LLM step oracle of aiconfigurator 0.12.0, Llama-3.1-70B, TP8, H100: decode of 32 at 4,000 in and 500 out
14.62 ms; prefill of 4,000 tokens 169.10 ms; 2,048 prompt tokens with 32 decodes 99.04 ms.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planner.spec.deployment import Pool
from planner.spec.step import Replica, StepCost

BAND = 0.25


@pytest.fixture(scope="module")
def cost(replica_of: Callable[..., Replica], pool_of: Callable[..., Pool]) -> StepCost:
    return replica_of(pool_of("llama-3.1-70b", tp=8), "trtllm").cost


def linear_s(cost: StepCost, tokens: float) -> float:
    return float(np.interp(tokens, np.arange(len(cost.linear_s)) * cost.linear_stride, cost.linear_s))


def prefill_s(cost: StepCost, decodes: int, tokens: int) -> float:
    pairs = tokens * (tokens + 1) / 2
    return linear_s(cost, decodes + tokens) - linear_s(cost, decodes) + cost.pair_s * pairs + cost.chunk_s


def test_decode_of_32(cost: StepCost) -> None:
    context = 32 * (4000 + 250)
    assert cost.decode_s[32] + cost.decode_context_s[32] * context == pytest.approx(14.62e-3, rel=BAND)


def test_prefill_of_4000(cost: StepCost) -> None:
    assert cost.decode_s[0] + prefill_s(cost, 0, 4000) == pytest.approx(169.10e-3, rel=BAND)


def test_mixed_step(cost: StepCost) -> None:
    decode = cost.decode_s[32] + cost.decode_context_s[32] * 32 * (4000 + 250)
    assert decode + prefill_s(cost, 32, 2048) == pytest.approx(99.04e-3, rel=BAND)
