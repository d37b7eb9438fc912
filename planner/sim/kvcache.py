"""Paged KV cache of a replica: who holds how many blocks. Not which requests a scheduler prefers.

Tokens are rounded up to blocks per request (PagedAttention, 2309.06180 section 4.2).
"""

from __future__ import annotations

from planner.sim.state import NOBODY, RUNNING, WAITING, State, pop_front, push_front


def blocks_of(s: State, r: int, tokens: int) -> int:
    """Blocks that hold `tokens` tokens."""
    block = s.pool.block_tokens[s.replica.pool[r]]
    return int((tokens + block - 1) // block)


def take(s: State, r: int, blocks: int) -> None:
    """Take `blocks` of replica r; the caller has checked that they are free."""
    replica = s.replica
    replica.free_blocks[r] -= blocks
    replica.blocks_taken[r] += blocks
    used = s.pool.kv_blocks[replica.pool[r]] - replica.free_blocks[r]
    if used > replica.peak_blocks[r]:
        replica.peak_blocks[r] = used


def give_back(s: State, r: int, blocks: int) -> None:
    """Free `blocks` of replica r."""
    s.replica.free_blocks[r] += blocks
    s.replica.blocks_given[r] += blocks


def grow(s: State, r: int, i: int, tokens: int) -> bool:
    """Make request i hold blocks for `tokens` tokens; False, and nothing taken, when they are not free."""
    more = blocks_of(s, r, tokens) - s.request.blocks[i]
    if more <= 0:
        return True
    if more > s.replica.free_blocks[r]:
        return False
    take(s, r, more)
    s.request.blocks[i] += more
    return True


def candidate(s: State, r: int) -> int:
    """Head of the waiting queue if it may be admitted now, else NOBODY.

    A request that waits for engine steps (`admission_lag_steps`) waits only while the engine has something to do.
    """
    if s.queue.length[r] == 0:
        return NOBODY
    i = s.queue.head[r]
    if s.replica.running[r] > 0 and s.request.ready_step[i] > s.replica.steps[r]:
        return NOBODY
    return int(i)


def fits(s: State, r: int, tokens: int) -> bool:
    """Whether a new request may take blocks for `tokens` tokens: those and the watermark must be free."""
    needed = blocks_of(s, r, tokens) + s.pool.watermark_blocks[s.replica.pool[r]]
    return bool(needed <= s.replica.free_blocks[r])


def admit(s: State, r: int, tokens: int, now: float) -> int:
    """Move the head of the waiting queue to the end of the running list with blocks for `tokens`; its number."""
    i = pop_front(s, r)
    s.request.blocks[i] = blocks_of(s, r, tokens)
    take(s, r, s.request.blocks[i])
    append_running(s, r, i)
    if s.request.admitted_s[i] > now:
        s.request.admitted_s[i] = now
    return i


def append_running(s: State, r: int, i: int) -> None:
    s.running[r, s.replica.running[r]] = i
    s.replica.running[r] += 1
    s.request.state[i] = RUNNING


def preempt(s: State, r: int, i: int) -> None:
    """Free request i for recomputation: generated tokens become prompt, and it goes to the head of the queue.

    The caller takes it out of the running list.
    """
    request, replica = s.request, s.replica
    if request.prefilled[i]:
        request.prompt[i] = request.done[i]
    request.prefilled[i] = 0
    request.done[i] = 0
    give_back(s, r, request.blocks[i])
    request.blocks[i] = 0
    request.preemptions[i] += 1
    request.ready_step[i] = 0
    request.state[i] = WAITING
    replica.preemptions[r] += 1
    replica.preempted[r] = 1
    push_front(s, r, i)
