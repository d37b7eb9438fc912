"""Round robin: each replica of the pool in turn. Blind to load."""

from __future__ import annotations

from planner.sim.state import State


def round_robin(s: State, p: int, i: int) -> int:
    turn = s.pool.turn[p]
    s.pool.turn[p] = (turn + 1) % s.pool.replicas[p]
    return int(s.pool.first[p] + turn)
