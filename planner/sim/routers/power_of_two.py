"""Power of two choices (Mitzenmacher 2001): of two different replicas drawn at random, the one with less outstanding."""

from __future__ import annotations

from planner.sim.routers.random_choice import drawn
from planner.sim.state import State


def power_of_two(s: State, p: int, i: int) -> int:
    n = s.pool.replicas[p]
    one = drawn(s.request.draw_a[i], n)
    if n == 1:
        return int(s.pool.first[p])
    other = (one + 1 + drawn(s.request.draw_b[i], n - 1)) % n
    first = s.pool.first[p]
    if s.replica.outstanding[first + other] < s.replica.outstanding[first + one]:
        one = other
    return int(first + one)
