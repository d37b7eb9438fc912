"""What schedulers share: filling a batch, and letting running requests decode at the expense of later ones."""

from __future__ import annotations

from planner.sim.kvcache import blocks_of, grow, holds, preempt
from planner.sim.state import State


def add(s: State, r: int, slot: int, n: int, i: int, tokens: int) -> int:
    """Put request i at place n of the batch with `tokens` prompt tokens, or 0 for one decode token; n + 1."""
    seat = s.batch[r, slot, n]
    seat.request, seat.tokens = i, tokens
    return n + 1


def decode_share(s: State, r: int) -> int:
    """Most decodes in one micro-batch: an even share of the running list, so that every pipeline stage has work."""
    stages = s.pool[s.replica[r].pool].stages
    return int((s.replica[r].running + stages - 1) // stages)


def make_room(s: State, r: int, k: int, tokens: int) -> bool:
    """Give the k-th running request blocks for `tokens` tokens, preempting from the end of the running list.

    False when it got none: it was preempted itself, or the last one is in another micro-batch.
    """
    replica, i = s.replica[r], s.running[r, k]
    if holds(s.pool[replica.pool], s.request[i], tokens):
        return True
    while not grow(replica, s.request[i], blocks_of(s.pool[replica.pool], tokens)):
        last = s.running[r, replica.running - 1]
        if s.request[last].in_flight:
            return False
        replica.running -= 1
        preempt(s, r, last)
        if last == i:
            return False
    return True
