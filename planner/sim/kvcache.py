"""Paged KV cache of a replica: who holds how many blocks. Not which requests a scheduler prefers.

Tokens are rounded up to blocks per request (PagedAttention, 2309.06180 section 4.2).
"""

from __future__ import annotations

from planner.sim.state import NOBODY, RUNNING, WAITING, State, pop_front, push_front


def blocks_of(s: State, r: int, tokens: int) -> int:
    """Blocks that hold `tokens` tokens."""
    block = s.pool[s.replica[r].pool].block_tokens
    return int((tokens + block - 1) // block)


def take(s: State, r: int, blocks: int) -> None:
    """Take `blocks` of replica r; the caller has checked that they are free."""
    replica = s.replica
    replica[r].free_blocks -= blocks
    replica[r].blocks_taken += blocks
    used = s.pool[replica[r].pool].kv_blocks - replica[r].free_blocks
    if used > replica[r].peak_blocks:
        replica[r].peak_blocks = used


def give_back(s: State, r: int, blocks: int) -> None:
    """Free `blocks` of replica r."""
    s.replica[r].free_blocks += blocks
    s.replica[r].blocks_given += blocks


def grow(s: State, r: int, i: int, tokens: int) -> bool:
    """Make request i hold blocks for `tokens` tokens; False, and nothing taken, when they are not free."""
    more = blocks_of(s, r, tokens) - s.request[i].blocks
    if more <= 0:
        return True
    if more > s.replica[r].free_blocks:
        return False
    take(s, r, more)
    s.request[i].blocks += more
    return True


def candidate(s: State, r: int) -> int:
    """Head of the waiting queue if it may be admitted now, else NOBODY.

    A request that waits for engine steps (`admission_lag_steps`) waits only while the engine has something to do.
    """
    if s.queue[r].length == 0:
        return NOBODY
    i = s.queue[r].head
    if s.replica[r].running > 0 and s.request[i].ready_step > s.replica[r].steps:
        return NOBODY
    return int(i)


def fits(s: State, r: int, tokens: int) -> bool:
    """Whether a new request may take blocks for `tokens` tokens: those and the watermark must be free."""
    needed = blocks_of(s, r, tokens) + s.pool[s.replica[r].pool].watermark_blocks
    return bool(needed <= s.replica[r].free_blocks)


def admit(s: State, r: int, tokens: int, now: float) -> int:
    """Move the head of the waiting queue to the end of the running list with blocks for `tokens`; its number."""
    i = pop_front(s, r)
    s.request[i].blocks = blocks_of(s, r, tokens)
    take(s, r, s.request[i].blocks)
    append_running(s, r, i)
    if s.request[i].admitted_s > now:
        s.request[i].admitted_s = now
    return i


def append_running(s: State, r: int, i: int) -> None:
    s.running[r, s.replica[r].running] = i
    s.replica[r].running += 1
    s.request[i].state = RUNNING


def preempt(s: State, r: int, i: int) -> None:
    """Free request i for recomputation: generated tokens become prompt, and it goes to the head of the queue.

    The caller takes it out of the running list.
    """
    request, replica = s.request, s.replica
    if request[i].prefilled:
        request[i].prompt = request[i].done
    request[i].prefilled = 0
    request[i].done = 0
    give_back(s, r, request[i].blocks)
    request[i].blocks = 0
    request[i].preemptions += 1
    request[i].ready_step = 0
    request[i].state = WAITING
    replica[r].preemptions += 1
    replica[r].preempted = 1
    push_front(s, r, i)
