"""vLLM v1: one token budget filled first by running requests in order, then by waiting ones; chunks and decodes mix.

Rules: specification of the v1 scheduler (vllm/v1/core/sched/scheduler.py). A running request that gets no block preempts
the last of the running list, which recomputes; a step that preempted admits nobody. Blocks are reserved for the tokens of
the step, not for the whole prompt. Not modelled: priorities, the threshold for long prefills.
"""

from __future__ import annotations

from planner.sim.kvcache import admit, candidate, fits
from planner.sim.schedulers.batch import add, decode_share, make_room
from planner.sim.state import State


def vllm_v1(s: State, r: int, slot: int, now: float) -> int:
    """Fill the batch; the number of requests in it."""
    request, replica, running = s.request, s.replica, s.running
    p = replica.pool[r]
    budget, n, decodes, k = s.pool.max_tokens[p], 0, 0, 0
    share = decode_share(s, r)
    while k < replica.running[r] and budget > 0:
        i = running[r, k]
        k += 1
        if request.in_flight[i] or (request.prefilled[i] and decodes >= share):
            continue
        done = request.done[i]
        chunk = 0 if request.prefilled[i] else min(request.prompt[i] - done, budget)
        if not make_room(s, r, k - 1, done + chunk):
            continue
        n = add(s, r, slot, n, i, chunk)
        decodes += request.prefilled[i]
        budget -= max(chunk, 1)
    while budget > 0 and replica.preempted[r] == 0 and replica.running[r] + replica.moving[r] < s.pool.max_seqs[p]:
        i = candidate(s, r)
        chunk = min(request.prompt[i], budget) if i >= 0 else 0
        if i < 0 or not fits(s, r, chunk):
            break
        n = add(s, r, slot, n, admit(s, r, chunk, now), chunk)
        budget -= chunk
    return n
