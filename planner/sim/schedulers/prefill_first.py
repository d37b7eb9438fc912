"""Prefill first (vLLM v0): while a prompt fits a step computes prompts only, else decodes.

Prompts that exceed the token budget are cut to it and continue in the next prefill step. Blocks of the whole prompt are
reserved at admission. Decodes preempt from the end of the running list, which is in order of arrival.
"""

from __future__ import annotations

from planner.sim.schedulers.batch import add, decode_share, enter_in_order, make_room
from planner.sim.state import State


def prefill_first(s: State, r: int, slot: int, now: float) -> int:
    """Fill the batch; the number of requests in it."""
    n, budget = unfinished_prompts(s, r, slot, s.pool[s.replica[r].pool].max_tokens)
    n = enter_in_order(s, r, slot, n, budget, now)
    return n if n > 0 else decode_all(s, r, slot)


def unfinished_prompts(s: State, r: int, slot: int, budget: int) -> tuple[int, int]:
    """Next chunks of prompts already begun; how many, and the budget that is left."""
    n = 0
    for k in range(s.replica[r].running):
        i = s.running[r, k]
        request = s.request[i]
        if budget > 0 and not request.prefilled and not request.in_flight:
            chunk = min(request.prompt - request.done, budget)
            n = add(s, r, slot, n, i, chunk)
            budget -= chunk
    return n, budget


def decode_all(s: State, r: int, slot: int) -> int:
    """One decode token for every running request (an even share of them per pipeline micro-batch)."""
    replica, share = s.replica[r], decode_share(s, r)
    n = k = 0
    while k < replica.running and n < share:
        i = s.running[r, k]
        request = s.request[i]
        k += 1
        if request.prefilled and not request.in_flight and make_room(s, r, k - 1, request.done):
            n = add(s, r, slot, n, i, 0)
    return n
