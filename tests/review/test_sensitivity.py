"""Traffic and prices differ one at a time, each question a whole scenario."""

from __future__ import annotations

from planner.review import sensitivity
from planner.spec.scenario import Scenario
from planner.testing import tiny_scenario

FLEET = {
    "nodes": [
        {"name": "rented", "node": "aws-p5.4xlarge", "count": 2, "price": "$4/h"},
        {"name": "owned", "node": "aws-g6e.xlarge", "count": 2, "own": {"capex": "$10000"}},
        {"name": "free", "node": "aws-g6e.xlarge", "count": 2},
    ]
}


def test_traffic_prices_and_errors_one_at_a_time() -> None:
    scenario = tiny_scenario(fleet=FLEET)
    found = {one.what: one.scenario for one in sensitivity(scenario)}
    assert list(found) == [
        "traffic of chat x 0.8", "traffic of chat x 1.25", "price of rented x 0.8", "price of rented x 1.25",
        "price of owned x 0.8", "price of owned x 1.25", "limits.hold_at: pessimistic",
    ]  # fmt: skip
    rate = scenario.classes[0].arrivals.rate_per_s  # type: ignore[union-attr]
    assert found["traffic of chat x 1.25"].classes[0].arrivals.rate_per_s == 1.25 * rate  # type: ignore[union-attr,operator]
    assert found["price of rented x 0.8"].fleet.nodes[0].price_usd_per_hour == 0.8 * 4
    assert found["price of owned x 1.25"].fleet.nodes[1].own.capex_usd == 12500  # type: ignore[union-attr]
    for one in found.values():
        assert Scenario.model_validate(one.model_dump(mode="json")) == one
        assert one != scenario


def test_closed_loops_and_traces_have_more_traffic_too() -> None:
    chat = tiny_scenario().classes[0].model_dump(mode="json", exclude_defaults=True)
    closed = {**chat, "arrivals": {"concurrency": 8}}
    (less, more, *_) = sensitivity(tiny_scenario(classes=[closed]))
    assert [v.scenario.classes[0].arrivals.concurrency for v in (less, more)] == [6, 10]  # type: ignore[union-attr]
    trace = {"name": "t", "model": "llama", "trace": {"file": "t.csv"}}
    (less, more, *_) = sensitivity(tiny_scenario(classes=[trace]))
    assert [v.scenario.classes[0].trace.rate_scale for v in (less, more)] == [0.8, 1.25]  # type: ignore[union-attr]
