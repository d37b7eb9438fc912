"""Crews: the crowds of a pipeline, one for each micro-batch. Not how a crowd is advanced (`crowd`).

A micro-batch takes the first free requests of the running list up to an even share, so in the long run the same ones
go round together. While that is so they stand apart from the list; `place`, the order of admission, is where they
belong in it. Whenever the list would decide differently - another crew is free too, a prompt stands before a member,
blocks are short, the share has shrunk - they go back into it.
"""

from __future__ import annotations

from planner.sim.crowd import ALONE, dissolve, few_blocks, growth, joins, seat
from planner.sim.state import NOBODY, RUNNING, State


def listed(s: State, r: int) -> int:
    """Length of the running list: all who run but the members of crews."""
    return int(s.replica[r].running - s.replica[r].apart)


def seat_crew(s: State, r: int, slot: int) -> int:
    """Let the crew that is free decode in this micro-batch; how many it is, 0 when there is none, or none any more."""
    c = free_crew(s, r)
    if c == NOBODY:
        return 0
    if outnumbered(s, r, c) or crowded_out(s, r, c):
        disband(s, r, c)
        return 0
    return seat(s, r, slot, c)


def free_crew(s: State, r: int) -> int:
    """The crew that is in no micro-batch; of several, which would mix, none is left."""
    found = free = 0
    for c in range(s.pool[s.replica[r].pool].stages):
        if s.crowd[r, c].size > 0 and s.crowd[r, c].flying == 0:
            found, free = c, free + 1
    if free == 1:
        return int(found)
    if free > 1:
        for c in range(s.pool[s.replica[r].pool].stages):
            if s.crowd[r, c].size > 0 and s.crowd[r, c].flying == 0:
                disband(s, r, c)
    return NOBODY


def last_place(s: State, r: int, c: int) -> int:
    """Where the last member belongs."""
    crowd = s.crowd[r, c]
    return int(s.request[s.running[r, crowd.base + crowd.size - 1]].place)


def outnumbered(s: State, r: int, c: int) -> bool:
    """Whether the share of a micro-batch ends before the last member."""
    replica, last, ahead = s.replica[r], last_place(s, r, c), 0
    stages = s.pool[replica.pool].stages
    for k in range(listed(s, r)):
        request = s.request[s.running[r, k]]
        ahead += request.prefilled and not request.in_flight and request.place < last
    return bool(s.crowd[r, c].size + ahead > (replica.running + stages - 1) // stages)


def crowded_out(s: State, r: int, c: int) -> bool:
    """Whether free requests of the list might take tokens or blocks that members would have had in its order."""
    replica, last, blocks, prompts = s.replica[r], last_place(s, r, c), growth(s, r, c, 0, 1), 0
    pool = s.pool[replica.pool]
    tokens = s.crowd[r, c].size
    for k in range(listed(s, r)):
        request = s.request[s.running[r, k]]
        if request.in_flight:
            continue
        if request.prefilled:
            blocks += 1
            tokens += 1
        else:
            blocks += min(request.prompt - request.done, pool.max_tokens) // pool.block_tokens + 2
            prompts += request.place < last
    return bool(prompts > 0 or tokens > pool.max_tokens or blocks >= replica.free_blocks)


def disband(s: State, r: int, c: int) -> None:
    """The members go back to their places in the running list."""
    replica, crowd = s.replica[r], s.crowd[r, c]
    i, j = listed(s, r) - 1, crowd.size - 1
    replica.apart -= crowd.size
    dissolve(s, r, c)
    while j >= 0:
        member = s.running[r, crowd.base + j]
        if i >= 0 and s.request[s.running[r, i]].place > s.request[member].place:
            s.running[r, i + j + 1] = s.running[r, i]
            i -= 1
        else:
            s.running[r, i + j + 1] = member
            s.request[member].crew = 0
            j -= 1


def muster(s: State, r: int, slot: int, now: float) -> None:
    """Who of a micro-batch has just got a token joins its crew, or makes one."""
    replica, flight = s.replica[r], s.flight[r, slot]
    c = flight.crew if flight.crowd > 0 else unused_crew(s, r)
    if c == NOBODY or few_blocks(replica) or (s.crowd[r, c].size == 0 and flight.requests < ALONE):
        return
    crowd, n = s.crowd[r, c], s.crowd[r, c].size
    for k in range(flight.requests):
        i = s.batch[r, slot, k].request
        if s.request[i].state == RUNNING and joins(s, r, c, i, now):
            enroll(s, r, c, i)
    if crowd.size > n:
        crowd.ended_s = now
        replica.apart += crowd.size - n
        drop_members(s, r)


def unused_crew(s: State, r: int) -> int:
    """A crew without members."""
    for c in range(s.pool[s.replica[r].pool].stages):
        if s.crowd[r, c].size == 0 and s.crowd[r, c].flying == 0:
            return int(c)
    return NOBODY


def enroll(s: State, r: int, c: int, i: int) -> None:
    """Put request i among the members, by its place."""
    crowd = s.crowd[r, c]
    k = crowd.base + crowd.size
    while k > crowd.base and s.request[s.running[r, k - 1]].place > s.request[i].place:
        s.running[r, k] = s.running[r, k - 1]
        k -= 1
    s.running[r, k] = i
    s.request[i].crew = c + 1
    crowd.size += 1


def drop_members(s: State, r: int) -> None:
    """Take who has joined a crew out of the running list; `apart` counts them already."""
    n = k = 0
    while n < listed(s, r):
        i = s.running[r, k]
        k += 1
        if s.request[i].crew == 0:
            s.running[r, n] = i
            n += 1


def last_of_all(s: State, r: int, i: int) -> bool:
    """Whether request i, the last of the running list, comes after every member of a crew."""
    for c in range(s.pool[s.replica[r].pool].stages):
        if s.crowd[r, c].size > 0 and last_place(s, r, c) > s.request[i].place:
            return False
    return True
