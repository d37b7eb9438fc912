"""vLLM v1: one token budget filled first by running requests in order, then by waiting ones; chunks and decodes mix.

Rules of vllm/v1/core/sched/scheduler.py: a running request that gets no block preempts the last of the running list,
which recomputes; a step that preempted admits nobody. Blocks are taken for the tokens of the step, but a request enters
only when its whole prompt would fit (`scheduler_reserve_full_isl`, the default of recent versions). With priorities
(--scheduling-policy priority) the queue and the running list are in their order, then in order of arrival; nobody is
preempted only to let another enter. Concurrent partial prefills exist in v0 only. `trtllm.py` and `orca.py` are this
policy with other numbers.
"""

from __future__ import annotations

from planner.sim.crews import listed, seat_crew
from planner.sim.crowd import scatter, seat_crowd
from planner.sim.schedulers.batch import CHUNK, Policy, add, decode_share, enter_in_order, make_room, next_chunk
from planner.sim.state import State

VLLM_V1 = Policy(branch=0, hold=CHUNK, crowds=True, crews=True)


def vllm_v1(s: State, r: int, slot: int, now: float) -> int:
    """Fill the batch; the number of requests in it."""
    replica = s.replica[r]
    pool, share = s.pool[replica.pool], decode_share(s, r)
    if replica.crowd > pool.max_tokens:
        scatter(s, r)
    decodes = seat_crowd(s, r, slot) if pool.stages == 1 else seat_crew(s, r, slot)
    n, k, budget = 0, replica.crowd, pool.max_tokens - decodes
    while k < listed(s, r) and budget > 0:
        i = s.running[r, k]
        request = s.request[i]
        k += 1
        if request.in_flight or (request.prefilled and decodes >= share):
            continue
        chunk = 0 if request.prefilled else next_chunk(pool, request, budget)
        if (chunk > 0 or request.prefilled) and make_room(s, r, k - 1, request.done + chunk):
            n = add(s, r, slot, n, i, chunk)
            decodes += request.prefilled
            budget -= max(chunk, 1)
    return n if replica.preempted else enter_in_order(s, r, slot, n, budget, now)
