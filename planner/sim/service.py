"""Services: first come, first served by the servers of a replica (tools, retrieval, look-ups). Nothing is batched."""

from __future__ import annotations

from planner.sim.state import FINISHED, NOBODY, RUNNING, State, pop_front, tick
from planner.sim.tasks import ended, push_due


def serve(s: State, r: int, now: float) -> None:
    """Every idle server of replica r takes the next task of its queue."""
    replica = s.replica[r]
    spend(s, r, now)
    while replica.running < s.pool[replica.pool].servers and s.queue[r].length > 0:
        i = pop_front(s, r)
        s.request[i].state = RUNNING
        s.request[i].admitted_s = now
        replica.running += 1
        push_due(s, i, now + s.task[i].service_s)


def served(s: State, i: int, now: float) -> None:
    """Task i, a delay or in service, has ended."""
    request = s.request[i]
    request.finish_s = now
    request.state = FINISHED
    s.clock[0].finished += 1
    r = request.replica
    if r != NOBODY:
        tick(s, r, now)
        spend(s, r, now)
        s.replica[r].running -= 1
        s.replica[r].outstanding -= 1
        s.replica[r].steps += 1
        serve(s, r, now)
    ended(s, i, now)


def spend(s: State, r: int, now: float) -> None:
    """Count the time of busy servers up to now, as a share of all servers of the replica."""
    replica = s.replica[r]
    replica.busy_s += (now - replica.busy_until_s) * replica.running / s.pool[replica.pool].servers
    replica.busy_until_s = now
