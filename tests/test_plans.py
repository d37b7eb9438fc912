"""The scenarios that ship, planned again: topology and counts exactly, metrics within each scenario's tolerances."""

import json
import sys
from pathlib import Path

import pytest

from planner import check, plan, read_plan
from planner.catalog import json_schema
from planner.review import scenario_of

ROOT = Path(__file__).parents[1]
SCENARIOS = sorted((ROOT / "scenarios").glob("*.yaml"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda file: file.stem)
def test_the_committed_plan_still_stands(scenario: Path) -> None:
    committed = read_plan(ROOT / "scenarios" / "plans" / f"{scenario.stem}.json")
    asked = scenario_of(committed, str(scenario))
    traces = [scenario.parent / one.trace.file for one in asked.classes if one.trace]
    if missing := [file for file in traces if not file.exists()]:
        pytest.skip(f"the trace is not part of this project: {missing[0].name}")
    fresh = plan(asked, folder=scenario.parent, seed=committed.seed)
    differences = check(committed, fresh)
    assert not differences, str(differences)


def test_the_readme_shows_the_committed_plan() -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    from refresh_plans import README, shown

    text = README.read_text(encoding="utf-8")
    assert text == shown(text), "run tools/refresh_plans.py quickstart"


def test_the_schema_that_editors_read_is_the_one_of_this_version() -> None:
    shipped = json.loads((ROOT / "scenarios" / "scenario.schema.json").read_text(encoding="utf-8"))
    assert shipped == json_schema("scenario"), "run tools/refresh_plans.py"
