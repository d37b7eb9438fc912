"""corrected: a priced replica with the factors of a correction applied. Not a fit, and no prices of its own."""

from __future__ import annotations

from dataclasses import replace

from planner.spec.correction import Correction, Factors
from planner.spec.deployment import Parallelism
from planner.spec.step import Replica, StepCost


def corrected(replica: Replica, correction: Correction | None, plan: Parallelism) -> Replica:
    """The replica, cut as `plan`, as its correction says; itself without one."""
    if correction is None:
        return replica
    scaled = scaled_by(replica, correction.factors)
    measured = not correction.plans or str(plan) in correction.plans
    error = (correction.rel_error if measured else None) or replica.cost.rel_error
    other = "" if measured else f" at {' and '.join(correction.plans)}"
    bought = f", {correction.bought}" if str(correction.bought) else ""
    source = f"{replica.cost.source}, corrected by {correction.source}{other}{bought}"
    return replace(scaled, cost=replace(scaled.cost, source=source, rel_error=error))


def scaled_by(replica: Replica, factors: Factors) -> Replica:
    """The replica with every part times its factor; neutral factors give equal numbers."""
    return replace(
        replica, cost=_scaled_cost(replica.cost, factors), request_s=replica.request_s * factors.request,
        admission_lag_steps=replica.admission_lag_steps * factors.admission_lag,
    )  # fmt: skip


def _scaled_cost(cost: StepCost, factors: Factors) -> StepCost:
    """decode_s[0] is the overhead of a step without decodes: its token-proportional part goes with the prefill."""
    each = factors.decode * factors.batch
    decode_s = factors.decode * (cost.decode_s + (factors.batch - 1.0) * (cost.decode_s - cost.decode_s[1]))
    decode_s[0] = cost.decode_s[0] + (factors.prefill - 1.0) * cost.linear_s[0]
    return replace(
        cost, decode_s=decode_s, decode_context_s=cost.decode_context_s * each,
        decode_window_s=cost.decode_window_s * each, linear_s=cost.linear_s * factors.prefill,
        pair_s=cost.pair_s * factors.prefill, window_pair_s=cost.window_pair_s * factors.prefill,
        context_s=cost.context_s * factors.prefill, chunk_s=cost.chunk_s * factors.prefill,
        prefill_floor_s=cost.prefill_floor_s * factors.prefill_floor,
    )  # fmt: skip
