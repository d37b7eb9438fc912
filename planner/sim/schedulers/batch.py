"""What schedulers share: filling a batch, and letting running requests decode at the expense of later ones."""

from __future__ import annotations

from typing import Any, NamedTuple

from planner.sim.crews import last_of_all, listed
from planner.sim.kvcache import admit, blocks_of, candidate, fits, grow, holds, preempt, whole_life
from planner.sim.schedulers.balance import held_back
from planner.sim.state import State

CHUNK, PROMPT, LIFE = 0, 1, 2
"""Blocks that a request takes as it enters: of its first step, of its whole prompt, of prompt and answer."""


class Policy(NamedTuple):
    """A scheduler by its branch in `form_batch`, and the numbers it leaves open.

    hold: CHUNK, PROMPT or LIFE, for `enter_in_order`. budgeted: the tokens of a step are limited. crowds: it seats the
    crowd with `seat_crowd` and then those behind it; without, everybody is seated one by one, which takes longer.
    crews: in a pipeline, `seat_crew`.
    """

    branch: int
    hold: int = CHUNK
    budgeted: bool = True
    crowds: bool = False
    crews: bool = False


def add(s: State, r: int, slot: int, n: int, i: int, tokens: int) -> int:
    """Put request i at place n of the batch with `tokens` prompt tokens, or 0 for one decode token; n + 1."""
    seat = s.batch[r, slot, n]
    seat.request, seat.tokens = i, tokens
    return n + 1


def next_chunk(pool: Any, request: Any, budget: int) -> int:
    """Prompt tokens of a request that fit into a budget; whole prompts do or do not, and a longer one runs alone."""
    left = request.prompt - request.done
    if 0 < pool.long_prompt_tokens < left:
        left = pool.long_prompt_tokens
    if pool.whole_prompts == 0:
        return int(min(left, budget))
    return int(left if left <= budget or budget == pool.max_tokens else 0)


def decode_share(s: State, r: int) -> int:
    """Most decodes in one micro-batch: an even share of the running list, so that every pipeline stage has work."""
    stages = s.pool[s.replica[r].pool].stages
    return int((s.replica[r].running + stages - 1) // stages)


def make_room(s: State, r: int, k: int, tokens: int) -> bool:
    """Give the k-th running request blocks for `tokens` tokens, preempting from the end of the running list.

    False when it got none: it was preempted itself, or the last one is in another micro-batch.
    """
    replica, i = s.replica[r], s.running[r, k]
    if holds(s.pool[replica.pool], s.request[i], tokens):
        return True
    while not grow(replica, s.request[i], blocks_of(s.pool[replica.pool], tokens)):
        last = s.running[r, listed(s, r) - 1]
        if s.request[last].in_flight or (replica.apart > 0 and not last_of_all(s, r, last)):
            return False
        replica.running -= 1
        preempt(s, r, last)
        if last == i:
            return False
    return True


def enter_in_order(s: State, r: int, slot: int, n: int, budget: int, now: float) -> int:
    """Admit waiting requests in order while budget, seats and blocks are there; how many the batch has then.

    Even those that take only the blocks of a chunk need room for the whole prompt.
    """
    replica = s.replica[r]
    pool = s.pool[replica.pool]
    if held_back(s, r):
        return n
    while budget > 0 and replica.running + replica.moving < pool.max_seqs:
        i = candidate(s, r)
        if i < 0:
            break
        request = s.request[i]
        need = whole_life(pool, request) if pool.hold == LIFE else request.prompt
        chunk = next_chunk(pool, request, budget)
        if chunk == 0 or not fits(replica, pool, request, need):
            break
        n = add(s, r, slot, n, admit(s, r, request.done + chunk if pool.hold == CHUNK else need, now), chunk)
        budget -= chunk
    return n
