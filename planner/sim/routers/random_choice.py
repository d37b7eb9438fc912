"""Random: a replica drawn uniformly, from the draws that the run's seed fixed beforehand."""

from __future__ import annotations

from planner.sim.state import State


def random_choice(s: State, p: int, i: int) -> int:
    return int(s.pool[p].first + drawn(s.request[i].draw_a, s.pool[p].replicas))


def drawn(draw: float, n: int) -> int:
    """0 .. n - 1 from a uniform draw in [0, 1)."""
    return int(min(int(draw * n), n - 1))
