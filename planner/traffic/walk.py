"""Walk: one way through a graph, branch by branch, as rows that name their predecessors. No lengths and no times.

Chance and joins are settled here, before the simulation: nothing in a graph depends on how long things take. A join
goes on when no branch that is still under way can reach it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from planner.errors import BadInput, Problem
from planner.spec.graph import Graph

MOST_VISITS = 10_000
"""Of one walk; a graph that fans out inside a loop grows beyond any use."""


@dataclass(frozen=True, slots=True)
class Visit:
    """A node that is visited, and why: (row of the predecessor in the walk, edge it came by)."""

    node: int
    came: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Map:
    """A graph with numbers for names. edges: (target, probability or -1, most visits or -1)."""

    entry: int
    joins: frozenset[int]
    leaving: tuple[tuple[int, ...], ...]
    edges: tuple[tuple[int, float, int], ...]
    reach: tuple[frozenset[int], ...]

    @staticmethod
    def of(graph: Graph) -> Map:
        names = list(graph.nodes)
        number = {name: k for k, name in enumerate(names)}
        edges = graph.edges
        return Map(
            entry=number[graph.entry],
            joins=frozenset(number[name] for name, node in graph.nodes.items() if node.join),
            leaving=tuple(tuple(e for e, edge in enumerate(edges) if edge.source == name) for name in names),
            edges=tuple(
                (number[edge.target], -1.0 if edge.probability is None else edge.probability, edge.max_visits or -1)
                for edge in edges
            ),
            reach=tuple(frozenset(number[other] for other in graph.reach(name)) for name in names),
        )


@dataclass(slots=True)
class Walker:
    """One walk under way. taken: how often each edge was; waiting: what came to joins so far."""

    map: Map
    random: np.random.Generator
    taken: list[int]
    visits: list[Visit] = field(default_factory=list)
    ready: deque[Visit] = field(default_factory=deque)
    waiting: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def run(self) -> list[Visit]:
        self.ready.append(Visit(self.map.entry, ()))
        while self.ready or self.waiting:
            self._visit(self.ready.popleft() if self.ready else self._joined())
        return self.visits

    def _visit(self, visit: Visit) -> None:
        row = len(self.visits)
        if row == MOST_VISITS:
            raise BadInput(Problem(f"a request visits more than {MOST_VISITS} nodes of its graph"))
        self.visits.append(visit)
        for e in self._choose(visit.node):
            self.taken[e] += 1
            target = self.map.edges[e][0]
            if target in self.map.joins:
                self.waiting.setdefault(target, []).append((row, e))
            else:
                self.ready.append(Visit(target, ((row, e),)))

    def _joined(self) -> Visit:
        """The first join that no other waiting one leads to; nothing else is under way."""
        free = (k for k in self.waiting if not any(k in self.map.reach[o] for o in self.waiting if o != k))
        node = next(free, next(iter(self.waiting)))
        return Visit(node, tuple(self.waiting.pop(node)))

    def _choose(self, node: int) -> Iterator[int]:
        """Edges taken after a node: all without a probability, at most one of the others."""
        chances = []
        for e in self.map.leaving[node]:
            _, probability, most = self.map.edges[e]
            free = most < 0 or self.taken[e] < most
            if probability >= 0:
                chances.append((e, probability, free))
            elif free:
                yield e
        if chances:
            chosen = _one_of(chances, self.random.random())
            if chosen is not None:
                yield chosen


def _one_of(chances: Sequence[tuple[int, float, bool]], draw: float) -> int | None:
    """The edge at a uniform draw; edges used up leave their share to the others."""
    free = sum(p for _, p, is_free in chances if is_free)
    scale = sum(p for _, p, _ in chances) / free if free else 0.0
    below = 0.0
    for e, p, is_free in chances:
        below += p * scale if is_free else 0.0
        if is_free and draw < below:
            return e
    return None


def walk(of: Map, random: np.random.Generator) -> list[Visit]:
    """One way through the graph; a predecessor stands before its successors."""
    return Walker(of, random, [0] * len(of.edges)).run()


def ends(visits: Sequence[Visit]) -> list[int]:
    """Rows that nothing follows."""
    followed = {row for visit in visits for row, _ in visit.came}
    return [row for row in range(len(visits)) if row not in followed]
