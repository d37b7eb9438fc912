"""The next event of many actors: a winner tree over their times. Not what the events do.

Actors in order, so that ties go to the lower number: arrivals per pool, tasks that are due, transfers per replica,
completions per replica, batch formation per replica. So a batch that is formed at t sees everything else that happened
at t. Nearly every batch is formed at the end of the one before, with nothing between the two: one formation is kept
outside of the tree, which then need not be climbed for it.
"""

from __future__ import annotations

import math

from planner.sim.state import NOBODY, State


def set_event(s: State, actor: int, time_s: float) -> None:
    """The next event of `actor` is at time_s (math.inf = none)."""
    event = s.event
    node, winner, best_s = event.shape[0] // 2 + actor, actor, time_s
    event[node].time_s = time_s
    while node > 1:
        other = event[node ^ 1]
        if other.time_s < best_s or (other.time_s == best_s and node % 2 == 1):
            winner, best_s = other.winner, other.time_s
        node //= 2
        event[node].winner, event[node].time_s = winner, best_s


def next_actor(s: State) -> int:
    """Whose event is the next."""
    clock, first = s.clock[0], s.event[1]
    if clock.forming != NOBODY:
        actor = s.replica[clock.forming].formation_actor
        if clock.forming_s < first.time_s or (clock.forming_s == first.time_s and actor < first.winner):
            return int(actor)
    return int(first.winner)


def time_of(s: State, actor: int) -> float:
    """When the next event of `next_actor` is."""
    time_s = s.event[1].time_s
    return float(time_s if actor == s.event[1].winner else s.clock[0].forming_s)


def wake(s: State, r: int, now: float) -> None:
    """Let replica r form a batch as soon as its first pipeline stage is free, if it may have one more in flight."""
    replica, clock = s.replica[r], s.clock[0]
    if replica.flights < s.pool[replica.pool].stages:
        time_s = max(now, s.stage_free_s[r, 0])
        in_tree = s.event[s.event.shape[0] // 2 + replica.formation_actor].time_s < math.inf
        if in_tree or (clock.forming != NOBODY and clock.forming != r):
            set_event(s, replica.formation_actor, time_s)
        else:
            clock.forming, clock.forming_s = r, time_s


def forms(s: State, r: int) -> None:
    """Replica r forms its batch now: that event is over."""
    if s.clock[0].forming == r:
        s.clock[0].forming = NOBODY
    else:
        set_event(s, s.replica[r].formation_actor, math.inf)
