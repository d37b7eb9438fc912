"""SGLang: while new prompts may start, a step computes prompts only (or decodes too, mixed); an estimate admits.

Rules of schedule_policy.py, schedule_batch.py and scheduler.py (0.5). A prompt starts when it and its answer fit beside
what running requests still need: the tokens they have left (at most 4,096 each) times a ratio. The ratio falls
with every decode step and is set anew when memory runs out all the same: then requests with the fewest tokens are
retracted, to be recomputed from the end of the queue. Once somebody found no place nobody is tried until one leaves,
which the engine sees while it forms a decode batch. The longest answer is taken to be the answer. Blocks of the whole
prompt are taken at once. Not modelled: the order by longest cached prefix, chunks in whole pages, dynamic chunk sizes.
"""

from __future__ import annotations

from planner.sim.crowd import catch_up_all, growth, scatter, seat_crowd
from planner.sim.kvcache import admit, blocks_of, candidate, compact, fits, grow, retract
from planner.sim.schedulers.batch import add, decode_share, next_chunk
from planner.sim.schedulers.prefill_first import unfinished_prompts
from planner.sim.state import State

INITIAL_RATIO, LEAST_SHARE, DECAY_STEPS, RETRACT_STEPS, LONGEST_ESTIMATE = 0.7, 0.14, 600, 20, 4096
"""SGLANG_INIT_NEW_TOKEN_RATIO, _MIN_NEW_TOKEN_RATIO_FACTOR, _NEW_TOKEN_RATIO_DECAY_STEPS, _RETRACT_DECODE_STEPS and
_CLIP_MAX_NEW_TOKENS_ESTIMATION of SGLang's environ.py (0.5)."""


def sglang(s: State, r: int, slot: int, now: float) -> int:
    """Fill the batch; the number of requests in it."""
    replica = s.replica[r]
    pool = s.pool[replica.pool]
    mixed = pool.mixed_chunks
    if replica.running == 0 or (replica.prompts_last and replica.running < replica.seen_running):
        replica.full = 0
    n, budget = unfinished_prompts(s, r, slot, pool.max_tokens - (decodes_ready(s, r) if mixed else 0))
    if replica.full == 0:
        n = enter_by_estimate(s, r, slot, n, budget, now)
    replica.prompts_last = n > 0
    if n == 0 or mixed:
        n = decode_or_retract(s, r, slot, n)
    replica.seen_running = replica.running
    if n == 0 and s.flight[r, slot].crowd == 0 and replica.flights == 0:
        set_ratio(s, r, first_ratio(s, r))
    return n


def decodes_ready(s: State, r: int) -> int:
    """Running requests that could decode in this step, up to the share of a micro-batch."""
    ready = 0
    for k in range(s.replica[r].running):
        request = s.request[s.running[r, k]]
        ready += request.prefilled and not request.in_flight
    return int(min(ready, decode_share(s, r)))


def first_ratio(s: State, r: int) -> float:
    """The ratio of an idle engine."""
    return float(min(INITIAL_RATIO * s.pool[s.replica[r].pool].conservativeness, 1.0))


def ratio(s: State, r: int) -> float:
    """Share of their remaining tokens that running requests are expected to produce."""
    replica, first = s.replica[r], first_ratio(s, r)
    least = min(first * LEAST_SHARE, 1.0)
    start = replica.ratio if replica.ratio_set else first
    return float(max(start - (first - least) / DECAY_STEPS * (replica.decode_steps - replica.ratio_step), least))


def set_ratio(s: State, r: int, value: float) -> None:
    """The ratio falls from `value` with the decode steps that follow."""
    replica = s.replica[r]
    replica.ratio, replica.ratio_set, replica.ratio_step = value, 1, replica.decode_steps


def tokens_left(s: State, i: int) -> int:
    """Tokens that request i may still produce, as the estimate counts them."""
    request = s.request[i]
    known = request.done if request.prefilled else request.prompt
    return int(min(request.input + request.output - known, LONGEST_ESTIMATE))


def free_tokens(s: State, r: int) -> float:
    """Tokens of KV cache that are free and not expected to be needed by those who run."""
    replica = s.replica[r]
    left, share = 0, ratio(s, r)
    catch_up_all(s, r, 0)
    for k in range(replica.running):
        left += tokens_left(s, s.running[r, k])
    return float(replica.free_blocks * s.pool[replica.pool].block_tokens - left * share)


def enter_by_estimate(s: State, r: int, slot: int, n: int, budget: int, now: float) -> int:
    """Admit waiting requests in order while budget, seats and the estimate allow; how many the batch has then."""
    replica = s.replica[r]
    pool = s.pool[replica.pool]
    if budget <= 0 or candidate(s, r) < 0:
        return n
    held, free = 0, free_tokens(s, r)
    while budget > 0 and replica.full == 0:
        i = candidate(s, r)
        if i < 0:
            break
        request = s.request[i]
        chunk, answer = next_chunk(pool, request, budget), tokens_left(s, i)
        if chunk == 0:
            break
        alone = replica.running == 0 and fits(replica, pool, request, request.prompt)
        prompt = request.prompt - request.borrowed
        fit = prompt + answer + pool.block_tokens < free - held
        if replica.running + replica.moving >= pool.max_seqs or not (fit or alone):
            replica.full = 1
            break
        n = add(s, r, slot, n, admit(s, r, request.prompt, now), chunk)
        budget -= chunk
        held += blocks_of(pool, prompt) * pool.block_tokens + pool.block_tokens
        held += answer if request.done + chunk == request.prompt else 0
    return n


def decode_or_retract(s: State, r: int, slot: int, n: int) -> int:
    """Add one decode token for every running request, an even share of them per micro-batch, after making room."""
    replica = s.replica[r]
    if replica.running < replica.seen_running:
        replica.full = 0
        replica.again = s.queue[r].length > 0
    if growth(s, r, 0, 0, 1) + blocks_short(s, r) > replica.free_blocks:
        scatter(s, r)
    while blocks_short(s, r) > replica.free_blocks and retract_one(s, r):
        replica.full = 0
    share, decodes = decode_share(s, r), 0
    for k in range(seat_crowd(s, r, slot), replica.running):
        i = s.running[r, k]
        request = s.request[i]
        ready = request.prefilled and not request.in_flight and decodes < share
        if ready and grow(replica, request, blocks_of(s.pool[replica.pool], request.done)):
            n = add(s, r, slot, n, i, 0)
            decodes += 1
    return n


def blocks_short(s: State, r: int) -> int:
    """Blocks that the next decode takes of everybody who is not in the crowd."""
    replica = s.replica[r]
    short = 0
    for k in range(replica.crowd, replica.running):
        request = s.request[s.running[r, k]]
        if request.prefilled and not request.in_flight:
            short += max(blocks_of(s.pool[replica.pool], request.done) - request.blocks, 0)
    return int(short)


def retract_one(s: State, r: int) -> bool:
    """Retract who has generated least, of those the longest input, of those the last; never the only one."""
    replica = s.replica[r]
    chosen, least, longest, ready = -1, 0, 0, 0
    done = most = 0
    for k in range(replica.running):
        i = s.running[r, k]
        request = s.request[i]
        if request.prefilled and not request.in_flight:
            ready += 1
            generated = request.done - request.input
            done += generated
            most += request.output
            if chosen < 0 or generated < least or (generated == least and request.input >= longest):
                chosen, least, longest = i, generated, request.input
    if ready < 2:
        return False
    done, most = done - least, most - s.request[chosen].output
    retract(s, r, chosen)
    compact(s, r)
    set_ratio(s, r, min((done + RETRACT_STEPS * (ready - 1)) / (most + 1), 1.0))
    return True
