"""Program: a problem as variables, rows and goals in whole numbers, ready for any solver. It solves nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from planner.search.goals import GOALS, TIES, Goal
from planner.search.integers import Counts, Row, Variable
from planner.search.problem import Problem
from planner.search.rows import ROWS

Requirement = tuple[str, str]
"""What the user asks for: a kind of row and its subject."""


@dataclass(frozen=True, slots=True)
class Program:
    """counts: the variables that a selection is read from. goals: in the order in which they are made small."""

    counts: Counts
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]
    goals: tuple[Goal, ...]


def program_of(problem: Problem, without: frozenset[Requirement] = frozenset()) -> Program:
    """The program of a problem; requirements in `without` are left out (to explain a conflict)."""
    counts = Counts(problem, frozenset(subject for kind, subject in without if kind == "inventory"))
    rows = tuple(row for rule in ROWS for row in rule(counts) if row.requirement not in without)
    goals = (*(_goal(counts, name) for name in problem.goals), *(tie(counts) for tie in TIES))
    mentioned = (variable for row in rows for variable, _ in row.terms)
    return Program(counts, tuple(dict.fromkeys((*counts.variables, *mentioned))), rows, goals)


def _goal(counts: Counts, name: str) -> Goal:
    goal = GOALS[name](counts)
    return Goal(name, goal.terms, goal.scale)


def requirements(rows: Iterable[Row]) -> tuple[Requirement, ...]:
    """Everything that may stand in a conflict, in the order in which it is given up."""
    return tuple(dict.fromkeys(row.requirement for row in rows if row.kind))
