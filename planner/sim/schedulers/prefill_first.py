"""Prefill first (vLLM v0): while a prompt fits a step computes prompts only, else decodes.

Prompts that exceed the token budget are cut to it and continue in the next prefill step. Blocks of the whole prompt are
reserved at admission. Decodes preempt from the end of the running list, which is in order of arrival: by recomputation,
or by a copy of their blocks to host memory (`Replica.swap_bytes_per_s`), which holds up the step like the copy back.
While somebody is swapped out no prompt starts; who fits again decodes with the rest of a step that preempted nobody.
"""

from __future__ import annotations

from planner.sim.crowd import seat_crowd
from planner.sim.kvcache import admit, blocks_of, fits
from planner.sim.schedulers.batch import add, decode_share, enter_in_order, make_room
from planner.sim.state import State


def prefill_first(s: State, r: int, slot: int, now: float) -> int:
    """Fill the batch; the number of requests in it."""
    n, budget = unfinished_prompts(s, r, slot, s.pool[s.replica[r].pool].max_tokens)
    swapped = s.queue[r].length > 0 and s.request[s.queue[r].head].swapped
    if not swapped:
        n = enter_in_order(s, r, slot, n, budget, now)
    if n > 0:
        return n
    n = decode_all(s, r, slot)
    return swap_in(s, r, slot, n, now) if swapped and s.replica[r].preempted == 0 else n


def swap_in(s: State, r: int, slot: int, n: int, now: float) -> int:
    """Bring back those who wait in host memory while seats and blocks are there; how many the batch has then."""
    replica, queue = s.replica[r], s.queue[r]
    pool = s.pool[replica.pool]
    while queue.length > 0 and replica.running + replica.moving < pool.max_seqs:
        request = s.request[queue.head]
        if not request.swapped or not fits(replica, pool, request, request.done):
            break
        request.swapped = 0
        replica.swap_s += blocks_of(pool, request.done - 1) * pool.swap_block_s
        n = add(s, r, slot, n, admit(s, r, request.done, now), 0)
    return n


def unfinished_prompts(s: State, r: int, slot: int, budget: int) -> tuple[int, int]:
    """Next chunks of prompts already begun; how many, and the budget that is left."""
    n = 0
    for k in range(s.replica[r].crowd, s.replica[r].running):
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
    n, k = 0, seat_crowd(s, r, slot)
    while k < replica.running and n < share:
        i = s.running[r, k]
        request = s.request[i]
        k += 1
        if request.prefilled and not request.in_flight and make_room(s, r, k - 1, request.done):
            n = add(s, r, slot, n, i, 0)
    return n
