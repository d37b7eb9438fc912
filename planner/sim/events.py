"""The next event of many actors: a winner tree over their times. Not what the events do.

Actors in order, so that ties go to the lower number: arrivals per pool, transfers per replica, completions per replica,
batch formation per replica. So a batch that is formed at t sees everything else that happened at t.
"""

from __future__ import annotations

import math

from planner.sim.state import State


def set_event(s: State, actor: int, time_s: float) -> None:
    """The next event of `actor` is at time_s (math.inf = none)."""
    when, winner = s.event.time_s, s.event.winner
    when[actor] = time_s
    node = (winner.shape[0] // 2 + actor) // 2
    while node >= 1:
        left, right = winner[2 * node], winner[2 * node + 1]
        winner[node] = left if when[left] <= when[right] else right
        node //= 2


def wake(s: State, r: int, now: float) -> None:
    """Let replica r form a batch as soon as its first pipeline stage is free, if it may have one more in flight."""
    if s.replica[r].flights < s.pool[s.replica[r].pool].stages:
        set_event(s, s.replica[r].formation_actor, max(now, s.stage_free_s[r, 0]))


def sleep(s: State, r: int) -> None:
    """Replica r forms no batch until it is woken."""
    set_event(s, s.replica[r].formation_actor, math.inf)
