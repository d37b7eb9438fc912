"""Measure: how much of a load one replica of a candidate carries at its promises, by simulation. Not which to measure.

All probes of a load see the same requests, only sooner or later, so a pool that holds at a rate holds at lower ones and
the largest rate is found by bisection. What is returned has been seen to hold; what fails above it is within PRECISION.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.perf.energy import idle_w, joules
from planner.search.bounds import capacity_bound
from planner.search.demand import Load
from planner.search.probe import POOL, Trial
from planner.sim.metrics import LEVELS, ClassSummary, saturated, summarise
from planner.sim.simulate import Run, simulate
from planner.sim.state import RULE
from planner.spec.requests import Requests
from planner.spec.slo import METRICS, Metric

PRECISION = 0.01
"""Relative width of the last bracket of a capacity."""
WARMUP = 0.1
"""Share of the first requests that no statistic counts: they meet an empty system."""
LEAST = 0.02
"""Share of the bound at which requests hardly meet each other; what fails there fails at any rate."""
JOB_PARTS = (500, 1500)
"""Requests of the two parts of a job from which its pace is read."""
TURNOVERS = 5
"""A probe lasts for at least this many times the requests in flight, else it ends before the pool is full."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """amount: in the unit of the load's demand; 0 with a reason when it is too little or the promises break without load.

    run: at that amount. unseen: nothing had to be simulated.
    """

    amount: float
    reason: str = ""
    run: Run | None = None
    unseen: bool = False


class Draws:
    """The requests of a load, drawn once; a shorter draw is the beginning of a longer one."""

    def __init__(self, load: Load, seed: int):
        self._load, self._seed = load, seed
        self._drawn: Requests | None = None
        self._asked = 0

    def first(self, n: int) -> Requests:
        """The first n requests; fewer where a trace ends."""
        if self._drawn is None or n > self._asked:
            self._asked = max(n, 2 * self._asked)
            self._drawn = self._load.draw(seed=self._seed, requests=self._asked)
        return first(self._drawn, n)

    def whole(self) -> Requests:
        """A job, all of it."""
        return self._load.draw(seed=self._seed)


def probe_size(trial: Trial, drawn: Requests) -> int:
    """Requests of a probe: those given, or more, until the pool fills and turns over."""
    return max(len(drawn), TURNOVERS * in_flight(trial, drawn))


def in_flight(trial: Trial, drawn: Requests) -> int:
    """Most requests that one replica serves at a time: its seats, or what its capacity bound and its TPOT limit allow."""
    limits = [limit for slo in trial.slos.values() for metric, _, limit in slo.targets if metric == "tpot"]
    limits += [slo.per_request["tpot"] for slo in trial.slos.values() if "tpot" in slo.per_request]
    if not limits:
        return trial.replica.max_seqs
    residence_s = max(limits) * float(drawn.output_tokens.mean())
    return min(trial.replica.max_seqs, int(capacity_bound(trial.replica, drawn, trial.candidate.role) * residence_s))


def at_rate(drawn: Requests, load_demand: float, rate: float) -> Requests:
    """The same requests at another rate."""
    return replace(drawn, arrival_s=drawn.arrival_s * (load_demand / rate))


def measure(t: Trial, draws: Draws, least: int, above: float = 0.0) -> Capacity:
    """Capacity of one replica by the kind of its load."""
    if t.load.kind == "open":
        return open_capacity(t, draws.first(probe_size(t, draws.first(least))), above)
    return job_capacity(t, draws.whole()) if t.load.kind == "job" else closed_capacity(t, draws.first(least))


def observe(trial: Trial, requests: Requests, replicas: int = 1, *, stop: bool = False) -> Run:
    """The trial under these requests; with `stop` it ends as soon as a promise is broken beyond repair."""
    rules = breaking_points(trial, requests) if stop else None
    return simulate(trial.deployment(replicas), trial.replicas, trial.requests(requests), warmup=WARMUP, rules=rules)


def breaking_points(trial: Trial, requests: Requests) -> NDArray[Any]:
    """How many requests may miss each limit before its quantile or attainment surely breaks.

    The type 7 quantile at level q of n values exceeds a limit for certain when more than n - 1 - floor((n - 1) q) do.
    """
    counted = requests.class_index[int(WARMUP * len(requests)) :]
    rows = []
    for number, name in enumerate(requests.class_names):
        n, slo = int((counted == number).sum()), trial.slos[name]
        for metric, statistic, limit in slo.targets:
            if metric != "itl" and statistic in LEVELS:
                rows.append(_rule(number, {metric: limit}, max(n - 1 - int((n - 1) * LEVELS[statistic]), 0)))
        if slo.per_request:
            rows.append(_rule(number, dict(slo.per_request), int(n * (1 - slo.attainment) + 1e-9)))
    return np.array(rows, RULE)


def _rule(number: int, limits: dict[Metric, float], allowed: int) -> tuple[float, ...]:
    ttft, tpot, itl, e2e = (limits.get(metric, np.inf) for metric in METRICS)
    return (number, ttft, tpot, itl, e2e, allowed, 0)


def holds(trial: Trial, run: Run) -> bool:
    """Every promise of every class kept, nobody turned away, no backlog that grows."""
    if run.stopped or saturated(run):
        return False
    return all(found.met for found in summarise(run, trial.slos).values())


def open_capacity(trial: Trial, drawn: Requests, above: float = 0.0) -> Capacity:
    """Requests per second of one replica; 0 when it does not reach `above`, a rate that another candidate offers."""
    demand = trial.load.demand or 1.0
    bound = capacity_bound(trial.replica, drawn, trial.candidate.role)
    if above >= bound:
        return Capacity(0.0, "another candidate carries more than its bound", unseen=True)

    def try_at(rate: float) -> Run | None:
        run = observe(trial, at_rate(drawn, demand, rate), stop=True)
        return run if holds(trial, run) else None

    if above:
        floor = above * (1 + PRECISION)
        held = try_at(floor)
        return _bisect(try_at, floor, bound, held) if held else Capacity(0.0, "another candidate carries more")
    floor = LEAST * bound
    alone = observe(trial, at_rate(drawn, demand, floor))
    if not holds(trial, alone):
        return Capacity(0.0, broken_promise(trial, alone))
    return _bisect(try_at, floor, bound, alone)


def _bisect(try_at: Callable[[float], Run | None], low: float, high: float, held: Run) -> Capacity:
    """Largest rate that holds between `low`, which does, and `high`, a bound; the ratio of the bracket is halved."""
    while high / low > 1 + PRECISION:
        middle = float(np.sqrt(low * high))
        run = try_at(middle)
        if run is None:
            high = middle
        else:
            low, held = middle, run
    return Capacity(low, run=held)


def closed_capacity(trial: Trial, drawn: Requests) -> Capacity:
    """Requests in flight that one replica carries, at most all of them."""
    low, high, held = 0, int(trial.load.demand or 1), None
    while low < high:
        middle = (low + high + 1) // 2
        run = observe(trial, replace(drawn, concurrency=middle))
        if all(found.met for found in summarise(run, trial.slos).values()):
            low, held = middle, run
        else:
            high = middle - 1
    if held is None:
        return Capacity(0.0, broken_promise(trial, observe(trial, replace(drawn, concurrency=1))))
    return Capacity(float(low), run=held)


def job_capacity(trial: Trial, drawn: Requests) -> Capacity:
    """Requests per second at which one replica's part of the job ends by the deadline (without one: at which it works).

    Time is nearly affine in the size of the part; two parts give the line and the line the size that fits. The whole
    plan is simulated with the whole job before it is believed.
    """
    deadline, few, many = trial.load.offered[0].deadline_s, *(min(len(drawn), n) for n in JOB_PARTS)
    run = observe(trial, first(drawn, many))
    if any(not found.met for found in summarise(run, trial.slos).values()):
        return Capacity(0.0, broken_promise(trial, observe(trial, first(drawn, 1))))
    short_s = observe(trial, first(drawn, few)).end_s if few < many else 0.0
    slope_s = (run.end_s - short_s) / max(many - few, 1) if few < many else run.end_s / many
    if deadline is None:
        return Capacity(1 / slope_s, run=run)
    size = int(few + (deadline - short_s) / slope_s)
    if size < 1:
        return Capacity(0.0, f"one replica cannot finish a single request within {deadline:g} s")
    return Capacity(size / deadline, run=run)


def first(drawn: Requests, n: int) -> Requests:
    """The first n of them."""
    return replace(
        drawn, arrival_s=drawn.arrival_s[:n], input_tokens=drawn.input_tokens[:n], output_tokens=drawn.output_tokens[:n],
        class_index=drawn.class_index[:n],
    )  # fmt: skip


def broken_promise(trial: Trial, run: Run) -> str:
    """Which promise breaks worst in a run without much load, in words; a floor of this candidate."""
    found = summarise(run, trial.slos).items()
    worst = max((row for name, one in found for row in _broken(trial, name, one)), default=None)
    return worst[1] if worst else "requests are turned away: they do not fit into its memory or context"


def _broken(trial: Trial, name: str, found: ClassSummary) -> list[tuple[float, str]]:
    rows = []
    for metric, statistic, limit in trial.slos[name].targets:
        value = found.metrics[metric].values_s.get(statistic, 0.0)
        if value > limit:
            rows.append(
                (
                    value / limit,
                    f"{metric} {statistic} of {name} is {value:.4g} s even without load, the limit is {limit:g} s",
                )
            )
    if found.attainment is not None and found.attainment < trial.slos[name].attainment:
        rows.append((1.0, f"only {found.attainment:.1%} of {name} meet their limits even without load"))
    return rows


def board_watts(trial: Trial, run: Run) -> tuple[float, float]:
    """(accelerators' watts, share of time busy) of one replica over a run of it."""
    work = run.pools[POOL].work
    energy = joules(work, trial.model, trial.pool(1), trial.hardware)
    return energy.gpu_w, min(1.0, work.busy_s / work.span_s) if work.span_s else 0.0


def resting_watts(trial: Trial) -> float:
    """Watts of one replica's accelerators with the model loaded and nothing to do."""
    return trial.candidate.gpus * idle_w(trial.hardware.accelerator, loaded=True)
