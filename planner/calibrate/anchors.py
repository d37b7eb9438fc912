"""Anchor: a user's measured point made ready to be compared - its case, its uncorrected price, its lower bound.

Not a fit. What cannot be an anchor is refused here: unknown names, no latency, faster than the hardware can be, or at
odds with another point of the same configuration.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from planner.calibrate.cases import Case, Refusal, case_of
from planner.calibrate.predict import metrics_of, replica_of, run_case
from planner.calibrate.readers.base import Measured
from planner.calibrate.rows import METRICS, Row, parse_row
from planner.calibrate.static import prefill_s, static_batch
from planner.catalog import Catalog
from planner.engines.families import family_of
from planner.errors import BadInput, Problem, Where
from planner.perf.correction import scaled_by
from planner.spec.correction import Factors
from planner.spec.engine import EngineProfile, Multipliers, Overhead
from planner.spec.step import Replica

LATENCIES = {"tpot": ("tpot_mean_ms", "tpot_p50_ms"), "ttft": ("ttft_mean_ms", "ttft_p50_ms"), "e2e": ("e2e_mean_ms",)}
ALIKE_TOKENS = 0.05  # mean lengths of two runs of one recipe differ by less
CONTRADICTION = 2.0
CLOCK = 0.98  # a measured time may lie this share below a bound: rounding, clocks
ORDER = 0.9  # the order in which an engine serves moves the mean of the whole a little
ENDLESS_BLOCKS = 2**40
PRICELESS = {"launch_s": 0.0, "per_seq_s": 0.0, "prefill_floor_per_layer_s": 0.0, "request_s": 0.0}


@dataclass(frozen=True, slots=True)
class Anchor:
    """where: the line it came from. measured: its metric columns. replicas: by pool, priced without any correction."""

    where: Where
    row: Row
    case: Case
    measured: Mapping[str, float]
    replicas: Mapping[str, Replica]

    @property
    def label(self) -> str:
        return str(self.where) if self.where.line else f"{self.where} ({self.row.id})"

    @property
    def place(self) -> tuple[str, str, str, str]:
        """(family, accelerator, model, weights) that its correction is for."""
        pool = self.case.pools[0]
        return family_of(self.case.accelerator), self.case.accelerator.name, self.case.model.name, pool.weights

    @property
    def setting(self) -> tuple[object, ...]:
        """What two points must share to be the same experiment."""
        row = self.row
        plan = (row.mode, row.plan, row.prefill, row.decode, row.gpus)
        return (*plan, row.kv, row.spec_decode, row.load_kind, row.load_value, row.requests)

    def column(self, metric: str) -> str:
        """The column that stands for a metric: the mean where it was measured, else the median, else none."""
        return next((name for name in LATENCIES[metric] if name in self.measured), "")


def anchor_of(point: Measured, catalog: Catalog) -> Anchor:
    """A measured point as an anchor; BadInput says why it is none."""
    cells = {"id": point.cells.get("id") or str(point.where), **point.cells}
    try:
        row = parse_row(cells)
        _require(row)
        case = case_of(row, catalog)
        case = replace(case, profile=case.profile.model_copy(update={"corrections": ()}))
        replicas = {pool.name: replica_of(case, catalog, pool) for pool in case.pools}
        anchor = Anchor(point.where, row, case, _latencies(cells), replicas)
        _check_possible(anchor, catalog)
    except (Refusal, ValueError) as error:
        raise BadInput(Problem(str(error), point.where)) from error
    return anchor


def predicted(anchor: Anchor, factors: Factors) -> dict[str, float]:
    """The metric columns of the anchor when its price is corrected by `factors`."""
    return _simulated(anchor.case, {name: scaled_by(replica, factors) for name, replica in anchor.replicas.items()})


def check_agreement(anchors: Sequence[Anchor]) -> list[Problem]:
    """Pairs of the same configuration and load whose times differ more than twofold."""
    problems = []
    for one, other in combinations(anchors, 2):
        if one.place != other.place or one.setting != other.setting or not _alike(one.row, other.row):
            continue
        for name in set(one.measured) & set(other.measured):
            values = sorted((one.measured[name], other.measured[name]))
            if values[1] > CONTRADICTION * values[0]:
                what = f"{name} is {one.measured[name]:.4g}, but {other.measured[name]:.4g} at {other.label}"
                hint = "same configuration and load: drop the wrong one, or state what differs"
                problems.append(Problem(f"{what}", one.where, hint))
    return problems


def _require(row: Row) -> None:
    if row.load_kind != "offline" and row.load_value <= 0:
        raise ValueError("load_value: requests in flight or requests per second are needed (--set load_value=...)")
    if row.mode == "agg" and not row.plan.tp:
        raise ValueError("tp: how the model was cut is needed (--set tp=...)")
    if not row.input_mean or not row.output_mean:
        raise ValueError("isl_mean, osl_mean: mean tokens of prompts and answers are needed")
    if not row.engine:
        raise ValueError("engine: which engine was measured is needed (--set engine=...)")


def _latencies(cells: Mapping[str, str]) -> dict[str, float]:
    """Measured columns that can be compared; ValueError names a cell that is no positive number."""
    found = {}
    for name in METRICS:
        if not name.startswith(("ttft_", "tpot_", "e2e_")) or not (text := (cells.get(name) or "").strip()):
            continue
        value = float(text) if _is_number(text) else math.nan
        if not 0 < value < math.inf:
            raise ValueError(f"{name}: {text!r} is not a positive number of milliseconds")
        found[name] = value
    if not any(name in found for names in LATENCIES.values() for name in names):
        raise ValueError("no latency: a mean or median of ttft, tpot or e2e is needed")
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _simulated(case: Case, replicas: Mapping[str, Replica]) -> dict[str, float]:
    if case.client.kind == "static_batch" and len(case.pools) == 1:
        return static_batch(case, replicas[case.pools[0].name])[0]
    run, copies, sample = run_case(case, dict(replicas))
    return metrics_of(case, run, copies, sample)


def _alike(one: Row, other: Row) -> bool:
    pairs = ((one.input_mean, other.input_mean), (one.output_mean, other.output_mean))
    return all(abs(a - b) <= ALIKE_TOKENS * max(a, b) for a, b in pairs)


def _check_possible(anchor: Anchor, catalog: Catalog) -> None:
    """ValueError when a measured time is below what the datasheet of the accelerator allows."""
    if anchor.case.token_yield != 1.0 or anchor.row.spec_decode:
        return  # accepted drafts per step are assumed, so nothing is certain
    bare = {pool.name: replica_of(_bare(anchor.case), catalog, pool, "roofline") for pool in anchor.case.pools}
    for floor in (*_alone(anchor, bare), *_together(anchor, bare)):
        if floor.measured_ms < floor.share * floor.least_ms:
            what = f"{floor.column} {floor.measured_ms:.4g} ms is faster than {anchor.case.accelerator.name} can be"
            raise ValueError(f"{what}: at least {floor.least_ms:.4g} ms for {floor.term}")


@dataclass(frozen=True, slots=True)
class Floor:
    """A measured time and the least that datasheet peaks allow for it. share: how far below is still believed."""

    column: str
    measured_ms: float
    least_ms: float
    term: str
    share: float


def _bare(case: Case) -> Case:
    """The case without anything but operators at datasheet peaks."""
    nothing = Overhead.model_construct(**(Overhead().__dict__ | PRICELESS))
    neutral = Multipliers(gemm=1.0, attn_decode=1.0, moe=1.0, comm=1.0, prefill=1.0)
    profile: EngineProfile = case.profile.model_copy(
        update={"overhead": nothing, "multipliers": neutral, "families": {}, "graph_sizes": ()}
    )
    return replace(case, profile=profile)


def _alone(anchor: Anchor, bare: Mapping[str, Replica]) -> Iterator[Floor]:
    """A token needs a step that reads weights and its own cache; a first token needs its own prompt computed."""
    client = anchor.case.client
    prompt, answer = max(1, round(client.input_mean)), round(client.output_mean)
    first, last = bare[anchor.case.pools[0].name], bare[anchor.case.pools[-1].name]
    if column := anchor.column("ttft"):
        least = 1e3 * prefill_s(first, 1, prompt)
        yield Floor(
            column, anchor.measured[column], least, f"computing a prompt of {prompt} tokens", _share(anchor, column)
        )
    if (column := anchor.column("tpot")) and answer > 1:
        weights = float(np.min(last.cost.decode_s[1:])) * last.stages
        cache = float(last.cost.decode_context_s[1]) * (prompt + answer / 2) * last.stages
        term = "reading the weights" if weights > cache else "reading the cache of one sequence"
        yield Floor(column, anchor.measured[column], 1e3 * (weights + cache), term, _share(anchor, column))


def _together(anchor: Anchor, bare: Mapping[str, Replica]) -> Iterator[Floor]:
    """All requests share the machine: the whole of a request takes what a machine at its peaks would take."""
    answer = anchor.case.client.output_mean
    if {"ttft_mean_ms", "tpot_mean_ms"} <= set(anchor.measured) and anchor.case.client.kind == "concurrency":
        measured = anchor.measured["ttft_mean_ms"] + anchor.measured["tpot_mean_ms"] * (answer - 1)
        roomy = {name: replace(replica, kv_blocks=ENDLESS_BLOCKS) for name, replica in bare.items()}
        least = _simulated(anchor.case, roomy)["e2e_mean_ms"]
        term = f"the work of {anchor.case.client.concurrency} requests at once ({_largest_part(anchor.case, bare)})"
        yield Floor("ttft_mean_ms + tpot_mean_ms x (output - 1) =", measured, least, term, ORDER)


def _largest_part(case: Case, bare: Mapping[str, Replica]) -> str:
    """What most of an output token's time goes into on a machine at its peaks, at the concurrency of the case."""
    first, last = bare[case.pools[0].name], bare[case.pools[-1].name]
    prompt, answer = max(1, round(case.client.input_mean)), max(1.0, case.client.output_mean)
    n = min(len(last.cost.decode_s) - 1, max(1, case.client.concurrency // case.pools[-1].replicas))
    parts = {
        "mostly weights and products of decode steps": float(last.cost.decode_s[n]),
        "mostly reading their caches": float(last.cost.decode_context_s[n]) * n * (prompt + answer / 2),
        "mostly computing their prompts": n * prefill_s(first, 1, prompt) / answer,
    }
    return max(parts, key=lambda name: parts[name])


def _share(anchor: Anchor, column: str) -> float:
    """The median of requests of mixed lengths may lie well below that of the mean request."""
    return 0.0 if column.endswith("p50_ms") and anchor.case.client.input_shape == "dataset" else CLOCK
