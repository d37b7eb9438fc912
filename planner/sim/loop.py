"""The simulation loop: arrivals, batches, completions, in order of time. Knows pools, phases and edges, no engine by name.

Between events nothing changes: while the batch is a pure decode batch that nobody can join, k steps are taken together
(`steady_steps`), and an arrival that could join cuts them at the end of the step in progress. Written with loops and
arrays only, because the same source runs compiled.
"""

from __future__ import annotations

import math

from planner.sim.events import set_event, sleep, wake
from planner.sim.gaps import record_gap, record_ramp
from planner.sim.kvcache import blocks_of, give_back, take
from planner.sim.pricing import affine_steps, price, slope_s
from planner.sim.routers import choose_replica
from planner.sim.schedulers import form_batch
from planner.sim.state import (
    FINISHED,
    REJECTED,
    RUNNING,
    State,
    pop_front,
    push_back,
    tick,
)
from planner.sim.transfer import end_copy, hand_over, pull


def run(s: State) -> None:
    """Simulate until nothing is left to do, the horizon is reached, or a rule is broken beyond repair."""
    pools, replicas = s.pool.shape[0], s.replica.shape[0]
    while s.clock[0].stopped == 0:
        actor = s.event[1].winner
        now = s.event[actor].time_s
        if now == math.inf or now > s.clock[0].horizon_s:
            break
        s.clock[0].now_s = now
        if actor < pools:
            arrive(s, actor, now)
        elif actor < pools + replicas:
            end_copy_and_pull(s, actor - pools, now)
        elif actor < pools + 2 * replicas:
            complete(s, actor - pools - replicas, now)
        else:
            launch(s, actor - pools - 2 * replicas, now)
    close(s)


def start(s: State, i: int) -> None:
    """Request i is on its way to its pool; it enters the queue `request_s` after its arrival."""
    p = s.request[i].pool
    q = s.pool[p].arrival_queue
    push_back(s, q, i)
    if s.queue[q].length == 1:
        set_event(s, p, s.request[i].arrival_s + s.pool[p].request_s)


def start_next(s: State, now: float) -> None:
    """Closed loop: one request ended, the next one starts."""
    clock = s.clock
    i = clock[0].next_request
    if clock[0].concurrency > 0 and i < s.request.shape[0]:
        s.request[i].arrival_s = max(s.request[i].arrival_s, now)
        clock[0].next_request = i + 1
        start(s, i)


def arrive(s: State, p: int, now: float) -> None:
    """The next request of pool p enters the queue of a replica, or is refused when it can never fit."""
    q = s.pool[p].arrival_queue
    i = pop_front(s, q)
    following = math.inf
    if s.queue[q].length > 0:
        following = s.request[s.queue[q].head].arrival_s + s.pool[p].request_s
    set_event(s, p, following)
    if s.request[i].state == REJECTED:
        start_next(s, now)
        return
    r = choose_replica(s, p, i)
    tick(s, r, now)
    s.request[i].replica = r
    s.request[i].first_replica = r
    s.replica[r].outstanding += 1
    if s.queue[r].length == 0:
        cut(s, r, now)
    lag(s, r, i, now)
    push_back(s, r, i)
    s.replica[r].peak_waiting = max(s.replica[r].peak_waiting, s.queue[r].length)
    wake(s, r, now)


def lag(s: State, r: int, i: int, now: float) -> None:
    """Engine step from which request i may be admitted: a fractional lag is spread so that its average holds."""
    steps = s.pool[s.replica[r].pool].lag_steps
    if steps <= 0.0:
        return
    s.replica[r].lag_credit += steps
    whole = int(s.replica[r].lag_credit)
    s.replica[r].lag_credit -= whole
    s.request[i].ready_step = s.replica[r].steps + whole
    if s.replica[r].flights > 0:
        s.request[i].ready_step += steps_until(s, r, s.replica[r].oldest, now)


def launch(s: State, r: int, now: float) -> None:
    """Form a batch and start it on the first pipeline stage."""
    replica, flight, pool = s.replica, s.flight, s.pool
    sleep(s, r)
    tick(s, r, now)
    p = replica[r].pool
    slot = (replica[r].oldest + replica[r].flights) % pool[p].stages
    replica[r].preempted = 0
    n = form_batch(s, r, slot, now)
    if n == 0:
        return
    for k in range(n):
        s.request[s.batch[r, slot, k].request].in_flight = 1
    flight[r, slot].requests = n
    first = price(s, r, slot)
    flight[r, slot].start_s = now
    flight[r, slot].first_s = first
    flight[r, slot].slope_s = 0.0
    flight[r, slot].steps = 1
    end = now + first
    if pool[p].stages == 1 and s.clock[0].skip and steady(s, r, slot):
        flight[r, slot].slope_s = slope_s(s, r, slot)
        flight[r, slot].steps = steady_steps(s, r, slot)
        end = after(s, r, slot, flight[r, slot].steps)
    end = through_stages(s, r, end)
    replica[r].flights += 1
    if replica[r].flights == 1:
        set_event(s, s.replica[r].completion_actor, end)
    flight[r, slot].end_s = end
    wake(s, r, now)


def through_stages(s: State, r: int, end: float) -> float:
    """Time a batch leaves the last pipeline stage when it leaves the first at `end`; a busy stage makes it wait."""
    p = s.replica[r].pool
    seconds = end - s.clock[0].now_s
    s.stage_free_s[r, 0] = end
    for stage in range(1, s.pool[p].stages):
        end = max(end + s.pool[p].hop_s, s.stage_free_s[r, stage]) + seconds
        s.stage_free_s[r, stage] = end
    return end


def steady(s: State, r: int, slot: int) -> bool:
    """Whether the next batch will be the same: it decodes everybody, and the scheduler could admit nobody."""
    flight, replica = s.flight, s.replica
    everybody = flight[r, slot].decodes == replica[r].running and flight[r, slot].chunks == 0
    return bool(everybody and replica[r].preempted == 0)


def steady_steps(s: State, r: int, slot: int) -> int:
    """Decode steps until the batch, the admissions or the form of the price may change; at least 1."""
    request, batch, n = s.request, s.batch, s.flight[r, slot].requests
    i = batch[r, slot, 0].request
    most = request[i].input + request[i].output - request[i].done
    for k in range(1, n):
        i = batch[r, slot, k].request
        most = min(most, request[i].input + request[i].output - request[i].done)
    if s.queue[r].length > 0:
        waits = request[s.queue[r].head].ready_step - s.replica[r].steps
        if waits > 0:
            most = min(most, waits)
    most = affine_steps(s, r, slot, most)
    if most <= 1 or blocks_needed(s, r, slot, most) < s.replica[r].free_blocks:
        return max(most, 1)
    low = 1
    while most - low > 1:
        middle = (low + most) // 2
        if blocks_needed(s, r, slot, middle) < s.replica[r].free_blocks:
            low = middle
        else:
            most = middle
    return low


def blocks_needed(s: State, r: int, slot: int, steps: int) -> int:
    """Blocks that the batch takes on top in `steps` decode steps."""
    more = 0
    for k in range(s.flight[r, slot].requests):
        i = s.batch[r, slot, k].request
        more += max(blocks_of(s, r, s.request[i].done + steps - 1) - s.request[i].blocks, 0)
    return more


def take_blocks(s: State, r: int, slot: int, steps: int) -> None:
    """Let the batch hold the blocks of its first `steps` steps."""
    for k in range(s.flight[r, slot].requests):
        i = s.batch[r, slot, k].request
        more = blocks_of(s, r, s.request[i].done + steps - 1) - s.request[i].blocks
        if more > 0:
            take(s, r, more)
            s.request[i].blocks += more


def after(s: State, r: int, slot: int, steps: int) -> float:
    """Time at which the first `steps` steps of a flight have run: an arithmetic series."""
    flight = s.flight
    series = flight[r, slot].slope_s * (steps * (steps - 1) / 2)
    return float(flight[r, slot].start_s + (steps * flight[r, slot].first_s + series))


def steps_until(s: State, r: int, slot: int, now: float) -> int:
    """The first step of a flight that ends at `now` or later; the root of a quadratic, then exact by comparison."""
    flight = s.flight
    slope, steps = flight[r, slot].slope_s, flight[r, slot].steps
    elapsed = now - flight[r, slot].start_s
    b = flight[r, slot].first_s - slope / 2
    root = b + math.sqrt(b * b + 2 * slope * elapsed)
    j = steps
    if root > 0.0 and 2 * elapsed / root < steps:
        j = max(int(2 * elapsed / root), 1)
    while j > 1 and after(s, r, slot, j - 1) >= now:
        j -= 1
    while j < steps and after(s, r, slot, j) < now:
        j += 1
    return j


def cut(s: State, r: int, now: float) -> None:
    """Steps taken together end with the one in progress at `now`, because somebody may join after it."""
    slot = s.replica[r].oldest
    if s.replica[r].flights != 1 or s.flight[r, slot].steps == 1:
        return
    steps = steps_until(s, r, slot, now)
    s.flight[r, slot].steps = steps
    take_blocks(s, r, slot, steps)
    end = after(s, r, slot, steps)
    s.flight[r, slot].end_s = end
    s.stage_free_s[r, 0] = end
    set_event(s, s.replica[r].completion_actor, end)


def complete(s: State, r: int, now: float) -> None:
    """The oldest micro-batch of replica r is done: tokens come out, requests end or move on."""
    replica, flight = s.replica, s.flight
    slot = replica[r].oldest
    steps = flight[r, slot].steps
    if steps > 1:
        settle(s, r, slot, now)
    tick(s, r, now)
    account(s, r, slot, now)
    gone = decode_tokens(s, r, slot, now) + prompt_tokens(s, r, slot, now)
    replica[r].flights -= 1
    replica[r].oldest = (slot + 1) % s.pool[replica[r].pool].stages
    following = s.flight[r, replica[r].oldest].end_s if replica[r].flights > 0 else math.inf
    set_event(s, s.replica[r].completion_actor, following)
    if gone > 0:
        compact(s, r)
        pull(s, r, now)
    wake(s, r, now)


def settle(s: State, r: int, slot: int, now: float) -> None:
    """Blocks of a stretch of steps are taken at its end; count them in the time average as if they came evenly."""
    before = s.replica[r].free_blocks
    take_blocks(s, r, slot, s.flight[r, slot].steps)
    taken = before - s.replica[r].free_blocks
    s.replica[r].block_area -= taken * (now - s.replica[r].seen_s) / 2


def account(s: State, r: int, slot: int, now: float) -> None:
    """Add the flight to the work totals."""
    replica, flight = s.replica, s.flight
    steps, n = flight[r, slot].steps, flight[r, slot].decodes
    busy = now - max(replica[r].busy_until_s, flight[r, slot].start_s)
    replica[r].busy_until_s = now
    replica[r].busy_s += busy
    if flight[r, slot].chunks > 0:
        replica[r].prefill_busy_s += busy
    replica[r].steps += steps
    replica[r].prefill_tokens += flight[r, slot].chunk_tokens
    replica[r].decode_tokens += n * steps
    replica[r].context_tokens += float(steps * flight[r, slot].context + n * (steps * (steps - 1) // 2))
    replica[r].pairs += float(flight[r, slot].pairs)


def decode_tokens(s: State, r: int, slot: int, now: float) -> int:
    """Tokens of the decodes of a flight; how many requests ended."""
    request, flight = s.request, s.flight
    steps, first, slope = flight[r, slot].steps, flight[r, slot].first_s, flight[r, slot].slope_s
    first_end = now if steps == 1 else after(s, r, slot, 1)
    last_gap = first + slope * (steps - 1)
    for c in range(s.totals.shape[0]):
        s.totals[c].tally = 0
    gone = 0
    for k in range(flight[r, slot].decodes):
        i = s.batch[r, slot, k].request
        record_gap(s, i, first_end - request[i].last_token_s)
        if steps > 1:
            request[i].largest_gap_s = max(request[i].largest_gap_s, last_gap)
            if i >= s.clock[0].measured_from:
                s.totals[request[i].class_index].tally += 1
        request[i].last_token_s = now
        request[i].done += steps
        request[i].in_flight = 0
        if request[i].done == request[i].input + request[i].output:
            finish(s, r, i, now)
            gone += 1
    if steps > 1:
        record_ramp(s, first, slope, steps - 1)
    return gone


def prompt_tokens(s: State, r: int, slot: int, now: float) -> int:
    """Prompt chunks of a flight; the last chunk of a prompt yields a token. How many requests left the replica."""
    request, gone = s.request, 0
    for k in range(s.flight[r, slot].decodes, s.flight[r, slot].requests):
        i = s.batch[r, slot, k].request
        request[i].in_flight = 0
        request[i].done += s.batch[r, slot, k].tokens
        if request[i].done < request[i].prompt:
            continue
        request[i].done += 1
        request[i].prefilled = 1
        if request[i].first_token_s == math.inf:
            request[i].first_token_s = now
        else:
            record_gap(s, i, now - request[i].last_token_s)
        request[i].last_token_s = now
        if request[i].done == request[i].input + request[i].output:
            finish(s, r, i, now)
            gone += 1
        elif s.pool[s.replica[r].pool].decodes == 0:
            target = hand_over(s, r, i, now)
            cut(s, target, now)
            pull(s, target, now)
            gone += 1
    return gone


def finish(s: State, r: int, i: int, now: float) -> None:
    """The last token of request i is out."""
    s.request[i].finish_s = now
    s.request[i].state = FINISHED
    s.clock[0].finished += 1
    s.replica[r].outstanding -= 1
    give_back(s, r, s.request[i].blocks)
    s.request[i].blocks = 0
    judge(s, i)
    start_next(s, now)


def judge(s: State, i: int) -> None:
    """Count the rules that request i broke; stop when one is broken more often than its statistic allows."""
    request, rule = s.request, s.rule
    wait = request[i].first_token_s - request[i].arrival_s
    whole = request[i].finish_s - request[i].arrival_s
    for k in range(rule.shape[0]):
        if rule[k].class_index != request[i].class_index or i < s.clock[0].measured_from:
            continue
        spread = (whole - wait) / (request[i].output - 1) if request[i].output > 1 else 0.0
        slow = wait > rule[k].ttft_s or whole > rule[k].e2e_s or spread > rule[k].tpot_s
        if slow or request[i].largest_gap_s > rule[k].itl_s:
            rule[k].broken += 1
            if rule[k].broken > rule[k].allowed:
                s.clock[0].stopped = 1


def compact(s: State, r: int) -> None:
    """Drop requests that left from the running list, keeping the order."""
    n = 0
    for k in range(s.replica[r].running):
        i = s.running[r, k]
        if s.request[i].state == RUNNING:
            s.running[r, n] = i
            n += 1
    s.replica[r].running = n


def end_copy_and_pull(s: State, source: int, now: float) -> None:
    """The oldest copy from `source` has arrived; its request joins the batch after the step in progress."""
    target = s.request[s.queue[s.replica[source].link_queue].head].replica
    cut(s, target, now)
    end_copy(s, source, now)


def close(s: State) -> None:
    """At the end of time, account the steps that were taken together as far as they got."""
    now = min(s.clock[0].horizon_s, s.clock[0].now_s if s.clock[0].stopped else math.inf)
    if now == math.inf:
        return
    for r in range(s.replica.shape[0]):
        slot = s.replica[r].oldest
        if s.replica[r].flights == 1 and s.flight[r, slot].steps > 1:
            cut(s, r, now)
            s.flight[r, slot].steps -= 1
            if s.flight[r, slot].steps > 0:
                complete(s, r, after(s, r, slot, s.flight[r, slot].steps))
        tick(s, r, max(now, s.replica[r].seen_s))
    s.clock[0].now_s = now
