"""Paged KV cache of a replica: who holds how many blocks. Not which requests a scheduler prefers.

Tokens are rounded up to blocks per request (PagedAttention, 2309.06180 section 4.2).
"""

from __future__ import annotations

from typing import Any

from planner.sim.blocks import take
from planner.sim.prefixes import borrow, leave, let_go, match
from planner.sim.state import NOBODY, RUNNING, WAITING, State, before, insert, pop_front, push_back, push_front


def blocks_of(pool: Any, tokens: int) -> int:
    """Blocks that hold `tokens` tokens."""
    return int((tokens + pool.block_tokens - 1) // pool.block_tokens)


def holds(pool: Any, request: Any, tokens: int) -> bool:
    """Whether the blocks of a request hold `tokens` tokens; in the steady state nearly always, and asked for each."""
    return bool(tokens <= request.blocks * pool.block_tokens)


def grow(replica: Any, request: Any, blocks: int) -> bool:
    """Make a request hold `blocks` at least; False, and nothing taken, when they are not free."""
    more = blocks - request.blocks
    if more > replica.free_blocks:
        return False
    if more > 0:
        take(replica, more)
        request.blocks += more
    return True


def fits(replica: Any, pool: Any, request: Any, tokens: int) -> bool:
    """Whether a new request may take blocks for `tokens` tokens: those and the watermark must be free.

    Blocks of a prefix that somebody uses anyway are not asked for.
    """
    return bool(blocks_of(pool, tokens - request.borrowed) + pool.watermark_blocks <= replica.free_blocks)


def whole_life(pool: Any, request: Any) -> int:
    """Tokens that a request has here at its end: prompt and answer, or the prompt alone where nothing decodes."""
    return int(request.input + (request.output if pool.decodes else 0))


def candidate(s: State, r: int) -> int:
    """Head of the waiting queue if it may be admitted now, else NOBODY.

    A request that waits for engine steps (`admission_lag_steps`) waits only while the engine has something to do. What
    the prefix cache has for it counts as done.
    """
    queue, replica = s.queue[r], s.replica[r]
    if queue.length == 0 or (replica.running > 0 and s.request[queue.head].ready_step > replica.steps):
        return NOBODY
    match(s, r, queue.head)
    return int(queue.head)


def admit(s: State, r: int, tokens: int, now: float) -> int:
    """Move the head of the waiting queue to the end of the running list with blocks for `tokens`; its number."""
    i = pop_front(s, r)
    request, replica = s.request[i], s.replica[r]
    replica.waiting_tokens -= request.prompt
    borrow(s, r, i)
    grow(replica, request, blocks_of(s.pool[replica.pool], tokens))
    append_running(s, r, i)
    request.admitted_s = min(request.admitted_s, now)
    return i


def append_running(s: State, r: int, i: int) -> None:
    """Request i runs on replica r from the next batch on; the running list is in order of priority if the engine is.

    A crowd stays in front until it disperses, which nothing needs before the next batch.
    """
    replica = s.replica[r]
    k = replica.running - replica.apart
    if s.pool[replica.pool].by_priority:
        while k > replica.crowd and before(s, i, s.running[r, k - 1]):
            s.running[r, k] = s.running[r, k - 1]
            k -= 1
        if k > 0 and k == replica.crowd and before(s, i, s.running[r, k - 1]):
            replica.unsorted = 1
    s.running[r, k] = i
    replica.running += 1
    replica.places += 1
    s.request[i].place = replica.places
    s.request[i].state = RUNNING


def preempt(s: State, r: int, i: int) -> None:
    """Free request i, to the head of the queue or its place by priority. The caller takes it off the running list."""
    release(s, r, i)
    if s.pool[s.replica[r].pool].by_priority:
        insert(s, r, i)
    else:
        push_front(s, r, i)


def retract(s: State, r: int, i: int) -> None:
    """Free request i for recomputation, at the end of the queue. The caller takes it out of the running list."""
    release(s, r, i)
    push_back(s, r, i)


def release(s: State, r: int, i: int) -> None:
    """Take the blocks of request i, by copying them to host memory, or for recomputation.

    Then its generated tokens become prompt, and cached ones stay.
    """
    request, replica = s.request[i], s.replica[r]
    swap_s = s.pool[replica.pool].swap_block_s
    if swap_s > 0.0 and request.prefilled:
        request.swapped = 1
        replica.swap_s += request.blocks * swap_s
    else:
        if request.prefilled:
            leave(s, r, i, request.done - 1)
            request.prompt = request.done
        request.prefilled = 0
        request.done = request.cached
    let_go(s, r, i)
    replica.waiting_tokens += request.prompt
    request.preemptions += 1
    request.ready_step = 0
    request.state = WAITING
    replica.preemptions += 1
    replica.preempted = 1


def compact(s: State, r: int) -> None:
    """Drop requests that left from the running list, keeping the order."""
    replica, n = s.replica[r], 0
    for k in range(replica.running - replica.apart):
        i = s.running[r, k]
        if s.request[i].state == RUNNING:
            s.running[r, n] = i
            n += 1
    replica.running = n + replica.apart
