"""Crowds: requests that decode together on a replica, advanced as one at a cost that does not grow with their number.

While they take every decode step together, they differ only in when they end, when they take the next block and when
their window is full: a heap, and a count per remainder of block size. The record of a member stands still; `catch_up`
brings it up to date, and `disperse` all of them, whenever somebody must look at one. Nothing is decided here: with
skip=False there are no crowds, and results are the same.

Members stand in State.running from `base` on, in order. On a replica of one stage there is one crowd, and it is the
beginning of the running list itself. Of a pipeline each micro-batch has its crowd, apart from the list (`crews`).
Whoever else runs is loose, and has a seat of its own.
"""

from __future__ import annotations

from typing import Any

from planner.sim.blocks import take
from planner.sim.gaps import gap_bin
from planner.sim.state import NOBODY, State, before

ALONE = 2
"""Fewer are not worth a crowd."""


def seat_crowd(s: State, r: int, slot: int) -> int:
    """Let the crowd of replica r, of one stage, decode in this step, with the blocks it takes for that; how many it is.

    0 and no crowd any more when there might not be blocks for everybody: then who gets some is for the scheduler.
    """
    replica = s.replica[r]
    if replica.crowd == 0:
        replica.unsorted = 0
        return 0
    if growth(s, r, 0, 0, 1) >= replica.free_blocks or replica.unsorted:
        return scatter(s, r)
    return seat(s, r, slot, 0)


def seat(s: State, r: int, slot: int, c: int) -> int:
    """Crowd c decodes in this step."""
    replica, flight, crowd = s.replica[r], s.flight[r, slot], s.crowd[r, c]
    blocks = growth(s, r, c, 0, 1)
    if blocks > 0:
        take(replica, blocks)
    flight.crew, flight.crowd, flight.held_steps = c, crowd.size, 1
    return int(crowd.size)


def growth(s: State, r: int, c: int, first: int, last: int) -> int:
    """Blocks that crowd c takes on top in its steps first .. last - 1 from now."""
    crowd, size = s.crowd[r, c], s.pool[s.replica[r].pool].block_tokens
    if crowd.growers == 0:
        return 0
    rounds = (last - first) // size if last - first >= size else 0
    blocks = rounds * crowd.growers
    k = (crowd.step + first) % size
    for _ in range(last - first - rounds * size):
        blocks += s.grower[r, c, k]
        k = k + 1 if k + 1 < size else 0
    return int(blocks)


def advance(s: State, r: int, flight: Any, first_end: float, now: float) -> None:
    """The crowd has made the steps of a flight, the first until first_end; `tally` counts members for further ones."""
    crowd, steps = s.crowd[r, flight.crew], flight.steps
    gap_s = first_end - crowd.ended_s
    b = gap_bin(gap_s)
    for i in range(s.totals.shape[0]):
        n = s.member[r, flight.crew, i]
        s.gap_count[i, b] += n
        s.totals[i].gap_sum_s += n * gap_s
        if steps > 1:
            s.totals[i].tally += n
    crowd.step += steps
    crowd.context += steps * crowd.size
    crowd.window += steps * crowd.inside
    crowd.ended_s = now
    if steps > 1:
        gap_s = max(gap_s, flight.first_s + flight.slope_s * (steps - 1))
    note_gap(s, r, flight.crew, gap_s)


def note_gap(s: State, r: int, c: int, gap_s: float) -> None:
    """Keep the largest gaps since each step: a later one makes smaller ones before it irrelevant."""
    crowd = s.crowd[r, c]
    n = crowd.peaks
    while n > 0 and s.peak[r, c, n - 1].gap_s <= gap_s:
        n -= 1
    s.peak[r, c, n].step, s.peak[r, c, n].gap_s = crowd.step, gap_s
    crowd.peaks = n + 1
    if crowd.peaks == s.peak.shape[2]:
        catch_up_all(s, r, c)


def join(s: State, r: int, now: float) -> None:
    """Who has just got a token, like the whole crowd, becomes a member, as far as the order of the list goes.

    Not while blocks are so few that the crowd might soon have to disperse.
    """
    replica, crowd = s.replica[r], s.crowd[r, 0]
    if replica.running < ALONE or replica.unsorted or few_blocks(replica):
        return
    while crowd.size < replica.running and joins(s, r, 0, s.running[r, crowd.size], now):
        crowd.size += 1
    crowd.ended_s = now
    replica.crowd = crowd.size


def few_blocks(replica: Any) -> bool:
    """Whether a crowd might soon have to disperse for want of blocks."""
    return bool(replica.free_blocks <= replica.running)


def joins(s: State, r: int, c: int, i: int, now: float) -> bool:
    """Make request i a member if it decodes, has got a token at `now`, and takes blocks at an even pace."""
    request, crowd = s.request[i], s.crowd[r, c]
    pool = s.pool[s.replica[r].pool]
    if not request.prefilled or request.last_token_s != now:
        return False
    room = request.blocks * pool.block_tokens - request.done
    left = request.input + request.output - request.done
    request.grows = room < left - 1
    if request.grows and room >= pool.block_tokens:
        return False
    request.joined = crowd.step
    push_change(s, r, c, crowd.step + left, i)
    count_in(s, r, c, i, 1)
    crowd.context += request.done
    crowd.window += min(request.done, pool.window)
    inside = pool.window - request.done
    if inside >= 0:
        crowd.inside += 1
        if inside < left - 1:
            push_change(s, r, c, crowd.step + inside + 1, NOBODY)
    return True


def count_in(s: State, r: int, c: int, i: int, one: int) -> None:
    """Count member i by class and by the steps at which it takes blocks, or take it out by one = -1."""
    request, crowd = s.request[i], s.crowd[r, c]
    size = s.pool[s.replica[r].pool].block_tokens
    if i >= s.clock[0].measured_from:
        s.member[r, c, request.class_index] += one
    if request.grows:
        s.grower[r, c, (crowd.step + 1 - request.done) % size] += one
        crowd.growers += one


def next_change(s: State, r: int, c: int) -> int:
    """Steps until a member of the crowd ends or has its window full; there is a crowd."""
    return int(s.change[r, c, 0].step - s.crowd[r, c].step)


def part(s: State, r: int, c: int) -> tuple[int, int]:
    """Count out those who ended with the last step: (how many, one of them). They stay in the list."""
    crowd, gone, last = s.crowd[r, c], 0, NOBODY
    window = s.pool[s.replica[r].pool].window
    while crowd.changes > 0 and s.change[r, c, 0].step <= crowd.step:
        step = s.change[r, c, 0].step
        i = pop_change(s, r, c)
        if i == NOBODY:
            crowd.inside -= 1
            crowd.window -= crowd.step - step + 1
            continue
        catch_up(s, r, c, i)
        request = s.request[i]
        count_in(s, r, c, i, -1)
        crowd.context -= request.done
        inside = request.done - 1 <= window
        crowd.inside -= inside
        crowd.window -= request.done if inside else window
        gone, last = gone + 1, i
    return gone, last


def catch_up(s: State, r: int, c: int, i: int) -> None:
    """Bring the record of member i up to date."""
    request, crowd = s.request[i], s.crowd[r, c]
    pool = s.pool[s.replica[r].pool]
    steps = crowd.step - request.joined
    if steps == 0:
        return
    k = 0
    while s.peak[r, c, k].step <= request.joined:
        k += 1
    request.largest_gap_s = max(request.largest_gap_s, s.peak[r, c, k].gap_s)
    request.done += steps
    request.joined = crowd.step
    request.last_token_s = crowd.ended_s
    request.blocks = max(request.blocks, (request.done - 1 + pool.block_tokens - 1) // pool.block_tokens)


def catch_up_all(s: State, r: int, c: int) -> None:
    """Bring the records of all members up to date; they stay members."""
    crowd = s.crowd[r, c]
    for k in range(crowd.size):
        catch_up(s, r, c, s.running[r, crowd.base + k])
    crowd.peaks = 0


def dissolve(s: State, r: int, c: int) -> None:
    """The members are members no more; where they stand is for the caller."""
    crowd = s.crowd[r, c]
    catch_up_all(s, r, c)
    for k in range(crowd.size):
        count_in(s, r, c, s.running[r, crowd.base + k], -1)
    crowd.size = crowd.context = crowd.window = crowd.inside = crowd.changes = 0


def scatter(s: State, r: int) -> int:
    """The members of the only crowd go on one by one; how many are left in it."""
    replica = s.replica[r]
    dissolve(s, r, 0)
    replica.crowd = 0
    if replica.unsorted:
        sort(s, r)
    return 0


def sort(s: State, r: int) -> None:
    """Put the running list in order of priority; nearly all of it is."""
    replica = s.replica[r]
    for last in range(1, replica.running):
        i, k = s.running[r, last], last
        while k > 0 and before(s, i, s.running[r, k - 1]):
            s.running[r, k] = s.running[r, k - 1]
            k -= 1
        s.running[r, k] = i
    replica.unsorted = 0


def push_change(s: State, r: int, c: int, step: int, i: int) -> None:
    """Member i ends with a step; NOBODY: the window of some member is full one step before. A heap by step."""
    change = s.change
    k = s.crowd[r, c].changes
    s.crowd[r, c].changes += 1
    while k > 0 and step < change[r, c, (k - 1) // 2].step:
        up = change[r, c, (k - 1) // 2]
        change[r, c, k].step, change[r, c, k].request = up.step, up.request
        k = (k - 1) // 2
    change[r, c, k].step, change[r, c, k].request = step, i


def pop_change(s: State, r: int, c: int) -> int:
    """The next change leaves the heap; whose it is."""
    change = s.change
    found = change[r, c, 0].request
    s.crowd[r, c].changes -= 1
    n, k = s.crowd[r, c].changes, 0
    step, i = change[r, c, n].step, change[r, c, n].request
    while 2 * k + 1 < n:
        down = 2 * k + 1
        if down + 1 < n and change[r, c, down + 1].step < change[r, c, down].step:
            down += 1
        if change[r, c, down].step >= step:
            break
        change[r, c, k].step, change[r, c, k].request = change[r, c, down].step, change[r, c, down].request
        k = down
    change[r, c, k].step, change[r, c, k].request = step, i
    return int(found)
