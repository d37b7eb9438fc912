"""Check: does a committed plan still stand against a fresh plan of its scenario? Both are handed in."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from planner.errors import BadInput
from planner.review.difference import Change, Diff, diff
from planner.review.document import problems_of
from planner.spec.plan import Plan
from planner.spec.scenario import Scenario, Tolerances


def check(plan: Plan, replan: Plan, tolerances: Tolerances | None = None) -> Diff:
    """What the fresh plan does differently, and the promises that the committed plan itself breaks.

    Without `tolerances`, those that the plans themselves carry may only tighten the usual ones: whoever edits a plan
    must not loosen its check.
    """
    found = diff(plan, replan, tolerances or _tighter(tolerances_of(replan), Tolerances()))
    return Diff((*_broken_promises(plan), *found.changes), found.notes)


def scenario_of(plan: Plan, file: str = "") -> Scenario:
    """The scenario that the plan answers, to plan it again; BadInput when this version does not know a field of it."""
    try:
        return Scenario.model_validate(plan.scenario)
    except ValidationError as error:
        raise BadInput(*problems_of(error, file, "scenario")) from error


def tolerances_of(plan: Plan) -> Tolerances:
    """The tolerances that the plan's scenario states."""
    return Tolerances.model_validate(plan.scenario.get("check", {}))


def _tighter(one: Tolerances, other: Tolerances) -> Tolerances:
    return Tolerances(usd_per_hour=min(one.usd_per_hour, other.usd_per_hour), metrics=min(one.metrics, other.metrics))


def _broken_promises(plan: Plan) -> Iterator[Change]:
    for one in plan.classes:
        for row in one.slo:
            if not row.met:
                yield Change(f"classes.{one.name}.slo.{row.metric}.{row.statistic}", row.limit, row.predicted)
