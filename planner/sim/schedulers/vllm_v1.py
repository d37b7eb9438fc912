"""vLLM v1: one token budget filled first by running requests in order, then by waiting ones; chunks and decodes mix.

Rules: specification of the v1 scheduler (vllm/v1/core/sched/scheduler.py). A running request that gets no block preempts
the last of the running list, which recomputes; a step that preempted admits nobody. Blocks are taken for the tokens of
the step, but a request enters only when its whole prompt would fit (`scheduler_reserve_full_isl`, the default of recent
versions). Not modelled: priorities, the threshold for long prefills.
"""

from __future__ import annotations

from planner.sim.kvcache import admit, candidate, fits
from planner.sim.schedulers.batch import add, decode_share, make_room
from planner.sim.state import State


def vllm_v1(s: State, r: int, slot: int, now: float) -> int:
    """Fill the batch; the number of requests in it."""
    request, replica, running = s.request, s.replica, s.running
    p = replica[r].pool
    budget, n, decodes, k = s.pool[p].max_tokens, 0, 0, 0
    share = decode_share(s, r)
    while k < replica[r].running and budget > 0:
        i = running[r, k]
        k += 1
        if request[i].in_flight or (request[i].prefilled and decodes >= share):
            continue
        done = request[i].done
        chunk = 0 if request[i].prefilled else min(request[i].prompt - done, budget)
        if not make_room(s, r, k - 1, done + chunk):
            continue
        n = add(s, r, slot, n, i, chunk)
        decodes += request[i].prefilled
        budget -= max(chunk, 1)
    while budget > 0 and replica[r].preempted == 0 and replica[r].running + replica[r].moving < s.pool[p].max_seqs:
        i = candidate(s, r)
        chunk = min(request[i].prompt, budget) if i >= 0 else 0
        if i < 0 or not fits(s, r, request[i].prompt):
            break
        n = add(s, r, slot, n, admit(s, r, chunk, now), chunk)
        budget -= chunk
    return n
