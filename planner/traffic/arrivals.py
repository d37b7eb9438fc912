"""Arrival times of an open loop: unit-rate gaps stretched by the rate and its profile. Not closed loops, not traces.

Gaps are drawn at unit rate, so that one set of gaps serves every rate (common random numbers; Law, Simulation
Modeling and Analysis, section 11.2): the k-th request is the same request at any rate, only earlier or later.
"""

from __future__ import annotations

import numpy as np

from planner.errors import BadInput, Problem
from planner.spec.requests import Floats
from planner.spec.workload import Arrivals


def unit_gaps(random: np.random.Generator, cv: float, n: int) -> Floats:
    """Gaps [n] with mean 1: exponential for cv 1, else gamma with that coefficient of variation."""
    if cv == 1.0:
        return random.standard_exponential(n)
    return random.standard_gamma(1.0 / (cv * cv), n) * (cv * cv)


def open_loop(arrivals: Arrivals, gaps: Floats, rate_scale: float) -> Floats:
    """Arrival times [n], seconds. With a profile the clock runs through the integral of the rate, step by step."""
    assert arrivals.rate_per_s is not None  # only open loops come here
    work = np.cumsum(gaps)
    if not arrivals.profile:
        return work / arrivals.rate_per_s / rate_scale
    rates_per_s = np.asarray(arrivals.profile) * (arrivals.rate_per_s * rate_scale)
    return _through_profile(work, rates_per_s, arrivals.profile_step_s)


def _through_profile(work: Floats, rates_per_s: Floats, step_s: float) -> Floats:
    """Times at which the integral of a periodic piecewise-constant rate reaches `work` (Cinlar's inversion)."""
    edges = np.concatenate(([0.0], np.cumsum(rates_per_s * step_s)))
    rounds = np.floor(work / edges[-1])
    rest = work - rounds * edges[-1]
    last = int(np.flatnonzero(rates_per_s)[-1])
    step = np.clip(np.searchsorted(edges, rest, side="right") - 1, 0, last)
    within_s = np.clip((rest - edges[step]) / rates_per_s[step], 0.0, step_s)
    times: Floats = (rounds * len(rates_per_s) + step) * step_s + within_s
    return times


def mean_rate_per_s(arrivals: Arrivals) -> float:
    """Requests per second averaged over the profile; an open loop only."""
    assert arrivals.rate_per_s is not None
    return arrivals.rate_per_s * (float(np.mean(arrivals.profile)) if arrivals.profile else 1.0)


def peak_rate_per_s(arrivals: Arrivals) -> float:
    """Requests per second in the busiest step of the profile; an open loop only."""
    assert arrivals.rate_per_s is not None
    return arrivals.rate_per_s * max(arrivals.profile, default=1.0)


def require_positive_scale(rate_scale: float) -> None:
    """Refuse a rate scale that would stop or reverse time."""
    if not (0.0 < rate_scale < np.inf):
        raise BadInput(Problem(f"rate_scale must be positive, not {rate_scale!r}"))
