"""The document: a goal that tells another number than the bill says why."""

from typing import Any

from planner.search.document import _off_the_bill
from planner.spec.plan import Objective
from planner.testing import tiny_plan


def told(goal: Any, value: float) -> list[str]:
    found: Any = tiny_plan()
    return list(_off_the_bill([Objective(goal=goal, value=value, bound=value, gap=0.0)], found))


def test_a_goal_far_from_the_bill_is_explained_and_a_near_one_is_not() -> None:
    joules = tiny_plan().bill.joules_per_token.value
    assert told("joules_per_token", joules) == []
    assert told("joules_per_token", joules * 0.96) == []
    (line,) = told("joules_per_token", joules * 0.67)
    assert f"{joules:.4g}" in line
    assert f"{joules * 0.67:.4g} J/token" in line


def test_what_the_goal_of_goodput_serves_is_not_on_the_bill() -> None:
    assert told("goodput", 1e9) == []
