"""Parts: a program whose shared rows are paid for, not kept, falls apart; and programs of fewer columns. No solving.

Nodes and budgets tie the models of a fleet together. With a price on each such row, what a selection takes of it is
added to the sum that is made small, and every part is on its own. Whatever the prices, the least values of the parts
and a constant add up to a bound for the whole (Lagrange); with the prices of the linear relaxation it is never worse
than that and mostly better, because the parts count whole replicas.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from planner.search.goals import Goal
from planner.search.integers import Row, Terms, Variable
from planner.search.program import Program
from planner.search.rows import presence

MOST = 2**50
"""Sums stay below, so that floats count them exactly."""


@dataclass(frozen=True, slots=True)
class Part:
    """Variables that no kept row ties to others."""

    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    terms: Terms


@dataclass(frozen=True, slots=True)
class Parted:
    """constant: what the parts' least values add to. scale: how many units of these sums make one of the goal's."""

    parts: tuple[Part, ...]
    constant: int
    scale: int

    def bound(self, least: Iterable[int]) -> int:
        """A bound on the goal from bounds on the parts, rounded up because the goal is a whole number."""
        return -(-(self.constant + sum(least)) // self.scale)


def parted(program: Program, goal: Goal, prices: Sequence[float]) -> Parted:
    """The parts of a program at prices per row: what the goal would gain by one more unit of the row's range."""
    scale = max(1, math.floor(MOST / max(1.0, _reach(program, goal, prices))))
    terms, constant = _priced(program, goal, prices, scale)
    families = _families(row for row in program.rows if not row.shared)
    tied = {variable for variables, _ in families for variable in variables}
    # What no kept row ties down takes the better end of its range; what has no choice costs the same anywhere.
    constant += sum(min(f * v.low, f * v.high) for v, f in terms.items() if v not in tied or v.low == v.high)
    parts = (
        Part(variables, rows, tuple((v, terms[v]) for v in variables if v.low < v.high and terms.get(v)))
        for variables, rows in families
    )
    return Parted(tuple(parts), constant, scale)


def _reach(program: Program, goal: Goal, prices: Sequence[float]) -> float:
    """More than the goal with its priced rows can come to."""
    sums = [
        (1.0, goal.terms),
        *((abs(price), row.terms) for row, price in zip(program.rows, prices, strict=True) if row.shared),
    ]
    return sum(price * sum(abs(factor) * variable.high for variable, factor in terms) for price, terms in sums if price)


def _priced(program: Program, goal: Goal, prices: Sequence[float], scale: int) -> tuple[dict[Variable, int], int]:
    """The goal and the shared rows at whole prices, as factors by variable and a constant."""
    terms: dict[Variable, int] = defaultdict(int)
    for variable, factor in goal.terms:
        terms[variable] += factor * scale
    constant = 0
    for row, price in zip(program.rows, prices, strict=True):
        end, whole = row.low if price > 0 else row.high, round(price * scale)
        if row.shared and end is not None:
            constant += whole * end
            for variable, factor in row.terms:
                terms[variable] -= whole * factor
    return terms, constant


def _families(rows: Iterable[Row]) -> list[tuple[tuple[Variable, ...], tuple[Row, ...]]]:
    """Rows that a chain of variables connects, with their variables; one without a choice connects nothing."""
    leader: dict[Variable, Variable] = {}

    def leads(variable: Variable) -> Variable:
        while (above := leader.setdefault(variable, variable)) != variable:
            leader[variable] = leader[above]
            variable = above
        return variable

    listed = [row for row in rows if row.terms]
    firsts = [next((v for v, _ in row.terms if v.low < v.high), row.terms[0][0]) for row in listed]
    for row, first in zip(listed, firsts, strict=True):
        for variable, _ in row.terms:
            if variable.low < variable.high:
                leader[leads(variable)] = leads(first)
    families: dict[Variable, list[Row]] = defaultdict(list)
    for row, first in zip(listed, firsts, strict=True):
        families[leads(first)].append(row)
    return [(tuple(dict.fromkeys(v for row in mine for v, _ in row.terms)), tuple(mine)) for mine in families.values()]


def narrowed(program: Program, columns: Collection[int]) -> Program:
    """The program with these columns only; all others are unused."""
    counts = program.counts
    gone = {v for i in range(len(counts.n)) if i not in columns for v in (counts.n[i], counts.on[i])}
    gone |= {z for z, path in zip(counts.z, counts.problem.paths, strict=True) if not set(path.columns) <= set(columns)}
    rows = (replace(row, terms=_less(row.terms, gone)) for row in program.rows)
    return replace(
        program, variables=tuple(v for v in program.variables if v not in gone),
        rows=tuple(row for row in rows if row.terms or (row.low or 0) > 0 or (row.high or 0) < 0),
        goals=tuple(replace(goal, terms=_less(goal.terms, gone)) for goal in program.goals),
    )  # fmt: skip


def _less(terms: Terms, gone: Collection[Variable]) -> Terms:
    return tuple(term for term in terms if term[0] not in gone)


def lean(program: Program) -> Program:
    """The program without telling which columns are in use, where nothing but a tie-break asks."""
    said, on = set(presence(program.counts)), set(program.counts.on)
    rows = tuple(row for row in program.rows if row not in said)
    if any(variable in on for row in rows for variable, _ in row.terms) or _idle_helps(program, rows):
        return program
    return replace(program, rows=rows, variables=tuple(v for v in program.variables if v not in on))


def _idle_helps(program: Program, rows: Iterable[Row]) -> bool:
    """Whether a row is eased by replicas of a column even when no slices pass through it (spares for a failure)."""
    counts = program.counts
    own = {n: {n, *(counts.z[p] for p in counts.through[i])} for i, n in enumerate(counts.n)}
    for row in rows:
        falling = {v for v, f in row.terms if f < 0 and row.high is not None} & own.keys()
        helping = falling | {v for v, f in row.terms if f > 0 and row.low is not None} & own.keys()
        if any(not own[n].issuperset(v for v, _ in row.terms) for n in helping):
            return True
    return False


def told(program: Program, values: Mapping[Variable, int]) -> dict[Variable, int]:
    """Values of a lean program with the columns in use told; replicas that carry nothing are left out."""
    counts, full = program.counts, dict(values)
    for i, (n, on) in enumerate(zip(counts.n, counts.on, strict=True)):
        full[on] = int(any(values.get(counts.z[p]) for p in counts.through[i]))
        full[n] = values.get(n, 0) if full[on] else 0
    return full
