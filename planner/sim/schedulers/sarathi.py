"""Sarathi chunked prefill (2403.02310) as Vidur (7d47513) schedules it: decodes, prompts begun, new prompts.

Differs from vLLM v1: the token budget does not limit decodes, blocks of the whole prompt are reserved at admission, a
decode needs a free block even when it takes none, and a step that preempted may admit. The step leaves the running list
as [not in the batch, by arrival] + [batch]. One pipeline stage.
"""

from __future__ import annotations

from planner.sim.kvcache import admit, blocks_of, candidate, fits, preempt, take
from planner.sim.schedulers.batch import add
from planner.sim.state import State


def sarathi(s: State, r: int, slot: int, now: float) -> int:
    """Fill the batch; the number of requests in it."""
    p = s.replica.pool[r]
    n, aside, first, last = decodes(s, r, slot)
    tokens, left_out = n, 0
    for k in range(aside):
        i = s.spare[0, k]
        chunk = min(s.request.prompt[i] - s.request.done[i], s.pool.max_tokens[p] - tokens)
        if chunk > 0:
            n = add(s, r, slot, n, i, chunk)
            tokens += chunk
        else:
            left_out = insert_by_arrival(s, left_out, i)
    for k in range(first, last):
        left_out = insert_by_arrival(s, left_out, s.running[r, k])
    for k in range(left_out):
        s.running[r, k] = s.spare[1, k]
    for k in range(n):
        s.running[r, left_out + k] = s.batch[r, slot, k]
    s.replica.running[r] = left_out + n
    return enter(s, r, slot, n, tokens, now)


def decodes(s: State, r: int, slot: int) -> tuple[int, int, int, int]:
    """Add the decodes in running order; (added, prompts set aside in spare[0], and the untouched rest first:last)."""
    request, running = s.request, s.running
    most = s.pool.max_seqs[s.replica.pool[r]]
    n = aside = k = 0
    last = s.replica.running[r]
    while k < last and n < most:
        i = running[r, k]
        k += 1
        if not request.prefilled[i]:
            s.spare[0, aside] = i
            aside += 1
            continue
        while s.replica.free_blocks[r] < 1 and last > k:
            last -= 1
            preempt(s, r, running[r, last])
        if s.replica.free_blocks[r] < 1:
            preempt(s, r, i)
            continue
        if blocks_of(s, r, request.done[i]) > request.blocks[i]:
            take(s, r, 1)
            request.blocks[i] += 1
        n = add(s, r, slot, n, i, 0)
    return n, aside, k, last


def insert_by_arrival(s: State, n: int, i: int) -> int:
    """Insert request i into spare[1, :n], which is sorted by number and so by arrival; n + 1."""
    k = n
    while k > 0 and s.spare[1, k - 1] > i:
        s.spare[1, k] = s.spare[1, k - 1]
        k -= 1
    s.spare[1, k] = i
    return n + 1


def enter(s: State, r: int, slot: int, n: int, tokens: int, now: float) -> int:
    """Admit waiting requests while seats, budget and blocks of the whole prompt are there."""
    request, replica = s.request, s.replica
    p = replica.pool[r]
    while replica.running[r] < s.pool.max_seqs[p] and n < s.pool.max_seqs[p]:
        i = candidate(s, r)
        if i < 0 or not fits(s, r, request.prompt[i]) or tokens >= s.pool.max_tokens[p]:
            break
        chunk = min(request.prompt[i], s.pool.max_tokens[p] - tokens)
        n = add(s, r, slot, n, admit(s, r, request.prompt[i], now), chunk)
        tokens += chunk
    return n
