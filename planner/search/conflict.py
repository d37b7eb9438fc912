"""Conflict: which requirements cannot hold together, and what would do. It asks a solver and knows none.

The conflict is minimal under deletion: requirements are given up one after the other, and what cannot be spared stays.
"""

from __future__ import annotations

from collections.abc import Callable

from planner.search.integers import Row, Terms
from planner.search.problem import Conflict, Need, Problem
from planner.search.program import Program, Requirement, program_of, requirements

Least = Callable[[Program, Terms], int | None]
"""The least value that a sum can have in a program; None when it is proven that nothing is feasible."""


def conflict(problem: Problem, least: Least) -> Conflict:
    """Why a problem without a solution has none, and for each requirement the amount that would do."""
    rows = program_of(problem).rows
    left_out: set[Requirement] = set()
    core: list[Requirement] = []
    for requirement in requirements(rows):
        trial = frozenset({*left_out, requirement})
        if least(program_of(problem, trial), ()) is None:
            left_out.add(requirement)
        else:
            core.append(requirement)
    return Conflict(tuple(_need(problem, rows, one, frozenset(left_out), least) for one in core))


def _need(
    problem: Problem, rows: tuple[Row, ...], requirement: Requirement, left_out: frozenset[Requirement], least: Least
) -> Need:
    """What the requirement would have to be: with all others unchanged, or at least with the rest of the conflict."""
    mine = [row for row in rows if row.requirement == requirement]
    row, needed = mine[0], None
    if len(mine) == 1 and row.low is None:
        needed = least(program_of(problem, frozenset({requirement})), row.terms)
        if needed is None:
            needed = least(program_of(problem, left_out | {requirement}), row.terms)
    limit = None if row.limit is None else float(row.limit)
    return Need(*requirement, limit, None if needed is None else needed / row.scale)
