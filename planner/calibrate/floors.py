"""Floors: times that no engine can beat on an accelerator, from its datasheet alone. Not a prediction.

The work of one accelerator that held everything, at its peaks, divided by the number of accelerators: no messages, no
launches, arithmetic and memory traffic perfectly overlapped. A measured time below is a mistake in the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from planner.calibrate.cases import Case
from planner.calibrate.predict import hardware
from planner.calibrate.rows import Row
from planner.catalog import Catalog
from planner.perf.replica import build_replica
from planner.spec.deployment import Parallelism, Pool
from planner.spec.engine import EngineProfile, Multipliers, Overhead
from planner.spec.hardware import Peak
from planner.spec.step import StepCost

BELIEVED = 0.95
"""A time this far below a floor is still believed: clocks above the datasheet's, rounding, a short run's drain."""
_NOTHING = {"launch_s": 0.0, "per_seq_s": 0.0, "prefill_floor_per_layer_s": 0.0, "request_s": 0.0}


class Point(Protocol):
    """What is asked of a measured point here."""

    @property
    def row(self) -> Row: ...
    @property
    def case(self) -> Case: ...
    @property
    def measured(self) -> Mapping[str, float]: ...
    def column(self, metric: str) -> str: ...


@dataclass(frozen=True, slots=True)
class Floor:
    """A measured time, the least that is believed, and what that least goes into."""

    column: str
    measured_ms: float
    least_ms: float
    term: str


def floors(point: Point, catalog: Catalog) -> Iterator[Floor]:
    """All floors that apply to what the point measured."""
    case = point.case
    first, last = (_least_cost(point, pool, catalog) for pool in (case.pools[0], case.pools[-1]))
    yield from _alone(point, first, last)
    yield from _together(point, first, last)


def _alone(point: Point, first: StepCost, last: StepCost) -> Iterator[Floor]:
    """A first token needs its own prompt; each further one a step that reads the weights and its own cache."""
    case = point.case
    prompt, answer = case.client.input_mean, case.client.output_mean
    column = point.column("ttft")
    if column and not (column.endswith("p50_ms") and case.client.input_shape == "dataset"):
        least = _prompt_s(first, prompt) / case.pools[0].parallelism.gpus
        yield _floor(point, column, least, f"the arithmetic of a prompt of {prompt:.0f} tokens")
    if (column := point.column("tpot")) and answer > 1 and column.endswith("mean_ms"):
        weights, cache = float(last.decode_s[1]), float(last.decode_context_s[1]) * (prompt + answer / 2)
        term = "reading the weights" if weights > cache else "reading the cache of one sequence"
        yield _floor(point, column, (weights + cache) / case.pools[-1].parallelism.gpus, term)


def _together(point: Point, first: StepCost, last: StepCost) -> Iterator[Floor]:
    """c requests in flight share the machine: by Little's law each takes c times the work of one, at least.

    In a run of N requests the last c have company only in part: the factor 1 - c / 2N.
    """
    case, client = point.case, point.case.client
    asked = {"ttft_mean_ms", "tpot_mean_ms"} <= set(point.measured)
    if len(case.pools) > 1 or client.kind != "concurrency" or not asked:
        return
    answer, c = client.output_mean, client.concurrency
    parts = {
        "the arithmetic of {} requests": _prompt_s(first, client.input_mean) + answer * _marginal_s(last),
        "reading the caches of {} requests": float(last.decode_context_s[-1])
        * answer
        * (client.input_mean + answer / 2),
    }
    term = max(parts, key=lambda name: parts[name])
    measured = point.measured["ttft_mean_ms"] + point.measured["tpot_mean_ms"] * (answer - 1)
    shared = c * (1.0 - min(1.0, c / client.requests) / 2) / case.gpus
    least_ms = 1e3 * BELIEVED * parts[term] * shared
    yield Floor("ttft_mean_ms + tpot_mean_ms x (output - 1) =", measured, least_ms, term.format(c))


def _floor(point: Point, column: str, least_s: float, term: str) -> Floor:
    return Floor(column, point.measured[column], 1e3 * BELIEVED * least_s, term)


def _prompt_s(cost: StepCost, tokens: float) -> float:
    return tokens * _marginal_s(cost) + cost.pair_s * tokens * tokens / 2


def _marginal_s(cost: StepCost) -> float:
    """Arithmetic of one more token in a full step."""
    return float(cost.linear_s[-1] - cost.linear_s[-2]) / cost.linear_stride


def _least_cost(point: Point, pool: Pool, catalog: Catalog) -> StepCost:
    """Step prices of one accelerator holding the whole model, at its peaks; an unstated cache is fp8."""
    case = point.case
    place, kv = hardware(case, catalog, pool), pool.kv if point.row.kv else "fp8"
    alone = pool.model_copy(update={"parallelism": Parallelism(), "kv": kv})
    cost = build_replica(case.model, alone, place, _bare(case.profile), estimator="roofline").cost
    return replace(cost, pair_s=cost.pair_s * _attention_share(place.accelerator.peak))


def _attention_share(peak: Peak) -> float:
    """Attention is priced at 16 bits; an engine may compute it at 8."""
    return min(1.0, peak.bf16_flop_per_s / peak.fp8_flop_per_s) if peak.fp8_flop_per_s and peak.bf16_flop_per_s else 1.0


def _bare(profile: EngineProfile) -> EngineProfile:
    """The engine without a price of its own."""
    nothing = Overhead.model_construct(**(Overhead().__dict__ | _NOTHING))
    neutral = Multipliers(**dict.fromkeys(Multipliers.model_fields, 1.0))
    return profile.model_copy(
        update={"overhead": nothing, "multipliers": neutral, "families": {}, "graph_sizes": (), "corrections": ()}
    )
