"""KV caches on their way from a prefill replica to a decode replica. Not the choice of pools.

The decode side pulls when it has a seat and blocks for all known tokens; until the copy has ended, the prefill replica
keeps its blocks (back-pressure). Copies that leave one replica are serial, each latency + bytes / bandwidth. Time between
token 1 and the first decode step counts as the gap between tokens 1 and 2, never as TTFT (DistServe, 2401.09670).
"""

from __future__ import annotations

import math

from planner.sim.events import set_event, wake
from planner.sim.kvcache import append_running, blocks_of, fits, give_back, take
from planner.sim.routers import choose_replica
from planner.sim.state import MOVING, State, pop_front, push_back, tick


def hand_over(s: State, r: int, i: int, now: float) -> int:
    """Prefill of request i ended on replica r: queue it at a decode replica; that replica."""
    request, replica = s.request, s.replica
    target = choose_replica(s, s.edge[request[i].edge].target, i)
    tick(s, target, now)
    request[i].state = MOVING
    request[i].source = r
    request[i].replica = target
    request[i].transfer_s = now
    replica[r].outstanding -= 1
    replica[target].outstanding += 1
    push_back(s, s.replica[target].pull_queue, i)
    return target


def pull(s: State, r: int, now: float) -> None:
    """Start every copy that replica r has room for; recomputing requests of its own queue go first."""
    request, replica = s.request, s.replica
    q = s.replica[r].pull_queue
    seats = s.pool[replica[r].pool].max_seqs
    while s.queue[q].length > 0 and s.queue[r].length == 0 and replica[r].running + replica[r].moving < seats:
        i = s.queue[q].head
        if not fits(s, r, request[i].done):
            return
        pop_front(s, q)
        request[i].target_blocks = blocks_of(s, r, request[i].done)
        take(s, r, request[i].target_blocks)
        replica[r].moving += 1
        start_copy(s, i, now)


def start_copy(s: State, i: int, now: float) -> None:
    """Put the KV cache of request i on the link of its source replica."""
    request, replica, edge = s.request, s.replica, s.edge
    source, e = request[i].source, request[i].edge
    size = request[i].prompt * s.pool[replica[source].pool].kv_bytes_per_token
    seconds = edge[e].latency_s + size / edge[e].bandwidth
    replica[source].sent_bytes += size
    replica[source].link_free_s = max(now, replica[source].link_free_s) + seconds
    q = s.replica[source].link_queue
    push_back(s, q, i)
    request[i].copy_end_s = replica[source].link_free_s
    if s.queue[q].length == 1:
        set_event(s, s.replica[source].transfer_actor, replica[source].link_free_s)


def end_copy(s: State, source: int, now: float) -> None:
    """The oldest copy from `source` arrived: its blocks there are free, and its request decodes from now on."""
    request, replica = s.request, s.replica
    q = s.replica[source].link_queue
    i = pop_front(s, q)
    following = request[s.queue[q].head].copy_end_s if s.queue[q].length > 0 else math.inf
    set_event(s, s.replica[source].transfer_actor, following)
    tick(s, source, now)
    give_back(s, source, request[i].blocks)
    request[i].blocks = request[i].target_blocks
    request[i].transfer_s = now - request[i].transfer_s
    r = request[i].replica
    tick(s, r, now)
    replica[r].moving -= 1
    append_running(s, r, i)
    wake(s, source, now)
    wake(s, r, now)
