"""Sarathi chunked prefill (2403.02310) as Vidur (7d47513) schedules it: decodes, prompts begun, new prompts.

Differs from vLLM v1: the token budget does not limit decodes, blocks of the whole prompt are reserved at admission, a
decode needs a free block even when it takes none, and a step that preempted may admit. The step leaves the running list
as [not in the batch, by arrival] + [batch]. One pipeline stage.
"""

from __future__ import annotations

from planner.sim.crowd import scatter, seat_crowd
from planner.sim.kvcache import admit, blocks_of, candidate, fits, grow, holds, preempt
from planner.sim.schedulers.batch import add
from planner.sim.state import State


def sarathi(s: State, r: int, slot: int, now: float) -> int:
    """Fill the batch; the number of requests in it."""
    replica, width = s.replica[r], s.batch.shape[2]
    budget = s.pool[replica.pool].max_tokens
    if not order_stays(s, r, budget):
        scatter(s, r)
    crowd = seat_crowd(s, r, slot)
    n, aside, first, last = decodes(s, r, slot, crowd)
    tokens, left_out = crowd + n, crowd
    for k in range(aside):
        i = s.running[r, width + k]
        chunk = min(s.request[i].prompt - s.request[i].done, budget - tokens)
        if chunk > 0:
            n = add(s, r, slot, n, i, chunk)
            tokens += chunk
        else:
            left_out = insert_by_arrival(s, r, left_out, i)
    for k in range(first, last):
        left_out = insert_by_arrival(s, r, left_out, s.running[r, k])
    for k in range(crowd, left_out):
        s.running[r, k] = s.running[r, 2 * width + k]
    for k in range(n):
        s.running[r, left_out + k] = s.batch[r, slot, k].request
    replica.running = left_out + n
    return enter(s, r, slot, n, tokens, now)


def order_stays(s: State, r: int, budget: int) -> bool:
    """Whether nobody who runs can be left out of the batch for want of tokens: then the crowd stays at the front."""
    replica, prompts = s.replica[r], 0
    for k in range(replica.crowd, replica.running):
        prompts += s.request[s.running[r, k]].prefilled == 0
    return bool(prompts < 2 and replica.running <= budget)


def decodes(s: State, r: int, slot: int, crowd: int) -> tuple[int, int, int, int]:
    """Add the decodes behind the crowd; (added, prompts put into the first scratch list, and the rest: first, last)."""
    replica, width = s.replica[r], s.batch.shape[2]
    pool, last = s.pool[replica.pool], replica.running
    n, aside, k = 0, 0, crowd
    while k < last and crowd + n < pool.max_seqs:
        i = s.running[r, k]
        request = s.request[i]
        k += 1
        if not request.prefilled:
            s.running[r, width + aside] = i
            aside += 1
            continue
        while replica.free_blocks < 1 and last > k:
            last -= 1
            preempt(s, r, s.running[r, last])
        if replica.free_blocks < 1:
            preempt(s, r, i)
        else:
            if not holds(pool, request, request.done):
                grow(replica, request, blocks_of(pool, request.done))
            n = add(s, r, slot, n, i, 0)
    return n, aside, k, last


def insert_by_arrival(s: State, r: int, n: int, i: int) -> int:
    """Insert request i into the second scratch list, n long and sorted by number and so by arrival; n + 1."""
    start = 2 * s.batch.shape[2]
    k = start + n
    while k > start and s.running[r, k - 1] > i:
        s.running[r, k] = s.running[r, k - 1]
        k -= 1
    s.running[r, k] = i
    return n + 1


def enter(s: State, r: int, slot: int, n: int, tokens: int, now: float) -> int:
    """Admit waiting requests while seats, budget and blocks of the whole prompt are there."""
    replica = s.replica[r]
    pool = s.pool[replica.pool]
    while replica.running < pool.max_seqs and tokens < pool.max_tokens:
        i = candidate(s, r)
        if i < 0 or not fits(replica, pool, s.request[i], s.request[i].prompt):
            break
        chunk = min(s.request[i].prompt - s.request[i].done, pool.max_tokens - tokens)
        n = add(s, r, slot, n, admit(s, r, s.request[i].prompt, now), chunk)
        tokens += chunk
    return n
