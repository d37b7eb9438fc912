"""Chains of a drawn stream: which prompts begin alike. Not what a prefix cache makes of it: that is simulated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.errors import BadInput, Problem
from planner.spec.requests import Chains, Ints
from planner.spec.workload import SharedPrefix
from planner.traffic.jobs import Jobs

LINK_TOKENS = 16
"""Of streams that say nothing finer or coarser: the usual block of an engine."""


def shared(prefix: SharedPrefix, input_tokens: Ints, draws: Ints, link_tokens: int) -> Chains:
    """Every prompt begins with one of the texts; draws: int64 [n], which one."""
    per_text = prefix.tokens // link_tokens
    count = np.minimum(input_tokens // link_tokens, per_text)
    longest = int(count.max(initial=0))
    texts, which = np.unique(draws, return_inverse=True)  # only those that were drawn take room
    links = (texts[:, None] * longest + np.arange(longest)).ravel()
    return Chains(which * longest, count, links, link_tokens)


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


def of_jobs(jobs: Jobs, link_tokens: int) -> Chains | None:
    """Prompts that go on where an earlier task of their job ended begin with all that it read and wrote.

    The tasks of a conversation lie on one line of links, each a longer stretch of it; where two go on from the same
    point, the second begins a line of its own with a copy of what they share. None when no prompt goes on.
    """
    if not jobs.history_tokens.any():
        return None
    count = (jobs.input_tokens + jobs.output_tokens) // link_tokens
    line, lines = _lines(jobs, count)
    sizes = np.zeros(len(lines), np.int64)
    np.maximum.at(sizes, line, count)
    start = np.cumsum(sizes) - sizes
    links = np.arange(int(sizes.sum()))
    for one, (source, copied) in enumerate(lines):
        if source >= 0:
            links[start[one] : start[one] + copied] = links[start[source] : start[source] + copied]
    return Chains(start[line], count, links, link_tokens)


def _lines(jobs: Jobs, count: Ints) -> tuple[Ints, list[tuple[int, int]]]:
    """(line of each task, (line it branches from or -1, links they share) of each line)."""
    came: list[list[int]] = [[] for _ in jobs.node]
    for parent, child in zip(jobs.parent.tolist(), jobs.child.tolist(), strict=True):
        came[child].append(parent)
    whole = (jobs.input_tokens + jobs.output_tokens).tolist()
    line, tip, lines = np.zeros(len(came), np.int64), list[int](), list[tuple[int, int]]()
    talkers: list[list[int]] = []  # tasks whose tokens may have reached a task, itself included
    for row, history in enumerate(jobs.history_tokens.tolist()):
        heard = [one for parent in came[row] for one in talkers[parent]]
        source = next((one for one in heard if whole[one] == history), -1) if history else -1
        talkers.append([row] if source >= 0 else [*dict.fromkeys(heard), *([row] if whole[row] else [])])
        if source >= 0 and tip[line[source]] == source:
            line[row] = line[source]
            tip[line[row]] = row
            continue
        line[row] = len(lines)
        tip.append(row)
        lines.append((int(line[source]), int(min(count[source], count[row]))) if source >= 0 else (-1, 0))
    return line, lines
