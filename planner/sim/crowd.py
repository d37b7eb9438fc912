"""Crowds: requests that decode together on a replica, advanced as one at a cost that does not grow with their number.

While they take every decode step together, they differ only in when they end, when they take the next block and when
their window is full: a heap, and a count per remainder of block size. The record of a member stands still; `catch_up`
brings it up to date, and `disperse` all of them, whenever somebody must look at one. Nothing is decided here: with
skip=False there are no crowds, and results are the same.

The members are the first ones of the running list, in its order. Whoever else runs is loose, and has a seat of its own.
"""

from __future__ import annotations

from typing import Any

from planner.sim.blocks import take
from planner.sim.gaps import gap_bin
from planner.sim.state import NOBODY, State, before

ALONE = 2
"""Fewer are not worth a crowd."""


def seat_crowd(s: State, r: int, slot: int) -> int:
    """Let the crowd of replica r decode in this step, with the blocks it takes for that; how many it is.

    0 and no crowd any more when there might not be blocks for everybody: then who gets some is for the scheduler.
    """
    replica = s.replica[r]
    if replica.crowd == 0:
        replica.unsorted = 0
        return 0
    blocks = growth(s, r, 0, 1)
    if blocks >= replica.free_blocks or replica.unsorted:
        return disperse(s, r)
    if blocks > 0:
        take(replica, blocks)
    s.flight[r, slot].crowd = replica.crowd
    s.flight[r, slot].held_steps = 1
    return int(replica.crowd)


def growth(s: State, r: int, first: int, last: int) -> int:
    """Blocks that the crowd takes on top in its steps first .. last - 1 from now."""
    replica, size = s.replica[r], s.pool[s.replica[r].pool].block_tokens
    if replica.growers == 0:
        return 0
    rounds = (last - first) // size if last - first >= size else 0
    blocks = rounds * replica.growers
    k = (replica.crowd_step + first) % size
    for _ in range(last - first - rounds * size):
        blocks += s.grower[r, k]
        k = k + 1 if k + 1 < size else 0
    return int(blocks)


def advance(s: State, r: int, flight: Any, first_end: float, now: float) -> None:
    """The crowd has made the steps of a flight, the first until first_end; `tally` counts members for further ones."""
    replica, steps = s.replica[r], flight.steps
    gap_s = first_end - replica.crowd_s
    b = gap_bin(gap_s)
    for c in range(s.totals.shape[0]):
        n = s.member[r, c]
        s.gap_count[c, b] += n
        s.totals[c].gap_sum_s += n * gap_s
        if steps > 1:
            s.totals[c].tally += n
    replica.crowd_step += steps
    replica.crowd_context += steps * replica.crowd
    replica.crowd_window += steps * replica.crowd_inside
    replica.crowd_s = now
    if steps > 1:
        gap_s = max(gap_s, flight.first_s + flight.slope_s * (steps - 1))
    note_gap(s, r, gap_s)


def note_gap(s: State, r: int, gap_s: float) -> None:
    """Keep the largest gaps since each step: a later one makes smaller ones before it irrelevant."""
    replica = s.replica[r]
    n = replica.peaks
    while n > 0 and s.peak[r, n - 1].gap_s <= gap_s:
        n -= 1
    s.peak[r, n].step, s.peak[r, n].gap_s = replica.crowd_step, gap_s
    replica.peaks = n + 1
    if replica.peaks == s.peak.shape[1]:
        catch_up_all(s, r)


def join(s: State, r: int, now: float) -> None:
    """Whoever has just got a token, like the whole crowd, becomes a member, as far as the order of the list goes.

    Not while blocks are so few that the crowd might soon have to disperse.
    """
    replica = s.replica[r]
    few_blocks = replica.free_blocks <= replica.running
    if replica.running < ALONE or few_blocks or replica.unsorted or s.pool[replica.pool].crowds == 0:
        return
    k = replica.crowd
    while k < replica.running and joins(s, r, s.running[r, k], now):
        k += 1
    replica.crowd_s = now
    replica.crowd = k


def joins(s: State, r: int, i: int, now: float) -> bool:
    """Make request i a member if it decodes, has got a token at `now`, and takes blocks at an even pace."""
    request, replica = s.request[i], s.replica[r]
    pool = s.pool[replica.pool]
    if not request.prefilled or request.last_token_s != now:
        return False
    room = request.blocks * pool.block_tokens - request.done
    left = request.input + request.output - request.done
    request.grows = room < left - 1
    if request.grows and room >= pool.block_tokens:
        return False
    request.joined = replica.crowd_step
    push_change(s, r, replica.crowd_step + left, i)
    count_in(s, r, i, 1)
    replica.crowd_context += request.done
    replica.crowd_window += min(request.done, pool.window)
    inside = pool.window - request.done
    if inside >= 0:
        replica.crowd_inside += 1
        if inside < left - 1:
            push_change(s, r, replica.crowd_step + inside + 1, NOBODY)
    return True


def count_in(s: State, r: int, i: int, one: int) -> None:
    """Count member i by class and by the steps at which it takes blocks, or take it out by one = -1."""
    request, replica = s.request[i], s.replica[r]
    size = s.pool[replica.pool].block_tokens
    if i >= s.clock[0].measured_from:
        s.member[r, request.class_index] += one
    if request.grows:
        s.grower[r, (replica.crowd_step + 1 - request.done) % size] += one
        replica.growers += one


def next_change(s: State, r: int) -> int:
    """Steps until a member of the crowd ends or has its window full; there is a crowd."""
    return int(s.change[r, 0].step - s.replica[r].crowd_step)


def part(s: State, r: int) -> int:
    """Count out those who ended with the last step; how many. Their records are up to date; they stay in the list."""
    replica, gone = s.replica[r], 0
    window = s.pool[replica.pool].window
    while replica.changes > 0 and s.change[r, 0].step <= replica.crowd_step:
        step = s.change[r, 0].step
        i = pop_change(s, r)
        if i == NOBODY:
            replica.crowd_inside -= 1
            replica.crowd_window -= replica.crowd_step - step + 1
            continue
        catch_up(s, r, i)
        request = s.request[i]
        count_in(s, r, i, -1)
        replica.crowd_context -= request.done
        inside = request.done - 1 <= window
        replica.crowd_inside -= inside
        replica.crowd_window -= request.done if inside else window
        gone += 1
    return gone


def catch_up(s: State, r: int, i: int) -> None:
    """Bring the record of member i up to date."""
    request, replica = s.request[i], s.replica[r]
    pool = s.pool[replica.pool]
    steps = replica.crowd_step - request.joined
    if steps == 0:
        return
    k = 0
    while s.peak[r, k].step <= request.joined:
        k += 1
    request.largest_gap_s = max(request.largest_gap_s, s.peak[r, k].gap_s)
    request.done += steps
    request.joined = replica.crowd_step
    request.last_token_s = replica.crowd_s
    request.blocks = max(request.blocks, (request.done - 1 + pool.block_tokens - 1) // pool.block_tokens)


def catch_up_all(s: State, r: int) -> None:
    """Bring the records of all members up to date; they stay members."""
    for k in range(s.replica[r].crowd):
        catch_up(s, r, s.running[r, k])
    s.replica[r].peaks = 0


def disperse(s: State, r: int) -> int:
    """The members go on one by one; how many are left in the crowd."""
    replica = s.replica[r]
    catch_up_all(s, r)
    for k in range(replica.crowd):
        count_in(s, r, s.running[r, k], -1)
    replica.crowd = replica.crowd_context = replica.crowd_window = replica.crowd_inside = replica.changes = 0
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


def push_change(s: State, r: int, step: int, i: int) -> None:
    """Member i ends with a step; NOBODY: the window of some member is full one step before. A heap by step."""
    change = s.change
    k = s.replica[r].changes
    s.replica[r].changes += 1
    while k > 0 and step < change[r, (k - 1) // 2].step:
        up = change[r, (k - 1) // 2]
        change[r, k].step, change[r, k].request = up.step, up.request
        k = (k - 1) // 2
    change[r, k].step, change[r, k].request = step, i


def pop_change(s: State, r: int) -> int:
    """The next change leaves the heap; whose it is."""
    change = s.change
    found = change[r, 0].request
    s.replica[r].changes -= 1
    n, k = s.replica[r].changes, 0
    step, i = change[r, n].step, change[r, n].request
    while 2 * k + 1 < n:
        down = 2 * k + 1
        if down + 1 < n and change[r, down + 1].step < change[r, down].step:
            down += 1
        if change[r, down].step >= step:
            break
        change[r, k].step, change[r, k].request = change[r, down].step, change[r, down].request
        k = down
    change[r, k].step, change[r, k].request = step, i
    return int(found)
