"""The next event of many actors: a winner tree over their times. Not what the events do.

Actors in order, so that ties go to the lower number: arrivals per pool, tasks that are due, transfers per replica,
completions per replica, batch formation per replica. So a batch that is formed at t sees everything else that happened
at t.
"""

from __future__ import annotations

from planner.sim.state import State


def set_event(s: State, actor: int, time_s: float) -> None:
    """The next event of `actor` is at time_s (math.inf = none)."""
    event = s.event
    event[actor].time_s = time_s
    node = (event.shape[0] // 2 + actor) // 2
    while node >= 1:
        left, right = event[2 * node].winner, event[2 * node + 1].winner
        event[node].winner = left if event[left].time_s <= event[right].time_s else right
        node //= 2


def wake(s: State, r: int, now: float) -> None:
    """Let replica r form a batch as soon as its first pipeline stage is free, if it may have one more in flight."""
    replica = s.replica[r]
    if replica.flights < s.pool[replica.pool].stages:
        set_event(s, replica.formation_actor, max(now, s.stage_free_s[r, 0]))
