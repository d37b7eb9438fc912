"""Prefix cache of a replica: which links of token chains its KV blocks still hold, and who uses them. Not the blocks of
a request that nobody else can use (`kvcache`), nor which replica a request goes to (routers).

A chain cuts the tokens of a request into links of equal size; a link's number names its tokens and all before them, as
the block hashes of vLLM do. Prompts leave their links behind as soon as they are computed, answers when they end. A
link that nobody uses stays until its blocks are needed: the least recently used one goes first, and of those that one
request left, the last of the chain. What leaves the memory of the accelerators moves down the tiers (host memory, disk,
remote), and a hit there is loaded while the step that continues it runs. The last token of a prompt is always computed.

Two requests that compute the same link at a time end up sharing one copy (as SGLang does; vLLM keeps the second one
until its request ends). Moving links down costs no time, and tiers belong to one replica.
"""

from __future__ import annotations

from planner.sim.blocks import give_back, take
from planner.sim.state import NOBODY, State

MEMORY = 0
"""Tier of the accelerators' own memory; those below are 1, 2, ..."""


def find(s: State, r: int, link: int) -> int:
    """Entry of a link on replica r, in whatever tier, else NOBODY."""
    e = s.bucket[r, link % s.bucket.shape[1]]
    while e != NOBODY and s.entry[r, e].link != link:
        e = s.entry[r, e].chained
    return int(e)


def match(s: State, r: int, i: int) -> None:
    """What request i would find on replica r now: its `cached` tokens, and how many of them others use anyway.

    A request that was swapped out comes back as it was.
    """
    request, pool = s.request[i], s.pool[s.replica[r].pool]
    if pool.link_tokens == 0 or request.links == 0 or request.swapped:
        return
    settle_room(s, r)
    most = min(request.links, (request.prompt - 1) // pool.link_tokens)
    hits = used = 0
    while hits < most:
        e = find(s, r, s.chain[request.chain + hits])
        if e == NOBODY:
            break
        hits += 1
        used += s.entry[r, e].users > 0
    request.cached = request.done = hits * pool.link_tokens
    request.borrowed = used * pool.link_tokens


def borrow(s: State, r: int, i: int) -> None:
    """Request i uses the links that `match` found; those in lower tiers are loaded in its first step."""
    request, replica = s.request[i], s.replica[r]
    pool = s.pool[replica.pool]
    if pool.link_tokens == 0 or request.links == 0 or request.swapped:
        return
    hits = request.cached // pool.link_tokens
    for k in range(hits):
        use(s, r, find(s, r, s.chain[request.chain + k]))
    request.shared = hits
    request.blocks = hits * pool.link_blocks
    request.borrowed = 0
    replica.hit_tokens += request.cached
    replica.asked_tokens += request.prompt


def use(s: State, r: int, e: int) -> None:
    """One more request uses entry e, which takes blocks when nobody did."""
    entry, replica = s.entry[r, e], s.replica[r]
    pool = s.pool[replica.pool]
    if entry.users == 0:
        unlist(s, r, e)
        take(replica, pool.link_blocks)
        if entry.tier > MEMORY:
            tier = s.tier[replica.pool, entry.tier]
            replica.load_s += tier.latency_s + pool.link_bytes / tier.bandwidth
            replica.loaded_bytes += pool.link_bytes
            entry.tier = MEMORY
    entry.users += 1


def leave(s: State, r: int, i: int, tokens: int) -> None:
    """The first `tokens` tokens of request i are computed: their links may be used by others from now on."""
    request, replica = s.request[i], s.replica[r]
    pool = s.pool[replica.pool]
    if pool.link_tokens == 0:
        return
    settle_room(s, r)
    last = min(request.links, tokens // pool.link_tokens)
    while request.shared < last:
        link = s.chain[request.chain + request.shared]
        e = find(s, r, link)
        if e == NOBODY:
            enter(s, r, link)
        else:
            share(s, r, e)
        request.shared += 1


def share(s: State, r: int, e: int) -> None:
    """A request that computed entry e again joins its users, and one of the two copies is freed."""
    entry, replica = s.entry[r, e], s.replica[r]
    if entry.users == 0:  # the idle copy goes: its blocks count as free already
        unlist(s, r, e)
        entry.tier = MEMORY
    else:
        give_back(replica, s.pool[replica.pool].link_blocks)
    entry.users += 1


def enter(s: State, r: int, link: int) -> None:
    """A link that was not there; the blocks of the request that computed it are its blocks."""
    replica = s.replica[r]
    e = replica.unused_entry
    entry = s.entry[r, e]
    replica.unused_entry = entry.chained
    b = link % s.bucket.shape[1]
    entry.link, entry.users, entry.tier = link, 1, MEMORY
    entry.chained = s.bucket[r, b]
    s.bucket[r, b] = e


def let_go(s: State, r: int, i: int) -> None:
    """Request i frees all its blocks; links that nobody else uses stay, the last of the chain to go first."""
    request, replica = s.request[i], s.replica[r]
    pool = s.pool[replica.pool]
    settle_room(s, r)
    give_back(replica, request.blocks - request.shared * pool.link_blocks)
    for k in range(request.shared - 1, -1, -1):
        e = find(s, r, s.chain[request.chain + k])
        s.entry[r, e].users -= 1
        if s.entry[r, e].users == 0:
            give_back(replica, pool.link_blocks)
            enlist(s, r, e, MEMORY)
    request.blocks = request.shared = 0


def settle_room(s: State, r: int) -> None:
    """Idle links whose blocks were taken since the last look leave the memory, oldest first."""
    replica = s.replica[r]
    pool = s.pool[replica.pool]
    if pool.link_tokens == 0:
        return
    while s.shelf[r, MEMORY].length * pool.link_blocks > replica.free_blocks:
        demote(s, r, s.shelf[r, MEMORY].head)


def demote(s: State, r: int, moved: int) -> None:
    """An idle entry moves down a tier; what it displaces from a full one moves on, and out below the last."""
    unlist(s, r, moved)
    p = s.replica[r].pool
    for t in range(MEMORY + 1, s.tier.shape[1]):
        if s.tier[p, t].links == 0:
            continue
        full, displaced = s.shelf[r, t].length == s.tier[p, t].links, s.shelf[r, t].head
        if full:
            unlist(s, r, displaced)
        enlist(s, r, moved, t)
        if not full:
            return
        moved = displaced
    drop(s, r, moved)


def drop(s: State, r: int, e: int) -> None:
    """Entry e is forgotten."""
    replica, entry = s.replica[r], s.entry[r, e]
    b = entry.link % s.bucket.shape[1]
    if s.bucket[r, b] == e:
        s.bucket[r, b] = entry.chained
    else:
        before = s.bucket[r, b]
        while s.entry[r, before].chained != e:
            before = s.entry[r, before].chained
        s.entry[r, before].chained = entry.chained
    entry.chained = replica.unused_entry
    replica.unused_entry = e


def enlist(s: State, r: int, e: int, t: int) -> None:
    """Idle entry e is the most recent one of tier t."""
    entry, shelf = s.entry[r, e], s.shelf[r, t]
    entry.tier, entry.next, entry.before = t, NOBODY, NOBODY
    if shelf.length == 0:
        shelf.head = e
    else:
        entry.before = shelf.tail
        s.entry[r, shelf.tail].next = e
    shelf.tail = e
    shelf.length += 1


def unlist(s: State, r: int, e: int) -> None:
    """Take idle entry e out of its tier's order."""
    entry, shelf = s.entry[r, e], s.shelf[r, s.entry[r, e].tier]
    if entry.before != NOBODY:
        s.entry[r, entry.before].next = entry.next
    else:
        shelf.head = entry.next
    if entry.next != NOBODY:
        s.entry[r, entry.next].before = entry.before
    else:
        shelf.tail = entry.before
    shelf.length -= 1
