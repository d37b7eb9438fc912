"""Review: reading plans, comparing them and checking them under version control. Reads Plan only, never plans."""

from planner.review.check import check, scenario_of, tolerances_of
from planner.review.difference import Change, Diff, diff
from planner.review.document import dump_plan, parse_plan, read_plan, write_plan
from planner.review.explain import Why, runs, why
from planner.review.junit import as_junit
from planner.review.markdown import as_markdown
from planner.review.sensitivity import sensitivity
from planner.review.what_if import Priced, Variant, forced, impossible, priced, relaxations

__all__ = [
    "Change",
    "Diff",
    "Priced",
    "Variant",
    "Why",
    "as_junit",
    "as_markdown",
    "check",
    "diff",
    "dump_plan",
    "forced",
    "impossible",
    "parse_plan",
    "priced",
    "read_plan",
    "relaxations",
    "runs",
    "scenario_of",
    "sensitivity",
    "tolerances_of",
    "why",
    "write_plan",
]
