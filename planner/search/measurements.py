"""Measurements: every metric of a simulated deployment as rows, by class, pool and period, and their spread over draws.

Not their definitions, which are in `planner.sim.metrics`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from planner.errors import BadInput, Problem
from planner.perf.energy import joules
from planner.perf.peaks import mfu_mbu
from planner.search.confirm import Seen
from planner.search.setting import Setting
from planner.sim.metrics import ClassSummary, Statistics, by_node, by_period
from planner.sim.periods import PoolPeriod, pools_by_period
from planner.spec.deployment import Pool, Service

Scope = Literal["class", "node", "pool", "period"]
MOST_PERIODS = 10_000
"""More than anybody reads; each costs a pass over the run."""
WAITS = ("ttft", "e2e", "queue")
"""Times that grow with the length of the run when it is saturated."""
STUDENT_T_90 = (
    6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761, 1.753,
    1.746, 1.740, 1.734, 1.729, 1.725, 1.721, 1.717, 1.714, 1.711, 1.708, 1.706, 1.703, 1.701, 1.699,
)  # fmt: skip
"""95 % quantiles of Student's t with 1, 2, ... degrees of freedom, for two-sided 90 % intervals; beyond: 1.645."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number. period: number of the period, -1 = the whole run. at_least: it is a lower bound.

    lo, hi: ends of the 90 % interval of its mean over several draws; equal to the value with one draw.
    """

    scope: Scope
    name: str
    metric: str
    statistic: str
    unit: str
    value: float
    at_least: bool = False
    period: int = -1
    lo: float = math.nan
    hi: float = math.nan


def measurements(setting: Setting, seen: Sequence[Seen], period_s: float | None = None) -> tuple[Measurement, ...]:
    """All of them: classes, nodes of graphs, pools, services; with a period, classes by that of arrival and pools."""
    found: list[Measurement] = []
    _require_few_periods(seen, period_s)
    for one in seen:
        for name, summary in one.summaries.items():
            found += _of_class("class", name, summary, -1, one.saturated)
        for (name, node), metrics in by_node(one.run).items():
            for metric, statistics in metrics.items():
                found += _of_metric("node", f"{name}/{node}", metric, statistics, -1, one.saturated)
        for pool in one.part.deployment.pools:
            found += _of_pool(setting, pool, one)
        for service in one.part.deployment.services:
            found += _of_service(service, one)
        for number, summaries in enumerate(by_period(one.run, one.part.load.slos, period_s) if period_s else ()):
            for name, summary in summaries.items():
                found += _of_class("period", name, summary, number, False)
        for name, periods in (pools_by_period(one.run, one.part.deployment, period_s) if period_s else {}).items():
            for number, period in enumerate(periods):
                found += _of_pool_period(name, period, number)
    return tuple(replace(row, lo=row.value, hi=row.value) for row in found)


def _require_few_periods(seen: Sequence[Seen], period_s: float | None) -> None:
    end_s = max((one.run.end_s for one in seen), default=0.0)
    if period_s and end_s > MOST_PERIODS * period_s:
        what = f"--period: {end_s:,.0f} s in periods of {period_s:g} s are more than {MOST_PERIODS:,}"
        raise BadInput(Problem(what, hint=f"take at least {end_s / MOST_PERIODS:.2g} s"))


def _of_class(scope: Scope, name: str, found: ClassSummary, period: int, saturated: bool) -> Iterator[Measurement]:
    for metric, statistics in found.metrics.items():
        yield from _of_metric(scope, name, metric, statistics, period, saturated and metric in WAITS)
    counts = (found.requests, found.finished, found.rejected, found.preemptions)
    for metric, number in zip(("requests", "finished", "rejected", "preemptions"), counts, strict=True):
        yield Measurement(scope, name, metric, "count", "", float(number), period=period)
    yield Measurement(scope, name, "completed", "mean", "req/s", found.requests_per_s, period=period)
    yield Measurement(scope, name, "output tokens", "mean", "tokens/s", found.output_tokens_per_s, period=period)
    if found.attainment is not None and found.goodput_per_s is not None:
        yield Measurement(scope, name, "attainment", "share", "", found.attainment, period=period)
        yield Measurement(scope, name, "goodput", "mean", "req/s", found.goodput_per_s, period=period)
    asked_per_s = found.requests_per_s * found.requests / found.finished if found.finished else 0.0
    for metric, kept in found.attained.items():
        yield Measurement(scope, name, f"attainment {metric}", "share", "", kept, period=period)
        yield Measurement(scope, name, f"goodput {metric}", "mean", "req/s", kept * asked_per_s, period=period)


def _of_metric(
    scope: Scope, name: str, metric: str, found: Statistics, period: int, growing: bool
) -> Iterator[Measurement]:
    for statistic, value_s in found.values_s.items():
        bound = growing or statistic in found.bounded
        yield Measurement(scope, name, metric, statistic, "s", value_s, bound, period)


def _of_pool(setting: Setting, pool: Pool, seen: Seen) -> Iterator[Measurement]:
    run = seen.run.pools[pool.name]
    work, model = run.work, next(model for model in setting.models.values() if model.name == pool.model)
    hardware = setting.sites[pool.node].hardware
    there_s = work.span_s * pool.replicas or 1.0
    mfu, mbu = mfu_mbu(work, model, pool, hardware)
    energy = joules(work, model, pool, hardware)
    rows = (
        ("utilisation", "mean", "", min(1.0, work.busy_s / there_s)),
        ("utilisation by prefill", "mean", "", min(1.0, work.prefill_busy_s / there_s)),
        ("MFU", "mean", "", mfu),
        ("MBU", "mean", "", mbu),
        ("KV occupancy", "mean", "", run.mean_blocks_share),
        ("KV occupancy", "peak", "", run.peak_blocks_share),
        ("waiting", "mean", "requests", run.mean_waiting),
        ("waiting", "peak", "requests", float(run.peak_waiting)),
        ("batch", "mean", "requests", work.decode_tokens / max(work.steps, 1)),
        ("steps", "count", "", float(work.steps)),
        ("preemptions", "count", "", float(work.preemptions)),
        ("sent", "sum", "bytes", run.sent_bytes),
        ("energy of boards", "sum", "J", energy.gpu_j),
        ("energy of boards", "per output token", "J", energy.gpu_j / max(_tokens_out(seen), 1)),
    )
    left_out = ("MFU", "MBU", "batch") if pool.encodes else ()  # they count the work of the model, not its encoder's
    yield from (Measurement("pool", pool.name, *row) for row in rows if row[0] not in left_out)


def _of_pool_period(name: str, found: PoolPeriod, period: int) -> Iterator[Measurement]:
    yield Measurement("pool", name, "utilisation", "mean", "", found.utilisation, period=period)
    yield Measurement("pool", name, "utilisation by prefill", "mean", "", found.utilisation_by_prefill, period=period)
    yield Measurement("pool", name, "batch", "mean", "requests", found.batch, period=period)
    yield Measurement("pool", name, "waiting", "peak", "requests", float(found.longest_queue), period=period)


def _of_service(service: Service, seen: Seen) -> Iterator[Measurement]:
    run = seen.run.pools[service.name]
    there_s = run.work.span_s * service.replicas or 1.0
    rows = (
        ("utilisation", "mean", "", min(1.0, run.work.busy_s / there_s)),
        ("waiting", "mean", "requests", run.mean_waiting),
        ("waiting", "peak", "requests", float(run.peak_waiting)),
        ("tasks", "count", "", float(run.work.steps)),
        ("sent", "sum", "bytes", run.sent_bytes),
    )
    yield from (Measurement("pool", service.name, *row) for row in rows)


def _tokens_out(seen: Seen) -> int:
    """Output tokens of all finished requests of the part."""
    done = seen.run.finish_s < math.inf
    return int(seen.run.output_tokens[done].sum())


def over_draws(draws: Sequence[Iterable[Measurement]]) -> tuple[Measurement, ...]:
    """Mean and 90 % interval (Student's t) of each measurement over independent draws.

    Left out is what some draws do not have. A mean over lower bounds is a lower bound.
    """
    if len(draws) == 1:
        return tuple(draws[0])
    keyed = [{(r.scope, r.name, r.metric, r.statistic, r.period): r for r in rows} for rows in draws]
    return tuple(_mean([rows[key] for rows in keyed]) for key in keyed[0] if all(key in rows for rows in keyed))


def _mean(rows: Sequence[Measurement]) -> Measurement:
    n = len(rows)
    mean = math.fsum(row.value for row in rows) / n
    deviation = math.sqrt(math.fsum((row.value - mean) ** 2 for row in rows) / (n - 1))
    half = (STUDENT_T_90[n - 2] if n - 2 < len(STUDENT_T_90) else 1.645) * deviation / math.sqrt(n)
    return replace(rows[0], value=mean, lo=mean - half, hi=mean + half, at_least=any(row.at_least for row in rows))
