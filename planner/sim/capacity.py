"""How much load a deployment carries at its SLOs: the largest rate, or the most requests in flight. Not which to buy.

All probes see the same requests, only sooner or later (common random numbers), so what holds at a rate holds at lower
ones, up to the noise of scheduling, and bisection finds the border. What is returned has been seen to hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.sim.metrics import LEVELS, meets, saturated, summarise
from planner.sim.simulate import Run, simulate
from planner.sim.state import RULE
from planner.spec.deployment import Deployment
from planner.spec.requests import Requests
from planner.spec.slo import METRICS, Slo
from planner.spec.step import Replica
from planner.units import render

REACH = 2.0**40
"""Rates this many times above or below the first guess are not looked for."""
BATCHES, STUDENT_T = 20, 1.729
"""Batches of a run for an error bar, and the 95 % quantile of Student's t with 19 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """holds: largest load seen to hold, 0 = none. breaks: smallest seen to break, inf = none. run: at `holds`."""

    holds: float
    breaks: float
    probes: int
    run: Run | None

    @property
    def bracket(self) -> float:
        """Relative width of what the search leaves open; inf when nothing broke."""
        return self.breaks / self.holds - 1 if self.holds else math.inf


@dataclass(frozen=True, slots=True)
class Margin:
    """How surely a promise holds: share of requests within the limit, its 90 % half-width, and the share it needs.

    The half-width is from means of consecutive batches, because neighbours wait together; nan with few requests.
    """

    class_name: str
    metric: str
    kept: float
    error: float
    needed: float

    @property
    def sure(self) -> bool:
        """Whether another draw of the traffic would say the same, nine times in ten."""
        return self.kept - self.error > self.needed


@dataclass(frozen=True, slots=True)
class Probe:
    """A deployment under trial. warmup: share of the first requests that no statistic counts."""

    deployment: Deployment
    replicas: Mapping[str, Replica]
    requests: Requests
    slos: Mapping[str, Slo]
    warmup: float = 0.0
    seed: int = 0

    def at_rate(self, scale: float) -> Run | None:
        """The run with arrivals `scale` times as fast if every SLO holds, else None."""
        return self._held(replace(self.requests, arrival_s=self.requests.arrival_s / scale))

    def at_concurrency(self, in_flight: float) -> Run | None:
        """The run with always this many requests in flight if every SLO holds; arrival times are ignored."""
        at_once = np.zeros(len(self.requests))
        return self._held(replace(self.requests, arrival_s=at_once, concurrency=int(in_flight)))

    def _held(self, requests: Requests) -> Run | None:
        rules = breaking_points(requests, self.slos, self.warmup)
        fixed = (self.deployment, self.replicas, requests)
        run = simulate(*fixed, seed=self.seed, warmup=self.warmup, rules=rules)
        return run if holds(run, self.slos) else None


def holds(run: Run, slos: Mapping[str, Slo]) -> bool:
    """Every SLO of every class is met, nobody was refused, and the backlog does not grow."""
    if run.stopped or saturated(run):
        return False
    return all(found.met for found in summarise(run, slos).values())


def margins(run: Run, slos: Mapping[str, Slo]) -> tuple[Margin, ...]:
    """Each promise on a quantile, and each attainment, as the share of requests that keep it in a run.

    At the border of a capacity the share is just what is needed; its error says how far the border itself may move.
    """
    found = []
    for number, name in enumerate(run.class_names):
        counted, slo = run.measured & (run.class_index == number), slos.get(name, Slo())
        for metric, statistic, limit_s in slo.targets:
            if metric != "itl" and statistic in LEVELS:
                one = Slo.model_validate({metric: render(limit_s, "time")})
                found.append(_margin(name, f"{metric} {statistic}", meets(run, one)[counted], LEVELS[statistic]))
        if slo.per_request:
            found.append(_margin(name, "attainment", meets(run, slo)[counted], slo.attainment))
    return tuple(found)


def _margin(name: str, metric: str, kept: NDArray[np.bool_], needed: float) -> Margin:
    if len(kept) < 10 * BATCHES:
        return Margin(name, metric, float(kept.mean()) if len(kept) else 0.0, math.nan, needed)
    means = kept[: len(kept) // BATCHES * BATCHES].reshape(BATCHES, -1).mean(axis=1)
    return Margin(name, metric, float(kept.mean()), float(STUDENT_T * means.std(ddof=1) / math.sqrt(BATCHES)), needed)


def max_rate(probe: Probe, *, guess: float = 1.0, tolerance: float = 0.01, limit: float = math.inf) -> Capacity:
    """Largest factor on the arrival rate at which the SLOs hold, to a relative tolerance.

    guess: where to start; a good one (a bound from `planner.perf`, a neighbour's answer) saves probes. limit: an upper
    bound that need not be tried. The same probe gives the same answer.
    """
    return border(probe.at_rate, guess=min(guess, limit), tolerance=tolerance, limit=limit)


def max_concurrency(probe: Probe, *, most: int) -> Capacity:
    """Most requests in flight, up to `most`, at which the SLOs hold."""
    low, high, probes = 0, most + 1, 0
    held: Run | None = None
    while high - low > 1:
        middle = most if probes == 0 else (low + high) // 2
        probes += 1
        run = probe.at_concurrency(middle)
        low, high, held = (middle, high, run) if run else (low, middle, held)
    return Capacity(low, math.inf if low == most else high, probes, held)


def border(
    attempt: Callable[[float], Run | None], *, guess: float, tolerance: float, limit: float = math.inf
) -> Capacity:
    """Bracket by doubling or halving from `guess`, then halve the bracket's ratio until it is 1 + tolerance."""
    low, high, probes = 0.0, limit, 0
    held: Run | None = None
    while high / low > 1 + tolerance if low else high > guess / REACH:
        load = _next(low, high, guess, limit)
        if load > guess * REACH:
            break
        probes += 1
        run = attempt(load)
        low, high, held = (load, high, run) if run else (low, load, held)
    return Capacity(low, high if high < limit else math.inf, probes, held)


def _next(low: float, high: float, guess: float, limit: float) -> float:
    """The next load to try: the guess, then outwards by doubling, then the geometric middle."""
    if not low:
        return guess if high == limit else high / 2
    if high == math.inf:
        return 2 * low
    return math.sqrt(low * high)


def breaking_points(requests: Requests, slos: Mapping[str, Slo], warmup: float = 0.0) -> NDArray[Any]:
    """Rules for `simulate`: how many requests may miss a limit before its quantile or attainment surely breaks.

    The type 7 quantile at level q of n values lies above a limit for certain when more than n - 1 - floor((n - 1) q)
    values do. Means and gaps between tokens have no such count and are judged at the end.
    """
    if requests.tasks is not None:  # rules count requests, and a promise here is one to a turn
        return np.zeros(0, RULE)
    counted = requests.class_index[int(warmup * len(requests)) :]
    rows = []
    for number, name in enumerate(requests.class_names):
        n, slo = int((counted == number).sum()), slos.get(name, Slo())
        for metric, statistic, limit_s in slo.targets:
            if metric != "itl" and statistic in LEVELS:
                rows.append(_rule(number, {metric: limit_s}, n - 1 - int((n - 1) * LEVELS[statistic])))
        if slo.per_request:
            rows.append(_rule(number, dict(slo.per_request), int(n * (1 - slo.attainment) + 1e-9)))
    return np.array(rows, RULE)


def _rule(number: int, limits_s: Mapping[Any, float], allowed: int) -> tuple[float, ...]:
    ttft_s, tpot_s, itl_s, e2e_s = (limits_s.get(metric, math.inf) for metric in METRICS)
    return (number, ttft_s, tpot_s, itl_s, e2e_s, max(allowed, 0), 0)
