"""Rows as data: what they say of a selection by hand, and the names under which a conflict can find them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from planner.search.integers import Row, Variable
from planner.search.problem import Bounds, Column, Group, Inventory, Path, Problem
from planner.search.program import Program, program_of, requirements

BOUNDS = Bounds(usd_per_hour=25.0, power_w=5000.0, gpus=5, min_replicas=2, max_pools=1)
PROBLEM = Problem(
    (Column("c0", "s0", "a", 2, 0, "g", 5.0, 100.0, 200.0), Column("c1", "s1", "a", 3, 0, "g", 9.0, 100.0, 200.0)),
    (Group("g", ("chat",), 10.0),), (Path("g", (0,)), Path("g", (1,))),
    (Inventory("a", 2, 8, 10.0, 50.0),), BOUNDS, ("usd_per_hour",),
)  # fmt: skip
BY_HAND = {"n0": 2, "on0": 1, "z0": 60, "m_a": 1, "shared_a": 1, "total": 60}
"""Two replicas of two accelerators each in one node take all the traffic."""


def broken(program: Program, values: dict[str, int]) -> list[Row]:
    sums = {row: sum(factor * values.get(variable.name, 0) for variable, factor in row.terms) for row in program.rows}
    return [
        row for row, value in sums.items()
        if (row.low is not None and value < row.low) or (row.high is not None and value > row.high)
    ]  # fmt: skip


def test_a_selection_by_hand_keeps_every_row() -> None:
    assert broken(program_of(PROBLEM), BY_HAND) == []


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        ({"n0": 1}, {"", "min_replicas"}),
        ({"z0": 59}, {"class"}),
        ({"m_a": 0}, {""}),
        ({"m_a": 3}, {"inventory", "usd_per_hour"}),
        ({"n0": 3}, {"gpus"}),
        ({"on1": 1, "n1": 2, "own_1": 1, "z1": 1, "m_a": 2, "z0": 59}, {"gpus", "max_pools"}),
    ],
)
def test_what_breaks_is_named_as_the_user_names_it(change: dict[str, int], kinds: set[str]) -> None:
    assert {row.kind for row in broken(program_of(PROBLEM), {**BY_HAND, **change})} == kinds


def test_requirements_are_given_up_from_the_least_informative() -> None:
    kinds = [kind for kind, _ in requirements(program_of(PROBLEM).rows)]
    assert kinds == ["min_replicas", "max_pools", "power_w", "usd_per_hour", "gpus", "inventory", "class"]


def test_without_a_requirement_its_rows_are_gone_and_ranges_follow() -> None:
    loose = program_of(PROBLEM, frozenset({("inventory", "a"), ("gpus", "")}))
    assert {row.kind for row in loose.rows}.isdisjoint({"inventory", "gpus"})
    nodes = next(variable for variable in loose.variables if variable == Variable("m_a", 0))
    assert nodes.high > 2


def test_rows_need_no_solver() -> None:
    code = "import sys; import planner.search.program; sys.exit('ortools' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
