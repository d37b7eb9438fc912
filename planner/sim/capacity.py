"""How much load a deployment carries at its SLOs: the largest rate, or the most requests in flight. Not which to buy.

All probes see the same requests, only sooner or later (common random numbers), so what holds at a rate holds at lower
ones, up to the noise of scheduling, and `planner.sim.border` finds where they begin to break. What is returned has been
seen to hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.sim.again import Again
from planner.sim.border import REACH, Outcome, Search, border
from planner.sim.metrics import LEVELS, meets
from planner.sim.simulate import Run
from planner.sim.state import RULE
from planner.sim.verdict import judge
from planner.spec.deployment import Deployment
from planner.spec.requests import Requests
from planner.spec.slo import METRICS, Slo
from planner.spec.step import Replica
from planner.units import render

LENIENCE = 2
"""How much longer than until it is lost a probe may go on to say how nearly it held."""
BATCHES, STUDENT_T = 20, 1.729
"""Batches of a run for an error bar, and the 95 % quantile of Student's t with 19 degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """holds: largest load seen to hold, 0 = none. breaks: smallest seen to break, inf = none. run: at `holds`."""

    holds: float
    breaks: float
    probes: int
    run: Run | None

    @classmethod
    def of(cls, search: Search) -> Capacity:
        """What a search has found."""
        breaks = search.high if search.broken else math.inf
        return cls(search.low, breaks, search.probes, search.run)

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
        return Tries(self).at(self.requests.arrival_s / scale, lenience=1).run

    def at_concurrency(self, in_flight: float) -> Run | None:
        """The run with always this many requests in flight if every SLO holds; arrival times are ignored."""
        return Tries(self).at(np.zeros(len(self.requests)), int(in_flight), lenience=1).run


class Tries:
    """Tries a probe at one load after the other; what they have in common is built once."""

    def __init__(self, probe: Probe):
        rules = breaking_points(probe.requests, probe.slos, probe.warmup)
        fixed = (probe.deployment, probe.replicas, probe.requests)
        self._again = Again(*fixed, seed=probe.seed, warmup=probe.warmup, rules=rules)
        self._slos = probe.slos

    def at(self, arrival_s: NDArray[np.float64], concurrency: int = 0, lenience: int = LENIENCE) -> Outcome:
        """What the requests show when they arrive at these times, or so many of them are always in flight.

        A run that is lost is ended, but only when it breaks a rule `lenience` times as often as allowed: one that is
        lost narrowly goes on and says by how much.
        """
        again = self._again
        again.serve(arrival_s, concurrency, lenience)
        served = 1.0 if concurrency else again.share_served()
        if again.stopped:
            return Outcome(None, again.share_seen(), whole=False, served=served)
        run = again.run()
        verdict = judge(run, self._slos)
        return Outcome(run if verdict.held else None, verdict.slack, served=served)


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
    tries = Tries(probe)
    guess = min(guess, limit)
    search = Search(guess, tolerance, limit, guess / REACH)
    return Capacity.of(border(lambda scale: tries.at(probe.requests.arrival_s / scale), search))


def max_concurrency(probe: Probe, *, most: int) -> Capacity:
    """Most requests in flight, up to `most`, at which the SLOs hold."""
    tries, at_once = Tries(probe), np.zeros(len(probe.requests))
    search = Search(float(most), 1 / most, most + 1.0, 1.0)
    while search.high - search.low > 1:
        in_flight = min(max(round(search.next()), int(search.low) + 1), int(search.high) - 1)
        search.saw(float(in_flight), tries.at(at_once, in_flight))
    return Capacity.of(search)


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
