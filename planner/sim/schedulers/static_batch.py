"""Static batch: requests enter together, and nobody else until the last of them is done. Not continuous batching.

Blocks for prompt and answer are reserved at admission, so nobody is preempted. Answers that end early leave the batch
(the step is priced without them), but their seats stay empty until all have ended.
"""

from __future__ import annotations

from planner.sim.kvcache import admit, fits, whole_life
from planner.sim.schedulers.prefill_first import decode_all, unfinished_prompts
from planner.sim.state import State


def static_batch(s: State, r: int, slot: int, now: float) -> int:
    """Fill the batch; the number of requests in it."""
    replica = s.replica[r]
    if replica.running == 0:
        board(s, r, now)
    n, _ = unfinished_prompts(s, r, slot, s.pool[replica.pool].max_tokens)
    return n if n > 0 else decode_all(s, r, slot)


def board(s: State, r: int, now: float) -> None:
    """Admit waiting requests up to the seats, each with blocks for its whole life.

    Nobody waits for engine steps here, because an empty engine makes none.
    """
    replica = s.replica[r]
    pool = s.pool[replica.pool]
    while s.queue[r].length > 0 and replica.running + replica.moving < pool.max_seqs:
        request = s.request[s.queue[r].head]
        whole = whole_life(pool, request)
        if not fits(replica, pool, request, whole):
            return
        admit(s, r, whole, now)
