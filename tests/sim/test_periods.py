"""Pools by period: what the periods say adds up to what the whole run says, and bursts show where they are."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from planner.sim.periods import pools_by_period, room
from planner.sim.simulate import Run, simulate

PERIOD_S = 0.2


def two_bursts(world: Any, log: int | None = None, **changes: Any) -> Run:
    """60 requests at once at the start and again after 2 s."""
    n = 60
    arrivals = np.repeat([0.0, 2.0], n)
    requests = world.some_requests(arrivals, 400, np.arange(2 * n) % 90 + 10)
    replica = world.a_replica(max_seqs=8, **changes)
    size = room(2 * n) if log is None else log
    found: Run = simulate(world.one_pool(replicas=2), {"all": replica}, requests, log=size)
    return found


@pytest.mark.parametrize("stages", [1, 3])
def test_the_periods_add_up(world: Any, stages: int) -> None:
    run = two_bursts(world, stages=stages)
    periods = pools_by_period(run, world.one_pool(replicas=2), PERIOD_S)["all"]
    work = run.pools["all"].work
    assert len(periods) == int(np.ceil(run.end_s / PERIOD_S))
    assert sum(p.utilisation for p in periods) * PERIOD_S * 2 == pytest.approx(work.busy_s, rel=1e-9)
    assert sum(p.utilisation_by_prefill for p in periods) * PERIOD_S * 2 == pytest.approx(work.prefill_busy_s, rel=1e-9)
    assert all(0 <= p.utilisation <= 1 + 1e-12 for p in periods)


def test_a_burst_shows_where_it_is(world: Any) -> None:
    periods = pools_by_period(two_bursts(world), world.one_pool(replicas=2), PERIOD_S)["all"]
    assert periods[0].utilisation > 0.9
    assert periods[0].longest_queue > 10
    assert periods[0].batch > 4
    quiet = periods[7]
    assert (quiet.utilisation, quiet.batch, quiet.longest_queue) == (0.0, 0.0, 0)
    assert periods[10].longest_queue > 10


def test_a_full_log_tells_of_the_periods_that_it_holds(world: Any) -> None:
    whole = pools_by_period(two_bursts(world), world.one_pool(replicas=2), 0.02)["all"]
    short = pools_by_period(two_bursts(world, log=40), world.one_pool(replicas=2), 0.02)["all"]
    assert 0 < len(short) < len(whole)
    for one, other in zip(short, whole[: len(short)], strict=True):
        assert dataclasses.astuple(one) == pytest.approx(dataclasses.astuple(other), rel=1e-12)
