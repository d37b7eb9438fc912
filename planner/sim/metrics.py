"""The metrics, defined once, and what they are in a Run. Not how to reach them.

    ttft          first token - arrival (host time and queue included)
    tpot          (last token - first token) / (output tokens - 1); undefined, and left out, for one output token
    itl           each gap between successive tokens of a request; statistics over gaps, not over requests
    e2e           last token - arrival
    queue         admission into the first batch - arrival
    transfer      token 1 - arrival of the KV cache where it decodes; only where pools are split
    attainment    share of requests that met all limits for each request (of one metric: its limit alone)
    goodput       requests per second that did
    preemptions   times that requests lost their KV cache and were computed again
    utilisation   share of the time that a replica runs a step; kv occupancy: share of its KV blocks in use, over time
    MFU, MBU      `planner.perf.peaks`; joules: `planner.perf.energy`, of the boards

Of a class with a graph or a session a request is a turn (`planner.sim.turns`): arrival is that of the turn, tokens are
those of its answer, e2e ends with its last task; gaps are those of all its tasks.

Quantiles interpolate linearly between order statistics (type 7, NumPy's default). A request that has not got there when
the run ends enters with its lower bound, time so far; a quantile that touches a lower bound is reported as a lower
bound itself (`Statistics.bounded`). Rejected requests are counted, and violate every SLO.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.sim.gaps import bin_end_s
from planner.sim.simulate import Run
from planner.sim.turns import turns
from planner.spec.deployment import LLM
from planner.spec.slo import METRICS, Slo

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

REPORTED = ("ttft", "tpot", "itl", "e2e", "queue", "transfer")
LEVELS = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Statistics:
    """One metric of one class: seconds by statistic (mean, p50, p90, p95, p99); empty when nothing was observed.

    count: observations, unfinished requests included. bounded: statistics that are lower bounds ("at least").
    mean_error_s: half-width of the 95 % interval of the mean, from batch means over time; 0 when not known.
    """

    values_s: Mapping[str, float]
    count: int
    bounded: tuple[str, ...] = ()
    mean_error_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """One request class. metrics: ttft, tpot, itl, e2e, queue, transfer. Rates are per second of the measured window.

    attainment: share of measured and rejected requests that met all limits for each request; None without such limits.
    attained: the same for the limit of one metric alone. goodput_per_s: rate of those that did all. met: every target
    of the SLO holds, by values that are not lower bounds only.
    """

    metrics: Mapping[str, Statistics]
    requests: int
    finished: int
    rejected: int
    preemptions: int
    requests_per_s: float
    input_tokens_per_s: float
    output_tokens_per_s: float
    attainment: float | None
    attained: Mapping[str, float]
    goodput_per_s: float | None
    met: bool


def ttft_s(run: Run) -> Floats:
    """Time to first token; a lower bound where it is not out yet, nan where the request never started."""
    return _since_arrival(run, run.first_token_s)


def e2e_s(run: Run) -> Floats:
    """Arrival to last token; a lower bound where it is not out yet, nan where the request never started."""
    return _since_arrival(run, run.finish_s)


def transfer_s(run: Run) -> Floats:
    """Token 1 to the end of the copy of the KV cache; nan where none ended."""
    return np.where(run.transfer_s > 0.0, run.transfer_s, np.nan)


def queue_s(run: Run) -> Floats:
    """Arrival to admission into the first batch; a lower bound where it still waits."""
    return _since_arrival(run, run.admitted_s)


def tpot_s(run: Run) -> Floats:
    """Mean time per output token after the first; nan where undefined: one output token, or no token yet.

    An unfinished request counts with (now - first token) / (output tokens - 1), a lower bound.
    """
    later = np.maximum(run.answer_tokens - 1, 1)
    known = (run.answer_tokens > 1) & np.isfinite(run.first_token_s)
    end = np.where(np.isfinite(run.last_token_s), run.last_token_s, run.end_s)
    first = np.where(known, run.first_token_s, 0.0)
    return np.where(known, (end - first) / later, np.nan)


def seen(run: Run) -> Flags:
    """Which requests arrived before the run ended."""
    return run.started & (run.arrival_s <= run.end_s)


def _since_arrival(run: Run, event_s: Floats) -> Floats:
    return np.where(seen(run), np.where(np.isfinite(event_s), event_s, run.end_s) - run.arrival_s, np.nan)


def meets(run: Run, slo: Slo) -> Flags:
    """Which requests are known to meet all limits that hold for each request; itl limits the largest gap."""
    done = np.isfinite(run.finish_s) & ~run.rejected
    values = {"ttft": ttft_s(run), "tpot": np.nan_to_num(tpot_s(run)), "e2e": e2e_s(run), "itl": run.largest_gap_s}
    for metric, limit_s in slo.per_request.items():
        done &= values[metric] <= limit_s
    return done


def summarise(run: Run, slos: Mapping[str, Slo] | None = None) -> dict[str, ClassSummary]:
    """Every class by name; without an SLO only throughput counts and `met` is whether nothing was rejected."""
    run = turns(run)
    begin_s = run.arrival_s[run.measured].min() if run.measured.any() else 0.0
    return _classes(run, slos or {}, seen(run), max(run.end_s - begin_s, 1e-12), gaps=True)


def by_period(run: Run, slos: Mapping[str, Slo], period_s: float) -> tuple[dict[str, ClassSummary], ...]:
    """The same for the requests that arrived in each period; rates are per second of the period.

    ITL is left out: gaps are counted for the whole run only.
    """
    run = turns(run)
    here = seen(run)
    last = int(run.arrival_s[here].max() // period_s) if here.any() else -1
    number = np.where(here, np.where(here, run.arrival_s, 0.0) // period_s, -1)
    return tuple(_classes(run, slos, number == k, period_s, gaps=False) for k in range(last + 1))


def by_node(run: Run) -> dict[tuple[str, str], dict[str, Statistics]]:
    """ttft, e2e and queue of each node (class, node) of graphs and sessions, from when its tasks could start."""
    found: dict[tuple[str, str], dict[str, Statistics]] = {}
    for k, kind in enumerate(run.tasks.kinds if run.tasks is not None else ()):
        assert run.tasks is not None  # it has kinds
        mine = run.measured & (run.tasks.kind == k) & seen(run)
        one = {
            "e2e": _statistics(e2e_s(run)[mine], np.isfinite(run.finish_s)[mine]),
            "queue": _statistics(queue_s(run)[mine], np.isfinite(run.admitted_s)[mine]),
        }
        if kind.phase == LLM:
            one["ttft"] = _statistics(ttft_s(run)[mine], np.isfinite(run.first_token_s)[mine])
        found[run.class_names[kind.class_index], kind.name] = one
    return found


def _classes(run: Run, slos: Mapping[str, Slo], among: Flags, span_s: float, gaps: bool) -> dict[str, ClassSummary]:
    found = {}
    for c, name in enumerate(run.class_names):
        itl = gap_statistics(run, c) if gaps else Statistics({}, 0)
        found[name] = _class(run, among & (run.class_index == c), slos.get(name, Slo()), span_s, itl)
    return found


def _class(run: Run, among: Flags, slo: Slo, span_s: float, itl: Statistics) -> ClassSummary:
    mine, rejected = run.measured & among, run.rejected & among
    done = mine & np.isfinite(run.finish_s)
    metrics = {name: itl if name == "itl" else statistics_of(run, name, mine) for name in REPORTED}
    asked = int(mine.sum() + rejected.sum())
    good = int((meets(run, slo) & mine).sum())
    limited = bool(slo.per_request)
    attainment = good / asked if limited and asked else None
    return ClassSummary(
        metrics=metrics,
        requests=asked,
        finished=int(done.sum()),
        rejected=int(rejected.sum()),
        preemptions=int(run.preemptions[mine].sum()),
        requests_per_s=float(done.sum() / span_s),
        input_tokens_per_s=float(run.input_tokens[done].sum() / span_s),
        output_tokens_per_s=float(run.output_tokens[done].sum() / span_s),
        attainment=attainment,
        attained={metric: _attained(run, metric, limit_s, mine, asked) for metric, limit_s in _limits(slo)},
        goodput_per_s=good / span_s if limited else None,
        met=met(metrics, attainment, slo) and not rejected.any(),
    )


def statistics_of(run: Run, metric: str, mine: Flags) -> Statistics:
    """Statistics of a metric that requests have one value of; TPOT may still grow until they finish."""
    if metric == "transfer":
        return _statistics(transfer_s(run)[mine], np.ones(int(mine.sum()), bool))
    values = {"ttft": ttft_s, "tpot": tpot_s, "e2e": e2e_s, "queue": queue_s}[metric](run)
    known = {"ttft": run.first_token_s, "queue": run.admitted_s}.get(metric, run.finish_s)
    return _statistics(values[mine], np.isfinite(known)[mine])


def _limits(slo: Slo) -> Iterator[tuple[str, float]]:
    """Each metric once, with its limit for each request, else the tightest of its statistics."""
    for metric in METRICS:
        limits_s = [limit_s for name, _, limit_s in slo.targets if name == metric]
        if metric in slo.per_request:
            yield metric, slo.per_request[metric]
        elif limits_s:
            yield metric, min(limits_s)


def _attained(run: Run, metric: str, limit_s: float, mine: Flags, asked: int) -> float:
    """Share of requests known to keep one limit; of itl, with their largest gap."""
    known = np.isfinite(run.first_token_s if metric == "ttft" else run.finish_s)
    values = {"ttft": ttft_s, "tpot": tpot_s, "e2e": e2e_s}[metric](run) if metric != "itl" else run.largest_gap_s
    return float((mine & known & (np.nan_to_num(values) <= limit_s)).sum() / max(asked, 1))


def met(metrics: Mapping[str, Statistics], attainment: float | None, slo: Slo) -> bool:
    """A statistic that is a lower bound meets no limit: nobody knows by how much it grows."""
    for metric, statistic, limit_s in slo.targets:
        found = metrics[metric]
        if found.count and (found.values_s[statistic] > limit_s or statistic in found.bounded):
            return False
    return attainment is None or attainment >= slo.attainment


def _statistics(values: Floats, known: Flags) -> Statistics:
    """Mean and quantiles of values of which those not `known` are lower bounds; nan = no observation."""
    there = ~np.isnan(values)
    values, known = values[there], known[there]
    if not len(values):
        return Statistics({}, 0)
    found = {"mean": float(values.mean())}
    ordered = np.sort(values)
    found |= {name: quantile(ordered, level) for name, level in LEVELS.items()}
    bounded: tuple[str, ...] = ()
    if not known.all():
        lowest = float(values[~known].min())
        bounded = ("mean", *(name for name in LEVELS if found[name] >= lowest))
    return Statistics(found, len(values), bounded, _batch_error(values))


def quantile(ordered: Floats, level: float) -> float:
    """Type 7 quantile of sorted values."""
    place = (len(ordered) - 1) * level
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (ordered[high] - ordered[low]) * (place - low))


def _batch_error(values: Floats, batches: int = 20) -> float:
    """95 % half-width of the mean from means of consecutive batches, which neighbours' correlation does not shrink."""
    if len(values) < 10 * batches:
        return 0.0
    means = values[: len(values) // batches * batches].reshape(batches, -1).mean(axis=1)
    student_t_19 = 2.093  # 97.5 % quantile of Student's t with 19 degrees of freedom
    return float(student_t_19 * means.std(ddof=1) / np.sqrt(batches))


def gap_statistics(run: Run, c: int) -> Statistics:
    """ITL of a class from its gap histogram: the mean is exact, quantiles to one bin (at most 0.4 %)."""
    counts = run.gap_count[c]
    total = int(counts.sum())
    if not total:
        return Statistics({}, 0)
    below = np.cumsum(counts)
    found = {"mean": float(run.gap_sum_s[c] / total)}
    found |= {name: _gap_quantile(counts, below, level) for name, level in LEVELS.items()}
    return Statistics(found, total)


def _gap_quantile(counts: NDArray[np.int64], below: NDArray[np.int64], level: float) -> float:
    """Gaps of a bin are taken as evenly spread over it."""
    place = (int(below[-1]) - 1) * level
    b = int(np.searchsorted(below, place, side="right"))
    start_s = bin_end_s(b - 1) if b > 0 else 0.0
    rank = place - (int(below[b]) - int(counts[b]))
    return float(start_s + (bin_end_s(b) - start_s) * ((rank + 0.5) / int(counts[b])))
