"""Anchor: a user's measured point made ready to be compared - its case, its uncorrected price, its lower bound.

Not a fit. What cannot be an anchor is refused here: unknown names, no latency, faster than the hardware can be, or at
odds with another point of the same configuration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from planner.calibrate.cases import Case, Refusal, case_of
from planner.calibrate.floors import floors
from planner.calibrate.predict import hardware, metrics_of, replica_of, run_case
from planner.calibrate.readers.base import Measured
from planner.calibrate.rows import METRICS, Row, parse_row
from planner.calibrate.static import static_batch
from planner.catalog import Catalog
from planner.engines.families import family_of
from planner.errors import BadInput, Problem, Where, did_you_mean
from planner.perf.correction import scaled_by
from planner.perf.memory import memory_of
from planner.spec.correction import Factors
from planner.spec.step import Replica

LATENCIES = {"tpot": ("tpot_mean_ms", "tpot_p50_ms"), "ttft": ("ttft_mean_ms", "ttft_p50_ms"), "e2e": ("e2e_mean_ms",)}
ALIKE_TOKENS = 0.05  # mean lengths of two runs of one recipe differ by less
CONTRADICTION = 2.0
MOST_LOAD, MOST_TOKENS = 1e5, 4e6


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
        _require_profile(row, case, catalog)
        _require_room(case, catalog)
        case = replace(case, profile=case.profile.model_copy(update={"corrections": ()}))
        replicas = {pool.name: replica_of(case, catalog, pool) for pool in case.pools}
        anchor = Anchor(point.where, row, case, _latencies(cells), replicas)
        _check_possible(anchor, catalog)
        predicted(anchor, Factors())
    except (Refusal, ValueError) as error:
        raise BadInput(Problem(str(error), point.where)) from error
    return anchor


def predicted(anchor: Anchor, factors: Factors) -> dict[str, float]:
    """The metric columns of the anchor when its price is corrected by `factors`."""
    return _simulated(anchor.case, {name: scaled_by(replica, factors) for name, replica in anchor.replicas.items()})


def experiments(anchors: Sequence[Anchor]) -> list[list[Anchor]]:
    """The anchors with repeats of one configuration and load together: they are one witness, not several."""
    found: list[list[Anchor]] = []
    for anchor in anchors:
        same = next((one for one in found if _repeats(one[0], anchor)), None)
        if same is None:
            found.append([anchor])
        else:
            same.append(anchor)
    return found


def _repeats(one: Anchor, other: Anchor) -> bool:
    return one.place == other.place and one.setting == other.setting and _alike(one.row, other.row)


def check_agreement(anchors: Sequence[Anchor]) -> list[Problem]:
    """Pairs of the same configuration and load whose times differ more than twofold."""
    problems = []
    for one, other in combinations(anchors, 2):
        if not _repeats(one, other):
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
    if row.spec_decode:
        raise ValueError(
            f"spec_decode {row.spec_decode!r}: corrections are for plain decoding, and plans would apply them"
        )
    for name, value, most in (
        ("load_value", row.load_value, MOST_LOAD),
        ("isl_mean", row.input_mean, MOST_TOKENS),
        ("osl_mean", row.output_mean, MOST_TOKENS),
    ):
        if value > most:
            raise ValueError(f"{name}: {value:g} is more than any measured run had ({most:g})")


def _require_profile(row: Row, case: Case, catalog: Catalog) -> None:
    """A correction of a stand-in would be applied to an engine that nobody measured."""
    if case.profile.engine != row.engine:
        known = sorted({profile.engine for profile in catalog.profiles()})
        hint = did_you_mean(row.engine, known) or f"known: {', '.join(known)}"
        raise ValueError(f"engine: no profile of {row.engine!r} - {hint}")


def _require_room(case: Case, catalog: Catalog) -> None:
    for pool in case.pools:
        memory = memory_of(case.model, pool, hardware(case, catalog, pool), case.profile)
        if memory.weights_bytes > memory.capacity_bytes:
            need, room = memory.weights_bytes / 1e9, memory.capacity_bytes / 1e9
            plan = f"{case.model.name} {pool.weights} at {pool.parallelism}"
            raise ValueError(f"{plan} needs {need:.0f} GB of weights on each accelerator, which has {room:.0f} GB")


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
    for floor in floors(anchor, catalog):
        if floor.measured_ms < floor.least_ms:
            what = f"{floor.column} {floor.measured_ms:.4g} ms is faster than {anchor.case.accelerator.name} can be"
            raise ValueError(f"{what}: at least {floor.least_ms:.4g} ms for {floor.term}")
