"""Least outstanding: the replica with the fewest requests queued or running; ties go to the lowest number."""

from __future__ import annotations

from planner.sim.state import State


def least_outstanding(s: State, p: int, i: int) -> int:
    best = s.pool.first[p]
    for r in range(best + 1, s.pool.first[p] + s.pool.replicas[p]):
        if s.replica.outstanding[r] < s.replica.outstanding[best]:
            best = r
    return int(best)
