"""The simulation loop: arrivals, batches, completions in order of time. Knows pools, phases and edges, never an engine.

Between events nothing changes: while the batch is a pure decode batch that nobody can join, k steps are taken together
(`steady_steps`), and an arrival that could join cuts them at the end of the step in progress. Written with loops and
arrays only, because the same source runs compiled. Replicas of several pipeline stages are stepped: two requests
decode in different micro-batches already, and while a lone one is in the later stages the first is free, so whoever
arrives starts in the middle of a step and not at an end at which steps taken together could be cut.
"""

from __future__ import annotations

import math
from typing import Any

from planner.sim.blocks import take
from planner.sim.crews import muster
from planner.sim.crowd import advance, catch_up_all, growth, join, next_change
from planner.sim.events import forms, next_actor, set_event, time_of, wake
from planner.sim.finish import finish, finish_members, judge_start
from planner.sim.flights import after, steps_until
from planner.sim.gaps import gap_bin, record_gap, record_ramp
from planner.sim.kvcache import blocks_of, compact, grow, holds
from planner.sim.prefixes import leave
from planner.sim.pricing import affine, price
from planner.sim.routers import choose_replica
from planner.sim.schedulers import form_batch
from planner.sim.schedulers.balance import balance_left
from planner.sim.service import serve, served, spend
from planner.sim.state import (
    NOBODY,
    REJECTED,
    RUNNING,
    State,
    before,
    insert,
    pop_front,
    push_back,
    push_front,
    tick,
)
from planner.sim.tasks import pop_due, push_due, start, start_next
from planner.sim.transfer import end_copy, hand_over, pull

FOREVER = 1 << 60
"""More steps than any request needs, and more events than any run has."""
OVER = -1
"""What `run` returns when there is no more to do."""


def run(s: State, most: int) -> int:
    """Simulate until nothing is left to do, the horizon is reached, or a rule is broken beyond repair; then OVER.

    After `most` events it returns how many requests have finished, to be called again; most = 0 ends the run here.
    """
    pools, replicas, clock, left = s.pool.shape[0], s.replica.shape[0], s.clock[0], most
    if clock.begun == 0:
        clock.begun = 1
        for i in range(clock.next_request):
            if s.task.shape[0] == 0 or s.task[i].open == 0:
                start(s, i)
    if most == 0:
        clock.horizon_s = clock.now_s
    while clock.stopped == 0:
        actor = next_actor(s)
        now = time_of(s, actor)
        if now == math.inf or now > clock.horizon_s:
            break
        if most > 0 and left == 0:
            return int(clock.finished)
        left -= 1
        clock.now_s = now
        if actor < pools:
            arrive(s, actor, now)
        elif actor == pools:
            due(s, now)
        elif actor <= pools + replicas:
            copied(s, actor - pools - 1, now)
        elif actor <= pools + 2 * replicas:
            complete(s, actor - pools - 1 - replicas, now)
        else:
            launch(s, actor - pools - 1 - 2 * replicas, now)
    close(s)
    return OVER


def arrive(s: State, p: int, now: float) -> None:
    """The next request of pool p enters the queue of a replica, or is refused because it can never fit."""
    queue = s.queue[s.pool[p].arrival_queue]
    i = pop_front(s, s.pool[p].arrival_queue)
    following = s.request[queue.head].arrival_s + s.pool[p].request_s if queue.length > 0 else math.inf
    set_event(s, p, following)
    if s.request[i].state == REJECTED:
        start_next(s, now)
        return
    r = choose_replica(s, p, i)
    replica = s.replica[r]
    tick(s, r, now)
    s.request[i].replica = r
    s.request[i].first_replica = r
    replica.outstanding += 1
    if s.pool[p].servers > 0:
        push_back(s, r, i)
        replica.peak_waiting = max(replica.peak_waiting, s.queue[r].length)
        serve(s, r, now)
        return
    by_priority = s.pool[p].by_priority
    first = s.queue[r].length == 0
    if first or s.pool[p].balance_steps > 0 or (by_priority and before(s, i, s.queue[r].head)):
        cut(s, r, now)
    lag(s, r, i, now)
    if by_priority:
        insert(s, r, i)
    else:
        push_back(s, r, i)
    replica.waiting_tokens += s.request[i].prompt
    replica.peak_waiting = max(replica.peak_waiting, s.queue[r].length)
    wake(s, r, now)


def due(s: State, now: float) -> None:
    """The next task that is due has been served, or is ready: then it is the next to arrive at its pool."""
    i = pop_due(s)
    request = s.request[i]
    if request.state == RUNNING:
        served(s, i, now)
    elif request.state == REJECTED:
        start_next(s, now)
    elif request.pool == NOBODY:
        request.state = RUNNING
        request.admitted_s = now
        push_due(s, i, now + s.task[i].service_s)
    else:
        push_front(s, s.pool[request.pool].arrival_queue, i)
        set_event(s, request.pool, now)


def lag(s: State, r: int, i: int, now: float) -> None:
    """Engine step from which request i may be admitted: a fractional lag is spread so that its average holds."""
    replica = s.replica[r]
    steps = s.pool[replica.pool].lag_steps
    if steps > 0.0:
        replica.lag_credit += steps
        whole = int(replica.lag_credit)
        replica.lag_credit -= whole
        running = steps_until(s.flight[r, replica.oldest], now) if replica.flights > 0 else 0
        s.request[i].ready_step = replica.steps + running + whole


def launch(s: State, r: int, now: float) -> None:
    """Form a batch and start it on the first pipeline stage."""
    replica = s.replica[r]
    pool = s.pool[replica.pool]
    forms(s, r)
    tick(s, r, now)
    slot = (replica.oldest + replica.flights) % pool.stages
    flight = s.flight[r, slot]
    replica.preempted = replica.again = 0
    replica.swap_s = 0.0
    flight.crowd = 0
    flight.requests = form_batch(s, r, slot, now)
    if flight.requests + flight.crowd == 0:
        return
    if flight.crowd > 0:
        s.crowd[r, flight.crew].flying = 1
    for k in range(flight.requests):
        s.request[s.batch[r, slot, k].request].in_flight = 1
    flight.start_s = now
    flight.first_s = max(price(s, r, slot), replica.load_s) + replica.swap_s
    replica.load_s = 0.0
    flight.slope_s = 0.0
    flight.steps = 1
    everybody_decodes = flight.decodes == replica.running and flight.chunks == 0
    settled = replica.preempted == 0 and replica.again == 0 and replica.swap_s == 0.0
    if s.clock[0].skip and pool.stages == 1 and everybody_decodes and settled:
        steady(s, r, slot)
    flight.end_s = through_stages(s, r, after(flight, flight.steps))
    replica.flights += 1
    if replica.flights == 1:
        set_event(s, replica.completion_actor, flight.end_s)
    wake(s, r, now)


def through_stages(s: State, r: int, end: float) -> float:
    """Time a batch leaves the last pipeline stage when it leaves the first at `end`; a busy stage makes it wait."""
    pool = s.pool[s.replica[r].pool]
    seconds = end - s.clock[0].now_s
    s.stage_free_s[r, 0] = end
    for stage in range(1, pool.stages):
        end = max(end + pool.hop_s, s.stage_free_s[r, stage]) + seconds
        s.stage_free_s[r, stage] = end
    return end


def steady(s: State, r: int, slot: int) -> None:
    """Take as many decode steps together as leave batch, admissions and form of the price as they are.

    The scheduler has just admitted nobody, and until a request ends memory only shrinks: those who wait go on waiting.
    """
    flight, seats, replica, queue = s.flight[r, slot], s.batch[r, slot], s.replica[r], s.queue[r]
    pool = s.pool[replica.pool]
    most = next_change(s, r, 0) if flight.crowd > 0 else FOREVER
    for k in range(flight.requests):
        request = s.request[seats[k].request]
        most = min(most, request.input + request.output - request.done)
    if queue.length > 0:
        waits = s.request[queue.head].ready_step - replica.steps
        most = min(most, waits) if waits > 0 else most
        if pool.balance_steps > 0:
            most = min(most, balance_left(s, r))
    most, slope_s = affine(s, r, slot, most)
    low, high = 1, most + 1
    while high - low > 1:
        steps = most if high > most else (low + high) // 2
        if blocks_needed(s, r, flight, seats, pool, steps) < replica.free_blocks:
            low = steps
        else:
            high = steps
    flight.steps = low
    flight.slope_s = slope_s


def blocks_needed(s: State, r: int, flight: Any, seats: Any, pool: Any, steps: int) -> int:
    """Blocks that the batch of a flight takes on top in `steps` decode steps."""
    more = growth(s, r, 0, 1, steps) if flight.crowd > 0 else 0
    for k in range(flight.requests):
        request = s.request[seats[k].request]
        if not holds(pool, request, request.done + steps - 1):
            more += blocks_of(pool, request.done + steps - 1) - request.blocks
    return more


def take_blocks(s: State, r: int, slot: int) -> None:
    """Let the batch of a flight hold the blocks of all its steps."""
    flight, seats, replica = s.flight[r, slot], s.batch[r, slot], s.replica[r]
    pool = s.pool[replica.pool]
    if flight.crowd > 0:
        take(replica, growth(s, r, 0, flight.held_steps, flight.steps))
        flight.held_steps = flight.steps
    for k in range(flight.requests):
        request = s.request[seats[k].request]
        if not holds(pool, request, request.done + flight.steps - 1):
            grow(replica, request, blocks_of(pool, request.done + flight.steps - 1))


def cut(s: State, r: int, now: float) -> None:
    """Steps taken together end with the one in progress at `now`, because somebody may join after it."""
    replica = s.replica[r]
    flight = s.flight[r, replica.oldest]
    if replica.flights != 1 or flight.steps == 1:
        return
    flight.steps = steps_until(flight, now)
    take_blocks(s, r, replica.oldest)
    flight.end_s = after(flight, flight.steps)
    s.stage_free_s[r, 0] = flight.end_s
    set_event(s, replica.completion_actor, flight.end_s)


def complete(s: State, r: int, now: float) -> None:
    """The oldest micro-batch of replica r is done: tokens come out, requests end or move on."""
    replica = s.replica[r]
    slot = replica.oldest
    settle(s, r, slot, now)
    account(replica, s.flight[r, slot], now)
    log(s, r, slot, now)
    together = s.flight[r, slot].crowd == replica.crowd
    members = crowd_tokens(s, r, slot, now)
    loose = decode_tokens(s, r, slot, now) + prompt_tokens(s, r, slot, now)
    replica.flights -= 1
    replica.oldest = (slot + 1) % s.pool[replica.pool].stages
    following = s.flight[r, replica.oldest].end_s if replica.flights > 0 else math.inf
    set_event(s, replica.completion_actor, following)
    if loose > 0:
        compact(s, r)
    if members + loose > 0:
        pull(s, r, now)
    pool = s.pool[replica.pool]
    if pool.crowds and pool.stages > 1:
        muster(s, r, slot, now)
    elif pool.crowds and together:
        join(s, r, now)
    wake(s, r, now)


def settle(s: State, r: int, slot: int, now: float) -> None:
    """Blocks of steps taken together are taken at their end; count them in the time average as if they came evenly."""
    replica = s.replica[r]
    if s.flight[r, slot].steps > 1:
        before = replica.free_blocks
        take_blocks(s, r, slot)
        replica.block_area -= (before - replica.free_blocks) * (now - replica.seen_s) / 2
    tick(s, r, now)


def account(replica: Any, flight: Any, now: float) -> None:
    """Add the flight to the work totals of its replica."""
    steps, n = flight.steps, flight.decodes
    busy = now - max(replica.busy_until_s, flight.start_s)
    replica.busy_until_s = now
    replica.busy_s += busy
    if flight.chunks > 0:
        replica.prefill_busy_s += busy
    replica.steps += steps
    replica.decode_steps += 0 if flight.chunks > 0 else steps
    replica.prefill_tokens += flight.chunk_tokens
    replica.decode_tokens += n * steps
    replica.context_tokens += float(steps * flight.context + n * (steps * (steps - 1) // 2))
    replica.pairs += float(flight.pairs)


def log(s: State, r: int, slot: int, now: float) -> None:
    """Write the flight down if somebody wants to read it and there is room."""
    clock = s.clock[0]
    if clock.logged == s.log.shape[0]:
        return
    row, flight, replica = s.log[clock.logged], s.flight[r, slot], s.replica[r]
    clock.logged += 1
    row.replica, row.slot, row.start_s, row.end_s = r, slot, flight.start_s, now
    row.steps, row.decodes, row.context = flight.steps, flight.decodes, flight.context
    row.chunks, row.chunk_tokens = flight.chunks, flight.chunk_tokens
    row.waiting, row.free_blocks = s.queue[r].length, replica.free_blocks


def crowd_tokens(s: State, r: int, slot: int, now: float) -> int:
    """Tokens of the crowd of a flight; how many of its members ended."""
    flight = s.flight[r, slot]
    for c in range(s.totals.shape[0]):
        s.totals[c].tally = 0
    if flight.crowd == 0:
        return 0
    s.crowd[r, flight.crew].flying = 0
    advance(s, r, flight, now if flight.steps == 1 else after(flight, 1), now)
    return finish_members(s, r, flight.crew, now)


def decode_tokens(s: State, r: int, slot: int, now: float) -> int:
    """Tokens of the decodes of a flight with seats of their own; how many requests ended."""
    flight, seats, measured_from = s.flight[r, slot], s.batch[r, slot], s.clock[0].measured_from
    steps = flight.steps
    first_end = now if steps == 1 else after(flight, 1)
    last_gap_s = flight.first_s + flight.slope_s * (steps - 1)
    gone, b, latest_s = 0, 0, -1.0  # most of a batch have the same gap, and so the same bin
    for k in range(flight.requests):
        if seats[k].tokens > 0:
            continue
        i = seats[k].request
        request = s.request[i]
        gap_s = first_end - request.last_token_s
        if gap_s != latest_s:
            b, latest_s = gap_bin(gap_s), gap_s
        record_gap(s, i, gap_s, b)
        if steps > 1:
            request.largest_gap_s = max(request.largest_gap_s, last_gap_s)
            if i >= measured_from:
                s.totals[request.class_index].tally += 1
        request.last_token_s = now
        request.done += steps
        request.in_flight = 0
        if request.done == request.input + request.output:
            finish(s, r, i, now)
            gone += 1
    if steps > 1:
        record_ramp(s, flight.first_s, flight.slope_s, steps - 1)
    return gone


def prompt_tokens(s: State, r: int, slot: int, now: float) -> int:
    """Prompt chunks of a flight; the last chunk of a prompt yields a token. How many requests left the replica."""
    flight, seats, gone = s.flight[r, slot], s.batch[r, slot], 0
    for k in range(flight.requests if flight.chunks > 0 else 0):
        if seats[k].tokens == 0:
            continue
        i = seats[k].request
        request = s.request[i]
        request.in_flight = 0
        request.done += seats[k].tokens
        leave(s, r, i, request.done)
        if request.done < request.prompt:
            continue
        request.done += 1
        request.prefilled = 1
        if request.first_token_s == math.inf:
            request.first_token_s = now
            if i >= s.clock[0].measured_from:
                judge_start(s, request)
        else:
            gap_s = now - request.last_token_s
            record_gap(s, i, gap_s, gap_bin(gap_s))
        request.last_token_s = now
        if request.done == request.input + request.output:
            finish(s, r, i, now)
            gone += 1
        elif s.pool[s.replica[r].pool].decodes == 0:
            target = hand_over(s, r, i, now)
            cut(s, target, now)
            pull(s, target, now)
            gone += 1
    return gone


def copied(s: State, source: int, now: float) -> None:
    """The oldest copy from `source` has arrived; its request joins the batch after the step in progress."""
    i = s.queue[s.replica[source].link_queue].head
    cut(s, s.request[i].replica, now)
    end_copy(s, source, now)


def close(s: State) -> None:
    """When the run ends early, account the steps that were taken together as far as they got."""
    clock = s.clock[0]
    now = clock.now_s if clock.stopped else clock.horizon_s
    if now == math.inf:
        return
    for r in range(s.replica.shape[0]):
        replica = s.replica[r]
        if s.pool[replica.pool].servers > 0:
            spend(s, r, now)
        flight = s.flight[r, replica.oldest]
        if replica.flights == 1 and flight.steps > 1:
            cut(s, r, now)
            flight.steps -= 1 if flight.end_s > now else 0
            if flight.steps > 0:
                complete(s, r, after(flight, flight.steps))
        for c in range(s.pool[replica.pool].stages):
            catch_up_all(s, r, c)
        tick(s, r, max(now, replica.seen_s))
    clock.now_s = now
