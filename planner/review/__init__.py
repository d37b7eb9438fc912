"""Review: reading plans, comparing them and checking them under version control. Reads Plan only, never plans."""

from planner.review.check import check, scenario_of, tolerances_of
from planner.review.difference import Change, Diff, diff
from planner.review.document import dump_plan, parse_plan, read_plan, write_plan
from planner.review.junit import as_junit
from planner.review.markdown import as_markdown

__all__ = [
    "Change",
    "Diff",
    "as_junit",
    "as_markdown",
    "check",
    "diff",
    "dump_plan",
    "parse_plan",
    "read_plan",
    "scenario_of",
    "tolerances_of",
    "write_plan",
]
