"""Least outstanding: the replica with the fewest requests queued or running; ties go to the lowest number."""

from __future__ import annotations

from planner.sim.state import State


def least_outstanding(s: State, p: int, i: int) -> int:
    best = s.pool[p].first
    for r in range(best + 1, s.pool[p].first + s.pool[p].replicas):
        if s.replica[r].outstanding < s.replica[best].outstanding:
            best = r
    return int(best)
