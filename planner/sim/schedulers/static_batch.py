"""Static batch: requests enter together, and nobody else until the last of them is done. Not continuous batching.

Blocks for prompt and answer are reserved at admission, so nobody is preempted. Answers that end early leave the batch
(the step is priced without them), but their seats stay empty until all have ended.
"""

from __future__ import annotations

from planner.sim.kvcache import admit, candidate, fits
from planner.sim.schedulers.batch import add, decode_share
from planner.sim.schedulers.prefill_first import unfinished_prompts
from planner.sim.state import State


def static_batch(s: State, r: int, slot: int, now: float) -> int:
    """Fill the batch; the number of requests in it."""
    p = s.replica[r].pool
    if s.replica[r].running == 0:
        board(s, r, s.pool[p].max_seqs, now)
    n, _ = unfinished_prompts(s, r, slot, s.pool[p].max_tokens)
    if n > 0:
        return n
    share = decode_share(s, r)
    for k in range(s.replica[r].running):
        i = s.running[r, k]
        if n < share and s.request[i].prefilled and not s.request[i].in_flight:
            n = add(s, r, slot, n, i, 0)
    return n


def board(s: State, r: int, seats: int, now: float) -> None:
    """Admit waiting requests up to `seats`, each with blocks for its whole life."""
    request = s.request
    while s.replica[r].running + s.replica[r].moving < seats:
        i = candidate_of_batch(s, r)
        if i < 0 or not fits(s, r, request[i].input + request[i].output):
            break
        admit(s, r, request[i].input + request[i].output, now)


def candidate_of_batch(s: State, r: int) -> int:
    """The head of the queue; those that board together wait for no engine steps."""
    return candidate(s, r) if s.replica[r].running == 0 else int(s.queue[r].head) if s.queue[r].length > 0 else -1
