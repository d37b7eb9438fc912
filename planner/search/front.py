"""Front: plans between two goals, each the best in the first at a level of the second (epsilon constraint). It chooses
as the plan is chosen: solved, simulated, cut where a promise breaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from planner.search.choose import Choice, settle
from planner.search.evaluate import Progress
from planner.search.evaluated import Evaluated
from planner.search.problem import Conflict, Problem
from planner.search.setting import Setting
from planner.spec.scenario import Pareto


def front(setting: Setting, columns: tuple[Evaluated, ...], problem: Problem, progress: Progress) -> list[Choice]:
    """Choices from the best in the first goal to the best in the second; none is worse than another in both."""
    asked = setting.scenario.pareto
    if asked is None:
        return []
    problem = replace(problem, forbidden=())
    ends = [_settle(setting, columns, replace(problem, goals=goals), progress)
            for goals in (asked.goals, asked.goals[::-1])]  # fmt: skip
    if any(end is None for end in ends):
        return []
    first, last = (end for end in ends if end is not None)
    between = (_at_level(setting, columns, problem, level, progress) for level in _levels(asked, first, last))
    return _unbeaten(asked, [first, *(one for one in between if one is not None), last])


def _settle(setting: Setting, columns: tuple[Evaluated, ...], problem: Problem, progress: Progress) -> Choice | None:
    found = settle(setting, columns, problem, progress)
    return None if isinstance(found, Conflict) else found


def _levels(asked: Pareto, first: Choice, last: Choice) -> Iterator[float]:
    """Even steps of the second goal between the ends."""
    high, low = (_value(end, asked.goals[1]) for end in (first, last))
    yield from (high + (low - high) * k / (asked.points - 1) for k in range(1, asked.points - 1))


def _at_level(
    setting: Setting, columns: tuple[Evaluated, ...], problem: Problem, level: float, progress: Progress
) -> Choice | None:
    assert setting.scenario.pareto is not None
    goals = setting.scenario.pareto.goals
    bounds = replace(problem.bounds, caps=((goals[1], level),))
    return _settle(setting, columns, replace(problem, goals=goals, bounds=bounds), progress)


def _unbeaten(asked: Pareto, found: Iterable[Choice]) -> list[Choice]:
    kept: dict[tuple[float, ...], Choice] = {}
    for one in found:
        kept.setdefault(tuple(_cost(one, goal) for goal in asked.goals), one)
    return [one for cost, one in sorted(kept.items(), key=lambda item: item[0]) if not _beaten(cost, kept)]


def _beaten(cost: tuple[float, ...], others: Iterable[tuple[float, ...]]) -> bool:
    return any(other != cost and all(o <= c for o, c in zip(other, cost, strict=True)) for other in others)


def _value(choice: Choice, goal: str) -> float:
    return next(one.value for one in choice.selection.reached if one.goal == goal)


def _cost(choice: Choice, goal: str) -> float:
    """Less is better."""
    return -_value(choice, goal) if goal == "goodput" else _value(choice, goal)
