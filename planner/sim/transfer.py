"""KV caches on their way from a prefill replica to a decode replica. Not the choice of pools.

The decode side pulls when it has a seat and blocks for all known tokens; until the copy has ended, the prefill replica
keeps its blocks (back-pressure). Copies that leave one replica are serial, each latency + bytes / bandwidth. Time between
token 1 and the first decode step counts as the gap between tokens 1 and 2, never as TTFT (DistServe, 2401.09670).
"""

from __future__ import annotations

import math

from planner.sim.events import set_event, transfer_actor, wake
from planner.sim.kvcache import append_running, blocks_of, fits, give_back, take
from planner.sim.routers import choose_replica
from planner.sim.state import MOVING, State, link_queue, pop_front, pull_queue, push_back, tick


def hand_over(s: State, r: int, i: int, now: float) -> int:
    """Prefill of request i ended on replica r: queue it at a decode replica; that replica."""
    request, replica = s.request, s.replica
    target = choose_replica(s, s.edge.target[request.edge[i]], i)
    tick(s, target, now)
    request.state[i] = MOVING
    request.source[i] = r
    request.replica[i] = target
    request.transfer_s[i] = now
    replica.outstanding[r] -= 1
    replica.outstanding[target] += 1
    push_back(s, pull_queue(s, target), i)
    return target


def pull(s: State, r: int, now: float) -> None:
    """Start every copy that replica r has room for; recomputing requests of its own queue go first."""
    request, replica = s.request, s.replica
    q = pull_queue(s, r)
    seats = s.pool.max_seqs[replica.pool[r]]
    while s.queue.length[q] > 0 and s.queue.length[r] == 0 and replica.running[r] + replica.moving[r] < seats:
        i = s.queue.head[q]
        if not fits(s, r, request.done[i]):
            return
        pop_front(s, q)
        request.target_blocks[i] = blocks_of(s, r, request.done[i])
        take(s, r, request.target_blocks[i])
        replica.moving[r] += 1
        start_copy(s, i, now)


def start_copy(s: State, i: int, now: float) -> None:
    """Put the KV cache of request i on the link of its source replica."""
    request, replica, edge = s.request, s.replica, s.edge
    source, e = request.source[i], request.edge[i]
    size = request.prompt[i] * s.pool.kv_bytes_per_token[replica.pool[source]]
    seconds = edge.latency_s[e] + size / edge.bandwidth[e]
    replica.sent_bytes[source] += size
    replica.link_free_s[source] = max(now, replica.link_free_s[source]) + seconds
    q = link_queue(s, source)
    push_back(s, q, i)
    request.copy_end_s[i] = replica.link_free_s[source]
    if s.queue.length[q] == 1:
        set_event(s, transfer_actor(s, source), replica.link_free_s[source])


def end_copy(s: State, source: int, now: float) -> None:
    """The oldest copy from `source` arrived: its blocks there are free, and its request decodes from now on."""
    request, replica = s.request, s.replica
    q = link_queue(s, source)
    i = pop_front(s, q)
    following = request.copy_end_s[s.queue.head[q]] if s.queue.length[q] > 0 else math.inf
    set_event(s, transfer_actor(s, source), following)
    tick(s, source, now)
    give_back(s, source, request.blocks[i])
    request.blocks[i] = request.target_blocks[i]
    request.transfer_s[i] = now - request.transfer_s[i]
    r = request.replica[i]
    tick(s, r, now)
    replica.moving[r] -= 1
    append_running(s, r, i)
    wake(s, source, now)
    wake(s, r, now)
