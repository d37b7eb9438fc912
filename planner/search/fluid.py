"""Fluid: about how many requests per second a replica carries if they flow through it evenly. A guess, not a bound.

It says whom to measure first and where to look for its capacity; no answer depends on it being right.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from planner.search.bounds import capacity_bound, prefill_floor_s, tpot_limit
from planner.spec.requests import Requests
from planner.spec.slo import Slo
from planner.spec.step import Replica

Floats = NDArray[np.float64]
LATE = 1e-3
"""What remains of a rate at which no promise is kept: such replicas come last."""


def fluid_rate(replica: Replica, requests: Requests, role: str, slos: Mapping[str, Slo]) -> float:
    """Best rate over all steady batches: full seats, full caches and the tightest TPOT are not exceeded.

    A stage spends a share `rate x prefill` of its time on prompts, and the rest on decode steps of n sequences.
    """
    if role == "prefill":
        return capacity_bound(replica, requests, role)
    prefill_s = prefill_floor_s(replica, requests) / len(requests) if role == "aggregated" else 0.0
    after_first = np.maximum(requests.output_tokens - 1, 0).astype(float)
    tokens = float(after_first.mean())
    if not tokens:
        return capacity_bound(replica, requests, role)
    context = float(np.sum(after_first * (requests.input_tokens + requests.output_tokens / 2)) / after_first.sum())
    n, step_s = _steps(replica, context)
    rate = 1.0 / (prefill_s + tokens * step_s / n)
    tpot_s = replica.stages * (step_s + replica.hop_s) / np.maximum(1.0 - rate * prefill_s, 1e-9)
    kept = tpot_s <= min((tpot_limit(slo)[0] for slo in slos.values()), default=np.inf)
    return float(np.max(rate, where=kept, initial=0.0)) or float(rate[0]) * LATE


def _steps(replica: Replica, context: float) -> tuple[Floats, Floats]:
    """Sequences per stage and step, as far as seats and cache go, and how long their steps last."""
    cost, stages = replica.cost, replica.stages
    held = min(replica.max_seqs, int(replica.kv_blocks * replica.block_tokens / context))
    most = max(1, min(held // stages, len(cost.decode_s) - 1))
    n = np.arange(1, most + 1, dtype=float)
    return n, cost.decode_s[1 : most + 1] + cost.decode_context_s[1 : most + 1] * n * context
