"""Requests: a workload drawn into arrays, the only form of traffic that the simulator sees. Not how they were drawn.

Requests of a class with a graph or a session are the tasks of its jobs (`Tasks`): nothing is left to chance or choice
by then, so the simulator needs to know only what waits for what.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chains:
    """What n requests have in common: their tokens cut into links, each named by its content and all before it.

    Request i has links[start[i] : start[i] + count[i]], the first `count[i] * link_tokens` tokens of prompt and answer;
    equal links hold equal tokens. start, count: int64 [n]; links: int64 [m], ranges of requests may overlap.
    """

    start: Ints
    count: Ints
    links: Ints
    link_tokens: int

    def of(self, rows: Ints) -> Chains:
        """The chains of some requests."""
        return Chains(self.start[rows], self.count[rows], self.links, self.link_tokens)


@dataclass(frozen=True, slots=True)
class TaskKind:
    """A node of a class's graph: what it is called, its phase (`llm` = prefill and decode), its model ("" = any)."""

    class_index: int
    name: str
    phase: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Tasks:
    """What makes requests the tasks of jobs; the arrays run along the requests. Tasks of a job stand together.

    The first task of a job is its entry, the only one without a predecessor; a predecessor stands before its successor.
    job [n]: 0, 1, ... in order of arrival; a session is one job. turn [n]: the same for walks of the graph, which are
    what metrics count as requests; a session has several, any other job one. kind [n]: index into kinds.
    service_s [n]: of tasks that no engine computes. history_tokens [n]: how many of the first prompt tokens earlier
    tasks of the job have read or written. Task i is waited for by child[k], first[i] <= k < first[i + 1]: each starts
    when all it waits for have ended, their bytes[k] have moved and then delay_s[k] has passed.
    """

    job: Ints
    turn: Ints
    kind: Ints
    kinds: tuple[TaskKind, ...]
    service_s: Floats
    history_tokens: Ints
    first: Ints
    child: Ints
    delay_s: Floats
    bytes: Floats


@dataclass(frozen=True, slots=True)
class Requests:
    """n requests in order of arrival (ties by index).

    arrival_s: float64 [n], seconds from the start, not falling; in a closed loop the earliest time of each start.
    input_tokens, output_tokens: int64 [n], both >= 1. class_index: int64 [n], index into class_names.
    concurrency: 0 for open loop; otherwise request i + concurrency starts when an earlier one finishes, so that this
    many are in flight. cached_tokens: int64 [n], prompt tokens whose KV a prefix cache holds already: they take no
    computation but blocks like any others, and fewer than the prompt; None = none. chains: what a prefix cache that is
    simulated finds and keeps; None = no two requests share tokens. tasks: see there; then concurrency counts jobs,
    arrival_s of a task is that of its job, and tasks that no engine computes have no tokens. priorities: of each class,
    lower goes first where the engine goes by priority; () = all equal.
    """

    arrival_s: Floats
    input_tokens: Ints
    output_tokens: Ints
    class_index: Ints
    class_names: tuple[str, ...]
    concurrency: int = 0
    cached_tokens: Ints | None = None
    chains: Chains | None = None
    tasks: Tasks | None = None
    priorities: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.arrival_s)

    def first(self, n: int) -> Requests:
        """The first n of them."""
        cached, chains = self.cached_tokens, self.chains
        return replace(
            self, arrival_s=self.arrival_s[:n], class_index=self.class_index[:n],
            input_tokens=self.input_tokens[:n], output_tokens=self.output_tokens[:n],
            cached_tokens=None if cached is None else cached[:n],
            chains=None if chains is None else chains.of(np.arange(min(n, len(self)))),
        )  # fmt: skip
