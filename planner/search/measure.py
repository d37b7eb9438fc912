"""Measure: how much of a load one replica of a candidate carries at its promises, by simulation. Not which to measure.

All probes of a load see the same requests, only sooner or later, so a pool that holds at a rate holds at lower ones and
`planner.sim.border` finds the largest rate. What is returned has been seen to hold; what fails above it is within
PRECISION.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.perf.energy import idle_w, joules
from planner.search.bounds import capacity_bound, least_tpot_s, least_ttft_s, promised_bound
from planner.search.demand import Load
from planner.search.fluid import fluid_rate
from planner.search.probe import POOL, Trial
from planner.sim import capacity, verdict
from planner.sim.border import Outcome, Search, border
from planner.sim.capacity import LENIENCE
from planner.sim.metrics import LEVELS, ClassSummary, quantile, summarise
from planner.sim.simulate import Run, simulate
from planner.sim.verdict import AMPLE
from planner.spec.requests import Requests
from planner.spec.slo import Metric, Slo

PRECISION = 0.01
"""Relative width of the last bracket of a capacity."""
WARMUP = 0.1
"""Share of the first requests that no statistic counts: they meet an empty system."""
LEAST = 0.02
"""Share of the bound at which requests hardly meet each other; what fails there fails at any rate."""
JOB_PARTS = (1000, 3000)
"""Requests of the two parts of a job from which its pace is read."""
LONGER = 4
"""A probe is run only if one with this many times fewer requests, but no fewer than asked for, broke no promise."""
TURNOVERS = 5
"""A probe lasts for at least this many times the requests in flight, else it ends before the pool is full."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """amount: in the unit of the load's demand; 0 with a reason: too little, or promises that break without load.

    run: at that amount. unseen: nothing had to be simulated.
    """

    amount: float
    reason: str = ""
    run: Run | None = None
    unseen: bool = False


Floats = NDArray[np.float64]


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
        return self._drawn.first(n)

    def whole(self) -> Requests:
        """A job, all of it."""
        return self._load.draw(seed=self._seed)


def probe_size(trial: Trial, drawn: Requests) -> int:
    """Requests of a probe: those given, or more, until the pool fills and turns over."""
    return max(len(drawn), TURNOVERS * in_flight(trial, drawn))


def in_flight(trial: Trial, drawn: Requests) -> int:
    """Most requests that a replica serves at a time: its seats, or its bound times the longest stay allowed."""
    prefills = trial.candidate.role == "prefill"
    limits = [limit for slo in trial.slos.values() for limit in _limits(slo, "ttft" if prefills else "tpot")]
    if not limits:
        return trial.replica.max_seqs
    stay_s = max(limits) * (1.0 if prefills else float(drawn.output_tokens.mean()))
    return min(trial.replica.max_seqs, int(capacity_bound(trial.replica, drawn, trial.candidate.role) * stay_s))


def _limits(slo: Slo, metric: Metric) -> list[float]:
    stated = [limit for name, _, limit in slo.targets if name == metric]
    return [*stated, slo.per_request[metric]] if metric in slo.per_request else stated


def at_rate(drawn: Requests, load_demand: float, rate: float) -> Requests:
    """The same requests at another rate."""
    return replace(drawn, arrival_s=drawn.arrival_s * (load_demand / rate))


def measure(t: Trial, draws: Draws, least: int, above: float = 0.0) -> Capacity:
    """Capacity of one replica by the kind of its load."""
    if t.load.kind == "open":
        few = draws.first(least)
        return open_capacity(t, draws.first(probe_size(t, few)), above, few)
    return job_capacity(t, draws.whole()) if t.load.kind == "job" else closed_capacity(t, draws.first(least))


def observe(trial: Trial, requests: Requests, replicas: int = 1, *, stop: bool = False) -> Run:
    """The trial under these requests; with `stop` it ends as soon as a promise is broken beyond repair."""
    rules = capacity.breaking_points(requests, trial.slos, WARMUP) if stop else None
    return simulate(trial.deployment(replicas), trial.replicas, trial.requests(requests), warmup=WARMUP, rules=rules)


def holds(trial: Trial, run: Run) -> bool:
    """Every promise that this pool can keep alone is kept."""
    return verdict.holds(run, trial.slos)


def open_capacity(trial: Trial, drawn: Requests, above: float = 0.0, few: Requests | None = None) -> Capacity:
    """Requests per second of one replica; 0 when it does not reach `above`, a rate that another candidate offers.

    few: the first requests, as many as say something; who breaks promises to them at `above` need not show it with all.
    They come to an empty system and nobody comes after them, so none of them waits longer than in the whole run.
    """
    parts = (trial.replica, drawn, trial.candidate.role)
    bound = capacity_bound(*parts)
    if above and above * (1 + PRECISION) >= min(bound, promised_bound(*parts, trial.slos)):
        return Capacity(0.0, "another candidate carries more than its bound", unseen=True)

    floors = lone(trial, drawn)
    if words := impossible(floors):
        return Capacity(0.0, words, unseen=True)
    floor = above * (1 + PRECISION) or LEAST * bound
    shorter = _shorter(drawn, len(few)) if above and few is not None else ()
    if any(not holds(trial, _offered(trial, short, floor)) for short in shorter):
        return Capacity(0.0, "another candidate carries more")
    guess = floor if above else min(max(fluid_rate(*parts, trial.slos), floor), bound / 2)
    rest = min((one.limit / one.value for one in floors if one.value), default=AMPLE)
    tries = capacity.Tries(probe_of(trial, drawn))

    def try_at(rate: float) -> Outcome:
        """At the floor only the verdict counts."""
        lenience = LENIENCE if rate > floor else 1
        return tries.at(at_rate(drawn, trial.load.demand or 1.0, rate).arrival_s, lenience=lenience)

    found = border(try_at, Search(guess, PRECISION, bound, floor, rest))
    if found.run is not None:
        return Capacity(found.low, run=found.run)
    if above:
        return Capacity(0.0, "another candidate carries more")
    return Capacity(0.0, broken_promise(trial, _offered(trial, drawn, floor)))


def _shorter(drawn: Requests, few: int) -> Iterator[Requests]:
    """The beginnings of a long probe, each LONGER times as long as the one before."""
    while LONGER * few <= 2 * len(drawn):
        yield drawn.first(few)
        few *= LONGER


def _offered(trial: Trial, drawn: Requests, rate: float) -> Run:
    return observe(trial, at_rate(drawn, trial.load.demand or 1.0, rate), stop=True)


def probe_of(trial: Trial, drawn: Requests) -> capacity.Probe:
    """The trial as what a search for its capacity probes."""
    return capacity.Probe(trial.deployment(), trial.replicas, trial.requests(drawn), trial.slos, WARMUP)


def closed_capacity(trial: Trial, drawn: Requests) -> Capacity:
    """Requests in flight that one replica carries, at most all of them."""
    if words := impossible(lone(trial, drawn)):
        return Capacity(0.0, words, unseen=True)
    found = capacity.max_concurrency(probe_of(trial, drawn), most=int(trial.load.demand or 1))
    if found.run is None:
        return Capacity(0.0, broken_promise(trial, observe(trial, replace(drawn, concurrency=1))))
    return Capacity(found.holds, run=found.run)


def job_capacity(trial: Trial, drawn: Requests) -> Capacity:
    """Requests per second at which one replica's part of the job ends by the deadline (without one: at which it works).

    Time is nearly affine in the size of the part; two parts give the line and the line the size that fits. The whole
    plan is simulated with the whole job before it is believed.
    """
    deadline, few, many = trial.load.offered[0].deadline_s, *(min(len(drawn), n) for n in JOB_PARTS)
    run = observe(trial, drawn.first(many))
    if any(not found.met for found in summarise(run, trial.slos).values()):
        return Capacity(0.0, broken_promise(trial, observe(trial, drawn.first(1))))
    short_s = observe(trial, drawn.first(few)).end_s if few < many else 0.0
    slope_s = (run.end_s - short_s) / max(many - few, 1) if few < many else run.end_s / many
    if deadline is None:
        return Capacity(1 / slope_s, run=run)
    size = int(few + (deadline - short_s) / slope_s)
    if size < 1:
        return Capacity(0.0, f"one replica cannot finish a single request within {deadline:g} s")
    return Capacity(size / deadline, run=run)


@dataclass(frozen=True, slots=True)
class Lone:
    """The least that a promised statistic can be: its value if no request ever met another. Seconds."""

    class_name: str
    metric: Metric
    statistic: str
    value: float
    limit: float


def impossible(floors: Sequence[Lone]) -> str:
    """A promise that breaks even if no request ever meets another, in words; empty when all could be kept."""
    broken = (one for one in floors if one.value > one.limit)
    return next((_too_slow(one.metric, one.statistic, one.class_name, one.value, one.limit) for one in broken), "")


def lone(trial: Trial, drawn: Requests) -> tuple[Lone, ...]:
    """Floors of all promises on TTFT and TPOT."""
    seen = trial.requests(drawn)
    least = {"ttft": least_ttft_s(trial.replica, seen), "tpot": least_tpot_s(trial.replica, seen)}
    found = []
    for number, name in enumerate(seen.class_names):
        for metric, statistic, limit in trial.slos[name].targets:
            if metric in least:
                values = least[metric][seen.class_index == number]
                value = _statistic(values[~np.isnan(values)], statistic)
                found.append(Lone(name, metric, statistic, value, limit))
    return tuple(found)


def _statistic(values: Floats, name: str) -> float:
    if not len(values):
        return 0.0
    return float(values.mean()) if name == "mean" else quantile(np.sort(values), LEVELS[name])


def _too_slow(metric: str, statistic: str, name: str, value: float, limit: float) -> str:
    return f"{metric} {statistic} of {name} is {value:.4g} s even without load, the limit is {limit:g} s"


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
            rows.append((value / limit, _too_slow(metric, statistic, name, value, limit)))
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
