"""Least KV: the replica that holds the fewest tokens, counting the prompts that wait; ties go to the lowest number."""

from __future__ import annotations

from planner.sim.flights import steps_until
from planner.sim.state import State


def least_kv(s: State, p: int, i: int) -> int:
    best, fewest = -1, 0
    for r in range(s.pool[p].first, s.pool[p].first + s.pool[p].replicas):
        tokens = held(s, r, s.clock[0].now_s)
        if best < 0 or tokens < fewest:
            best, fewest = r, tokens
    return int(best)


def held(s: State, r: int, now: float) -> int:
    """Tokens of who runs on replica r, what steps taken together have made so far included, and of who waits."""
    replica = s.replica[r]
    tokens = replica.waiting_tokens
    for c in range(s.pool[replica.pool].stages):
        tokens += s.crowd[r, c].context
    for k in range(replica.crowd, replica.running - replica.apart):
        tokens += s.request[s.running[r, k]].done
    if replica.flights > 0:
        flight = s.flight[r, replica.oldest]
        tokens += flight.decodes * (steps_until(flight, now) - 1)
    return int(tokens)
