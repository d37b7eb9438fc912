"""Round robin: each replica of the pool in turn. Blind to load."""

from __future__ import annotations

from planner.sim.state import State


def round_robin(s: State, p: int, i: int) -> int:
    turn = s.pool[p].turn
    s.pool[p].turn = (turn + 1) % s.pool[p].replicas
    return int(s.pool[p].first + turn)
