"""Prefix affinity: the replica that holds most of the prompt, unless loads have drifted apart: then the least loaded.

The two thresholds are those of SGLang's cache-aware router (sgl-router `balance_abs_threshold` 64 and
`balance_rel_threshold` 1.5); of equal matches the least outstanding is taken.
"""

from __future__ import annotations

from planner.sim.prefixes import find
from planner.sim.routers.least_outstanding import least_outstanding
from planner.sim.state import NOBODY, State

APART, TIMES = 64, 1.5
"""By how many requests, and how many times, the busiest exceeds the idlest when load counts more than prefixes."""


def prefix_affinity(s: State, p: int, i: int) -> int:
    idlest = least_outstanding(s, p, i)
    least, most, longest, best = s.replica[idlest].outstanding, 0, 0, idlest
    for r in range(s.pool[p].first, s.pool[p].first + s.pool[p].replicas):
        load = s.replica[r].outstanding
        most = max(most, load)
        held = held_links(s, r, i)
        if held > longest or (held == longest and load < s.replica[best].outstanding):
            longest, best = held, r
    return int(idlest if most - least > APART and most > TIMES * least else best)


def held_links(s: State, r: int, i: int) -> int:
    """Leading links of request i that replica r holds in some tier."""
    request = s.request[i]
    if s.pool[s.replica[r].pool].link_tokens == 0:
        return 0
    held = 0
    while held < request.links and find(s, r, s.chain[request.chain + held]) != NOBODY:
        held += 1
    return held
