"""KV caches on their way from a prefill replica to a decode replica. Not the choice of pools.

The decode side pulls when it has a seat and blocks for all known tokens; until the copy has ended, the prefill replica
keeps its blocks (back-pressure). Copies that leave one replica are serial, each latency + bytes / bandwidth. Time
between token 1 and the first decode step counts as the gap between tokens 1 and 2, never as TTFT (DistServe,
2401.09670). Over a streamed edge the layers of a prompt leave while it is computed, as fast as the link allows; at its
end at least the last layer is left (Splitwise, 2311.18677, optimised transfer). Streams do not hinder each other.
"""

from __future__ import annotations

import math
from typing import Any

from planner.sim.blocks import take
from planner.sim.events import set_event, wake
from planner.sim.kvcache import append_running, blocks_of, fits
from planner.sim.prefixes import let_go
from planner.sim.routers import choose_replica
from planner.sim.state import MOVING, State, pop_front, push_back, tick


def hand_over(s: State, r: int, i: int, now: float) -> int:
    """Prefill of request i ended on replica r: queue it at a decode replica; that replica."""
    request = s.request[i]
    target = choose_replica(s, s.edge[request.edge].target, i)
    tick(s, target, now)
    request.state = MOVING
    request.source = r
    request.replica = target
    request.transfer_s = now
    s.replica[r].outstanding -= 1
    s.replica[target].outstanding += 1
    push_back(s, s.replica[target].pull_queue, i)
    return target


def pull(s: State, r: int, now: float) -> None:
    """Start every copy that replica r has room for; recomputing requests of its own queue go first."""
    replica = s.replica[r]
    pool, q = s.pool[replica.pool], replica.pull_queue
    while s.queue[q].length > 0 and s.queue[r].length == 0 and replica.running + replica.moving < pool.max_seqs:
        request = s.request[s.queue[q].head]
        if not fits(replica, pool, request, request.done):
            return
        request.target_blocks = blocks_of(pool, request.done)
        take(replica, request.target_blocks)
        replica.moving += 1
        start_copy(s, pop_front(s, q), now)


def start_copy(s: State, i: int, now: float) -> None:
    """Put the KV cache of request i on the link of its source replica."""
    request = s.request[i]
    source, edge = s.replica[request.source], s.edge[request.edge]
    pool = s.pool[source.pool]
    size = request.prompt * pool.kv_bytes_per_token
    if edge.streamed:
        gone = min(edge.bandwidth * (now - request.admitted_s), size - size / pool.kv_layers)
        source.sent_bytes += gone
        size -= gone
    request.copy_end_s = send(source, edge, size, now)
    push_back(s, source.link_queue, i)
    if s.queue[source.link_queue].length == 1:
        set_event(s, source.transfer_actor, source.link_free_s)


def send(source: Any, edge: Any, size: float, now: float) -> float:
    """Put bytes on the link of a replica, behind what is on it; when the last of them arrives."""
    source.sent_bytes += size
    source.link_free_s = max(now, source.link_free_s) + (edge.latency_s + size / edge.bandwidth)
    return float(source.link_free_s)


def end_copy(s: State, source: int, now: float) -> None:
    """The oldest copy from `source` arrived: its blocks there are free, and its request decodes from now on."""
    queue = s.queue[s.replica[source].link_queue]
    i = pop_front(s, s.replica[source].link_queue)
    request = s.request[i]
    following = s.request[queue.head].copy_end_s if queue.length > 0 else math.inf
    set_event(s, s.replica[source].transfer_actor, following)
    tick(s, source, now)
    let_go(s, source, i)
    request.blocks = request.target_blocks
    request.transfer_s = now - request.transfer_s
    tick(s, request.replica, now)
    s.replica[request.replica].moving -= 1
    append_running(s, request.replica, i)
    wake(s, source, now)
    wake(s, request.replica, now)
