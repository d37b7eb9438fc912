"""Pools by period, read from the log of a run: how busy their replicas were, with what. Classes are in `metrics`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.sim.simulate import Run
from planner.spec.deployment import Deployment

FLIGHTS_PER_REQUEST, MOST_FLIGHTS = 60, 3_000_000
"""Room in a log from which periods are read; what a full one does not hold is not told."""


@dataclass(frozen=True, slots=True)
class PoolPeriod:
    """A pool in one period. Shares are of the time of all its replicas; batch: decodes per step.

    longest_queue: most requests that waited at one replica at the end of a step.
    """

    utilisation: float
    utilisation_by_prefill: float
    batch: float
    longest_queue: int


def room(requests: int) -> int:
    """Rows of a log that so many requests may fill."""
    return min(FLIGHTS_PER_REQUEST * requests, MOST_FLIGHTS)


def pools_by_period(run: Run, deployment: Deployment, period_s: float) -> dict[str, tuple[PoolPeriod, ...]]:
    """Every pool in each period [k period_s, (k + 1) period_s) that the run reached and the log holds whole.

    Flights that are steps taken together are spread evenly over their time; the last period may be cut by the end.
    """
    made = sum(run.pools[pool.name].work.steps for pool in deployment.pools)
    complete = int(run.log["steps"].sum()) == made
    periods = int(np.ceil(run.end_s / period_s) if complete else _told_s(run.log, deployment) // period_s)
    found, first = {}, 0
    for pool in deployment.places:
        mine = run.log[(run.log["replica"] >= first) & (run.log["replica"] < first + pool.replicas)]
        if pool in deployment.pools:
            found[pool.name] = tuple(_periods(mine, pool.replicas, period_s, periods))
        first += pool.replicas
    return found


def _told_s(log: NDArray[Any], deployment: Deployment) -> float:
    """Until when a log that ended too soon tells of every replica: what was in progress then is not in it."""
    replicas = sum(pool.replicas for pool in deployment.pools)
    return float(min(log["end_s"][log["replica"] == r].max(initial=0.0) for r in range(replicas)))


def _periods(flights: NDArray[Any], replicas: int, period_s: float, periods: int) -> Iterator[PoolPeriod]:
    flights = flights[np.argsort(flights["replica"], kind="stable")]
    starts, ends = busy_spans(flights)
    length = np.maximum(ends - starts, 1e-12)
    for k in range(periods):
        inside = np.clip(np.minimum(ends, (k + 1) * period_s) - np.maximum(starts, k * period_s), 0.0, None)
        share = inside / length
        steps = float((share * flights["steps"]).sum())
        decodes = float((share * flights["steps"] * flights["decodes"]).sum())
        ended = (flights["end_s"] >= k * period_s) & (flights["end_s"] < (k + 1) * period_s)
        there_s = replicas * period_s
        yield PoolPeriod(
            utilisation=float(inside.sum()) / there_s,
            utilisation_by_prefill=float(inside[flights["chunks"] > 0].sum()) / there_s,
            batch=decodes / steps if steps else 0.0,
            longest_queue=int(flights["waiting"][ended].max(initial=0)),
        )


def busy_spans(flights: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(from, to) of each flight without the time that an earlier one of its replica was in progress too."""
    ends = flights["end_s"]
    same = np.append(False, flights["replica"][1:] == flights["replica"][:-1])
    before = np.where(same, np.append(0.0, ends[:-1]), 0.0)
    return np.minimum(np.maximum(flights["start_s"], before), ends), ends
