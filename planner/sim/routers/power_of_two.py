"""Power of two choices (Mitzenmacher 2001): of two replicas drawn at random, the one with less outstanding."""

from __future__ import annotations

from planner.sim.routers.random_choice import drawn
from planner.sim.state import State


def power_of_two(s: State, p: int, i: int) -> int:
    n = s.pool[p].replicas
    one = drawn(s.request[i].draw_a, n)
    if n == 1:
        return int(s.pool[p].first)
    other = (one + 1 + drawn(s.request[i].draw_b, n - 1)) % n
    first = s.pool[p].first
    if s.replica[first + other].outstanding < s.replica[first + one].outstanding:
        one = other
    return int(first + one)
