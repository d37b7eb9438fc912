"""Chains of a drawn stream: which prompts begin alike. Not what a prefix cache makes of it: that is simulated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.errors import BadInput, Problem
from planner.spec.requests import Chains, Ints
from planner.spec.workload import SharedPrefix

LINK_TOKENS = 16
"""Of streams that say nothing finer or coarser: the usual block of an engine."""


def shared(prefix: SharedPrefix, input_tokens: Ints, draws: Ints, link_tokens: int) -> Chains:
    """Every prompt begins with one of the texts; draws: int64 [n], which one."""
    per_text = prefix.tokens // link_tokens
    count = np.minimum(input_tokens // link_tokens, per_text)
    return Chains(draws * per_text, count, np.arange(per_text * prefix.variants, dtype=np.int64), link_tokens)


def join(parts: Sequence[tuple[int, Chains | None]]) -> Chains | None:
    """Chains of several classes one after another, each (number of requests, chains); classes share nothing."""
    known = [chains for _, chains in parts if chains is not None]
    if not known:
        return None
    link_tokens = one_size(known)
    nothing = np.zeros(0, np.int64)
    starts, counts, links = list[Ints](), list[Ints](), nothing
    for n, chains in parts:
        one = chains or Chains(np.zeros(n, np.int64), np.zeros(n, np.int64), nothing, link_tokens)
        starts.append(one.start + len(links))
        counts.append(one.count)
        links = np.concatenate([links, one.links + links.max(initial=-1) + 1])
    return Chains(np.concatenate(starts), np.concatenate(counts), links, link_tokens)


def one_size(known: Sequence[Chains]) -> int:
    """Tokens per link; BadInput when traces disagree."""
    sizes = sorted({chains.link_tokens for chains in known})
    if len(sizes) > 1:
        what = f"prefix hashes of {sizes[0]} and of {sizes[-1]} tokens cannot be simulated together"
        raise BadInput(Problem(what, hint="simulate these traces one by one"))
    return sizes[0]
