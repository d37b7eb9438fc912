"""The simulation loop: arrivals, batches, completions, in order of time. Knows pools, phases and edges, no engine by name.

Between events nothing changes: while the batch is a pure decode batch that nobody can join, k steps are taken together
(`steady_steps`), and an arrival that could join cuts them at the end of the step in progress. Written with loops and
arrays only, because the same source runs compiled.
"""

from __future__ import annotations

import math

from planner.sim.events import completion_actor, set_event, sleep, wake
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
    arrival_queue,
    link_queue,
    pop_front,
    push_back,
    tick,
)
from planner.sim.transfer import end_copy, hand_over, pull


def run(s: State) -> None:
    """Simulate until nothing is left to do, the horizon is reached, or a rule is broken beyond repair."""
    pools, replicas = s.pool.shape[0], s.replica.shape[0]
    while s.clock.stopped[0] == 0:
        actor = s.winner[1]
        now = s.when[actor]
        if now == math.inf or now > s.clock.horizon_s[0]:
            break
        s.clock.now_s[0] = now
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
    p = s.request.pool[i]
    q = arrival_queue(s, p)
    push_back(s, q, i)
    if s.queue.length[q] == 1:
        set_event(s, p, s.request.arrival_s[i] + s.pool.request_s[p])


def start_next(s: State, now: float) -> None:
    """Closed loop: one request ended, the next one starts."""
    clock = s.clock
    i = clock.next_request[0]
    if clock.concurrency[0] > 0 and i < s.request.shape[0]:
        s.request.arrival_s[i] = max(s.request.arrival_s[i], now)
        clock.next_request[0] = i + 1
        start(s, i)


def arrive(s: State, p: int, now: float) -> None:
    """The next request of pool p enters the queue of a replica, or is refused when it can never fit."""
    q = arrival_queue(s, p)
    i = pop_front(s, q)
    following = math.inf
    if s.queue.length[q] > 0:
        following = s.request.arrival_s[s.queue.head[q]] + s.pool.request_s[p]
    set_event(s, p, following)
    if s.request.state[i] == REJECTED:
        start_next(s, now)
        return
    r = choose_replica(s, p, i)
    tick(s, r, now)
    s.request.replica[i] = r
    s.request.first_replica[i] = r
    s.replica.outstanding[r] += 1
    if s.queue.length[r] == 0:
        cut(s, r, now)
    lag(s, r, i)
    push_back(s, r, i)
    s.replica.peak_waiting[r] = max(s.replica.peak_waiting[r], s.queue.length[r])
    wake(s, r, now)


def lag(s: State, r: int, i: int) -> None:
    """Engine step from which request i may be admitted: a fractional lag is spread so that its average holds."""
    steps = s.pool.lag_steps[s.replica.pool[r]]
    if steps <= 0.0:
        return
    s.replica.lag_credit[r] += steps
    whole = int(s.replica.lag_credit[r])
    s.replica.lag_credit[r] -= whole
    s.request.ready_step[i] = s.replica.steps[r] + whole
    if s.replica.flights[r] > 0:
        s.request.ready_step[i] += s.flight.steps[r, s.replica.oldest[r]]


def launch(s: State, r: int, now: float) -> None:
    """Form a batch and start it on the first pipeline stage."""
    replica, flight, pool = s.replica, s.flight, s.pool
    sleep(s, r)
    tick(s, r, now)
    p = replica.pool[r]
    slot = (replica.oldest[r] + replica.flights[r]) % pool.stages[p]
    replica.preempted[r] = 0
    n = form_batch(s, r, slot, now)
    if n == 0:
        return
    for k in range(n):
        s.request.in_flight[s.batch[r, slot, k]] = 1
    flight.requests[r, slot] = n
    first = price(s, r, slot)
    flight.start_s[r, slot] = now
    flight.first_s[r, slot] = first
    flight.slope_s[r, slot] = 0.0
    flight.steps[r, slot] = 1
    end = now + first
    if pool.stages[p] == 1 and s.clock.skip[0] and steady(s, r, slot):
        flight.slope_s[r, slot] = slope_s(s, r, slot)
        flight.steps[r, slot] = steady_steps(s, r, slot)
        end = after(s, r, slot, flight.steps[r, slot])
    end = through_stages(s, r, end)
    replica.flights[r] += 1
    if replica.flights[r] == 1:
        set_event(s, completion_actor(s, r), end)
    flight.end_s[r, slot] = end
    wake(s, r, now)


def through_stages(s: State, r: int, end: float) -> float:
    """Time a batch leaves the last pipeline stage when it leaves the first at `end`; a busy stage makes it wait."""
    p = s.replica.pool[r]
    seconds = end - s.clock.now_s[0]
    s.stage_free_s[r, 0] = end
    for stage in range(1, s.pool.stages[p]):
        end = max(end + s.pool.hop_s[p], s.stage_free_s[r, stage]) + seconds
        s.stage_free_s[r, stage] = end
    return end


def steady(s: State, r: int, slot: int) -> bool:
    """Whether the next batch will be the same: it decodes everybody, and the scheduler could admit nobody."""
    flight, replica = s.flight, s.replica
    everybody = flight.decodes[r, slot] == replica.running[r] and flight.chunks[r, slot] == 0
    return bool(everybody and replica.preempted[r] == 0)


def steady_steps(s: State, r: int, slot: int) -> int:
    """Decode steps until the batch, the admissions or the form of the price may change; at least 1."""
    request, batch, n = s.request, s.batch, s.flight.requests[r, slot]
    i = batch[r, slot, 0]
    most = request.input[i] + request.output[i] - request.done[i]
    for k in range(1, n):
        i = batch[r, slot, k]
        most = min(most, request.input[i] + request.output[i] - request.done[i])
    if s.queue.length[r] > 0:
        waits = request.ready_step[s.queue.head[r]] - s.replica.steps[r]
        if waits > 0:
            most = min(most, waits)
    most = affine_steps(s, r, slot, most)
    if most <= 1 or blocks_needed(s, r, slot, most) < s.replica.free_blocks[r]:
        return max(most, 1)
    low = 1
    while most - low > 1:
        middle = (low + most) // 2
        if blocks_needed(s, r, slot, middle) < s.replica.free_blocks[r]:
            low = middle
        else:
            most = middle
    return low


def blocks_needed(s: State, r: int, slot: int, steps: int) -> int:
    """Blocks that the batch takes on top in `steps` decode steps."""
    more = 0
    for k in range(s.flight.requests[r, slot]):
        i = s.batch[r, slot, k]
        more += max(blocks_of(s, r, s.request.done[i] + steps - 1) - s.request.blocks[i], 0)
    return more


def take_blocks(s: State, r: int, slot: int, steps: int) -> None:
    """Let the batch hold the blocks of its first `steps` steps."""
    for k in range(s.flight.requests[r, slot]):
        i = s.batch[r, slot, k]
        more = blocks_of(s, r, s.request.done[i] + steps - 1) - s.request.blocks[i]
        if more > 0:
            take(s, r, more)
            s.request.blocks[i] += more


def after(s: State, r: int, slot: int, steps: int) -> float:
    """Time at which the first `steps` steps of a flight have run: an arithmetic series."""
    flight = s.flight
    series = flight.slope_s[r, slot] * (steps * (steps - 1) / 2)
    return float(flight.start_s[r, slot] + (steps * flight.first_s[r, slot] + series))


def steps_until(s: State, r: int, slot: int, now: float) -> int:
    """The first step of a flight that ends at `now` or later; the root of a quadratic, then exact by comparison."""
    flight = s.flight
    slope, steps = flight.slope_s[r, slot], flight.steps[r, slot]
    elapsed = now - flight.start_s[r, slot]
    b = flight.first_s[r, slot] - slope / 2
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
    slot = s.replica.oldest[r]
    if s.replica.flights[r] != 1 or s.flight.steps[r, slot] == 1:
        return
    steps = steps_until(s, r, slot, now)
    s.flight.steps[r, slot] = steps
    take_blocks(s, r, slot, steps)
    end = after(s, r, slot, steps)
    s.flight.end_s[r, slot] = end
    s.stage_free_s[r, 0] = end
    set_event(s, completion_actor(s, r), end)


def complete(s: State, r: int, now: float) -> None:
    """The oldest micro-batch of replica r is done: tokens come out, requests end or move on."""
    replica, flight = s.replica, s.flight
    slot = replica.oldest[r]
    steps = flight.steps[r, slot]
    if steps > 1:
        settle(s, r, slot, now)
    tick(s, r, now)
    account(s, r, slot, now)
    gone = decode_tokens(s, r, slot, now) + prompt_tokens(s, r, slot, now)
    replica.flights[r] -= 1
    replica.oldest[r] = (slot + 1) % s.pool.stages[replica.pool[r]]
    following = s.flight.end_s[r, replica.oldest[r]] if replica.flights[r] > 0 else math.inf
    set_event(s, completion_actor(s, r), following)
    if gone > 0:
        compact(s, r)
        pull(s, r, now)
    wake(s, r, now)


def settle(s: State, r: int, slot: int, now: float) -> None:
    """Blocks of a stretch of steps are taken at its end; count them in the time average as if they came evenly."""
    before = s.replica.free_blocks[r]
    take_blocks(s, r, slot, s.flight.steps[r, slot])
    taken = before - s.replica.free_blocks[r]
    s.replica.block_area[r] -= taken * (now - s.replica.seen_s[r]) / 2


def account(s: State, r: int, slot: int, now: float) -> None:
    """Add the flight to the work totals."""
    replica, flight = s.replica, s.flight
    steps, n = flight.steps[r, slot], flight.decodes[r, slot]
    busy = now - max(replica.busy_until_s[r], flight.start_s[r, slot])
    replica.busy_until_s[r] = now
    replica.busy_s[r] += busy
    if flight.chunks[r, slot] > 0:
        replica.prefill_busy_s[r] += busy
    replica.steps[r] += steps
    replica.prefill_tokens[r] += flight.chunk_tokens[r, slot]
    replica.decode_tokens[r] += n * steps
    replica.context_tokens[r] += float(steps * flight.context[r, slot] + n * (steps * (steps - 1) // 2))
    replica.pairs[r] += float(flight.pairs[r, slot])


def decode_tokens(s: State, r: int, slot: int, now: float) -> int:
    """Tokens of the decodes of a flight; how many requests ended."""
    request, flight = s.request, s.flight
    steps, first, slope = flight.steps[r, slot], flight.first_s[r, slot], flight.slope_s[r, slot]
    first_end = now if steps == 1 else after(s, r, slot, 1)
    last_gap = first + slope * (steps - 1)
    s.tally[:] = 0
    gone = 0
    for k in range(flight.decodes[r, slot]):
        i = s.batch[r, slot, k]
        record_gap(s, i, first_end - request.last_token_s[i])
        if steps > 1:
            request.largest_gap_s[i] = max(request.largest_gap_s[i], last_gap)
            if i >= s.clock.measured_from[0]:
                s.tally[request.class_index[i]] += 1
        request.last_token_s[i] = now
        request.done[i] += steps
        request.in_flight[i] = 0
        if request.done[i] == request.input[i] + request.output[i]:
            finish(s, r, i, now)
            gone += 1
    if steps > 1:
        record_ramp(s, first, slope, steps - 1)
    return gone


def prompt_tokens(s: State, r: int, slot: int, now: float) -> int:
    """Prompt chunks of a flight; the last chunk of a prompt yields a token. How many requests left the replica."""
    request, gone = s.request, 0
    for k in range(s.flight.decodes[r, slot], s.flight.requests[r, slot]):
        i = s.batch[r, slot, k]
        request.in_flight[i] = 0
        request.done[i] += s.chunk[r, slot, k]
        if request.done[i] < request.prompt[i]:
            continue
        request.done[i] += 1
        request.prefilled[i] = 1
        if request.first_token_s[i] == math.inf:
            request.first_token_s[i] = now
        else:
            record_gap(s, i, now - request.last_token_s[i])
        request.last_token_s[i] = now
        if request.done[i] == request.input[i] + request.output[i]:
            finish(s, r, i, now)
            gone += 1
        elif s.pool.decodes[s.replica.pool[r]] == 0:
            target = hand_over(s, r, i, now)
            cut(s, target, now)
            pull(s, target, now)
            gone += 1
    return gone


def finish(s: State, r: int, i: int, now: float) -> None:
    """The last token of request i is out."""
    s.request.finish_s[i] = now
    s.request.state[i] = FINISHED
    s.clock.finished[0] += 1
    s.replica.outstanding[r] -= 1
    give_back(s, r, s.request.blocks[i])
    s.request.blocks[i] = 0
    judge(s, i)
    start_next(s, now)


def judge(s: State, i: int) -> None:
    """Count the rules that request i broke; stop when one is broken more often than its statistic allows."""
    request, rule = s.request, s.rule
    wait = request.first_token_s[i] - request.arrival_s[i]
    whole = request.finish_s[i] - request.arrival_s[i]
    for k in range(rule.shape[0]):
        if rule.class_index[k] != request.class_index[i] or i < s.clock.measured_from[0]:
            continue
        spread = (whole - wait) / (request.output[i] - 1) if request.output[i] > 1 else 0.0
        slow = wait > rule.ttft_s[k] or whole > rule.e2e_s[k] or spread > rule.tpot_s[k]
        if slow or request.largest_gap_s[i] > rule.itl_s[k]:
            rule.broken[k] += 1
            if rule.broken[k] > rule.allowed[k]:
                s.clock.stopped[0] = 1


def compact(s: State, r: int) -> None:
    """Drop requests that left from the running list, keeping the order."""
    n = 0
    for k in range(s.replica.running[r]):
        i = s.running[r, k]
        if s.request.state[i] == RUNNING:
            s.running[r, n] = i
            n += 1
    s.replica.running[r] = n


def end_copy_and_pull(s: State, source: int, now: float) -> None:
    """The oldest copy from `source` has arrived; its request joins the batch after the step in progress."""
    target = s.request.replica[s.queue.head[link_queue(s, source)]]
    cut(s, target, now)
    end_copy(s, source, now)


def close(s: State) -> None:
    """At the end of time, account the steps that were taken together as far as they got."""
    now = min(s.clock.horizon_s[0], s.clock.now_s[0] if s.clock.stopped[0] else math.inf)
    if now == math.inf:
        return
    for r in range(s.replica.shape[0]):
        slot = s.replica.oldest[r]
        if s.replica.flights[r] == 1 and s.flight.steps[r, slot] > 1:
            cut(s, r, now)
            s.flight.steps[r, slot] -= 1
            if s.flight.steps[r, slot] > 0:
                complete(s, r, after(s, r, slot, s.flight.steps[r, slot]))
        tick(s, r, max(now, s.replica.seen_s[r]))
    s.clock.now_s[0] = now
