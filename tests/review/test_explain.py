"""Why a plan is what it is, read from the plan alone."""

from __future__ import annotations

import json

from planner.review import why
from planner.testing import tiny_plan, tiny_scenario


def test_promises_come_tightest_first_with_what_they_leave() -> None:
    found = why(tiny_plan()).promises
    assert [(one.metric, round(one.headroom, 4)) for one in found] == [("tpot", 0.8775), ("ttft", 0.9695)]
    assert not any(one.fragile for one in found)
    assert "tpot p95: 9.8 ms of 80 ms (88% left; at the slow end 11.8 ms)" in str(found[0])


def test_a_promise_that_breaks_at_the_slow_end_is_said_to() -> None:
    plan = tiny_plan()
    row = plan.classes[0].slo[1].model_copy(update={"limit": 0.011})
    one = plan.classes[0].model_copy(update={"slo": (row,)})
    found = why(plan.model_copy(update={"classes": (one,)})).promises[0]
    assert found.fragile
    assert "which breaks it" in str(found)


def test_limits_are_measured_against_what_the_plan_uses() -> None:
    scenario = tiny_scenario(limits={"usd_per_hour": "$20/h", "gpus": 4}).model_dump(mode="json")
    found = {one.limit: one for one in why(tiny_plan(scenario=scenario)).limits}
    assert list(found) == ["nodes of h100", "limits.usd_per_hour", "limits.gpus"]
    assert found["nodes of h100"].share == 1.0
    assert found["limits.usd_per_hour"].share == 13.76 / 20
    assert (found["limits.gpus"].used, found["limits.gpus"].allowed) == (2, 4)


def test_the_proof_names_bound_and_gap_and_the_insurance() -> None:
    plain = why(tiny_plan())
    assert plain.proof[0] == (
        "usd_per_hour: 13.76 USD/h; no mix of the simulated columns is below 13.76 USD/h (gap 0.0%)"
    )
    assert not any("hold_at" in line for line in plain.proof)
    robust = tiny_scenario(limits={"hold_at": "pessimistic"}).model_dump(mode="json")
    assert any("hold_at: pessimistic" in line for line in why(tiny_plan(scenario=robust)).proof)


def test_the_text_has_every_part_and_the_document_is_json() -> None:
    found = why(tiny_plan())
    told = str(found)
    for words in ("12 by `memory`", "1 x h100 tp2 (4 accelerators, 27.52 USD/h) - costs twice", "extrapolated"):
        assert words in told
    assert json.loads(json.dumps(found.as_dict()))["promises"][0]["metric"] == "tpot"
