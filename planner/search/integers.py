"""Integers: a problem in whole numbers - its variables, their ranges, weights per slice. No requirement, no solving.

Capacities are rounded down and demands up, money is counted in micro-dollars, power in milliwatts; so what holds in
integers holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from planner.search.problem import Path, Problem

UNIT = 1_000_000
"""Load of one full replica, and micro-dollars per dollar."""
MILLI = 1000
NOISE = Fraction(1, 10**12)
"""Relative; a float's own is 1e-16."""
SLICES = 60
SLICES_FINE = 720
"""Slices per class: the grain of a split between pools (1.7 %), finer where the served rate itself is the goal."""
FINE_FROM = 1000
"""Paths; the many replicas of a large fleet carry shares that are all but continuous (0.14 %)."""
UNLIMITED_NODES = 100_000


@dataclass(frozen=True, slots=True)
class Variable:
    """A whole number to be chosen between low and high; known by its name, whatever its range in a program."""

    name: str
    high: int = field(compare=False)
    low: int = field(default=0, compare=False)


Terms = tuple[tuple[Variable, int], ...]
"""A sum of variables times factors; one variable may stand in it more than once."""


@dataclass(frozen=True, slots=True)
class Row:
    """low <= sum <= high. kind, subject: the requirement in the user's words; without a kind it is how things are.

    A requirement that is one row with a ceiling can be eased: limit is the ceiling that the user named, scale how many
    of the sum's units make one of the user's. shared: what all models of a fleet take from; see parts.py.
    """

    terms: Terms
    high: int | None = None
    low: int | None = None
    kind: str = ""
    subject: str = ""
    limit: float | None = None
    scale: float = 1.0
    shared: bool = False

    @property
    def requirement(self) -> tuple[str, str]:
        return self.kind, self.subject


class Counts:
    """The variables of a problem. `unlimited`: node types of which any number may be had.

    n: replicas per column, on: column used, z: slices per path, m: nodes per type, total: slices served of each class.
    """

    def __init__(self, problem: Problem, unlimited: frozenset[str] = frozenset()):
        self.problem = problem
        fine = "goodput" in problem.goals or len(problem.paths) > FINE_FROM
        self.slices = problem.slices or (SLICES_FINE if fine else SLICES)
        self.demand = {group.name: group.demand for group in problem.groups}
        self.through: list[list[int]] = [[] for _ in problem.columns]
        for p, path in enumerate(problem.paths):
            for i in path.columns:
                self.through[i].append(p)
        self.held = {i.node: UNLIMITED_NODES if i.node in unlimited else i.count for i in problem.inventory}
        self.per_node = {item.node: item.gpus for item in problem.inventory}
        self._weights: dict[tuple[int, str], int] = {}
        self.n = [Variable(f"n{i}", self._most_replicas(i)) for i in range(len(problem.columns))]
        self.on = [Variable(f"on{i}", 1) for i in range(len(problem.columns))]
        self.top = self._most_slices()
        self.z = [Variable(f"z{p}", self.top) for p in range(len(problem.paths))]
        self.m = {node: Variable(f"m_{node}", count) for node, count in self.held.items()}
        self.total = Variable("total", self.top, self.slices)

    @property
    def variables(self) -> tuple[Variable, ...]:
        return (*self.n, *self.on, *self.z, *self.m.values(), self.total)

    def _most_replicas(self, index: int) -> int:
        """As many as the nodes hold; and, unless goodput counts, no more than could ever be of use."""
        column = self.problem.columns[index]
        nodes = self.held[column.node]
        held = nodes // column.span if column.span else nodes * (self.per_node[column.node] // column.gpus)
        return held if "goodput" in self.problem.goals else min(held, self._useful(index))

    def _useful(self, index: int) -> int:
        """Replicas that carry all that may pass through the column, at the transfers of its slowest paths."""
        column, bounds = self.problem.columns[index], self.problem.bounds
        paths = [self.problem.paths[p] for p in self.through[index]]
        slowest = {path.group: max(p.link_s for p in paths if p.group == path.group) for path in paths}
        carrying = sum(self.demand[g] / column.carries(g) for g in slowest) / (1 - bounds.headroom)
        moving = sum(self.demand[g] * link_s for g, link_s in slowest.items()) / column.gpus
        # One more: weights and slices are rounded up; and those that failing nodes may take.
        lost = bounds.survive_nodes * max(self.per_node[column.node] // column.gpus, 1)
        return max(up(carrying), up(moving), bounds.min_replicas) + 1 + lost

    def _most_slices(self) -> int:
        """Slices per class: all demand, or with a goodput goal the most that every node together could serve."""
        if "goodput" not in self.problem.goals:
            return self.slices
        factors = [
            self.n[i].high * max(column.carries(g) / self.demand[g] for g in (column.group, *dict(column.others)))
            for i, column in enumerate(self.problem.columns)
        ]
        return max(self.slices, min(10_000_000, math.floor(sum(factors) * self.slices)))

    def weight(self, index: int, group: str) -> int:
        """Load units that one slice of a group puts on column `index`, times slices per class; rounded up."""
        if (known := self._weights.get((index, group))) is None:
            share = Fraction(self.demand[group]) / Fraction(self.problem.columns[index].carries(group))
            known = self._weights[index, group] = up(UNIT * share)
        return known

    def link_weight(self, path: Path) -> int:
        return up(UNIT * Fraction(path.link_s) * Fraction(self.demand[path.group]))

    def onward(self, index: int) -> list[int]:
        """Paths by which column `index` may hand over, when there are several: one of them is taken."""
        ways = ((p, self.problem.paths[p].columns) for p in self.through[index])
        found = [p for p, columns in ways if len(columns) > 1 and columns[0] == index]
        return found if len(found) > 1 else []

    def taken(self, index: int) -> Terms:
        """Load on a column, in units of weight."""
        return tuple((self.z[p], self.weight(index, self.problem.paths[p].group)) for p in self.through[index])


def each(variables: Iterable[Variable], factor: int = 1) -> Terms:
    return tuple((variable, factor) for variable in variables)


def up(value: float | Fraction) -> int:
    """Rounded up, but not for the noise of binary floats: 3.11 USD are 3,110,000 micro-dollars, not one more."""
    return math.ceil(Fraction(value) * (1 - NOISE))


def down(value: float | Fraction) -> int:
    return math.floor(Fraction(value) * (1 + NOISE))
