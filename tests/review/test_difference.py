"""Differences: nothing is missed that must be equal, and tolerance forgives exactly what it says."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.review import check, diff, dump_plan, parse_plan, tolerances_of
from planner.spec.plan import Plan
from planner.spec.scenario import Tolerances
from planner.testing import assert_plan_close, tiny_plan


def edited(path: str, value: Any) -> Plan:
    """The tiny plan with one leaf replaced; the path is keys and indices joined by dots."""
    data = json.loads(dump_plan(tiny_plan()))
    *parents, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    spot = data
    for step in parents:
        spot = spot[step]
    spot[last] = value
    return parse_plan(json.dumps(data))


def test_a_plan_does_not_differ_from_itself() -> None:
    found = diff(tiny_plan(), tiny_plan())
    assert not found
    assert found.as_dict() == {"equal": True, "changes": [], "notes": []}


@pytest.mark.parametrize(
    ("path", "value", "reported"),
    [
        ("deployment.pools.0.replicas", 3, "pools.h100-tp1.replicas: 2 -> 3 (+50.0%)"),
        ("deployment.pools.0.parallelism.tp", 2, "pools.h100-tp1.parallelism.tp: 1 -> 2 (+100.0%)"),
        ("deployment.pools.0.weights", "fp8", "pools.h100-tp1.weights: bf16 -> fp8"),
        ("deployment.pools.0.max_seqs", 255, "pools.h100-tp1.max_seqs: 256 -> 255 (-0.4%)"),
        ("deployment.router", "least_loaded", "deployment.router: round_robin -> least_loaded"),
        ("pools.0.gpus", 3, "pools.h100-tp1.gpus: 2 -> 3 (+50.0%)"),
        ("classes.0.slo.1.met", False, "classes.chat.slo.tpot.p95.met: True -> False"),
        ("bill.usd_per_hour", 14.5, "bill.usd_per_hour: 13.76 -> 14.5 (+5.4%, tolerance 0.02)"),
        ("classes.0.metrics.ttft.p95.value", 0.07, "classes.chat.ttft.p95: 0.061 -> 0.07 (+14.8%, tolerance 0.05)"),
        ("bill.joules_per_token.value", 13.5, "bill.joules_per_token: 12.4 -> 13.5 (+8.9%, tolerance 0.05)"),
    ],
)
def test_each_change_is_reported_alone(path: str, value: Any, reported: str) -> None:
    assert str(diff(tiny_plan(), edited(path, value))) == reported


def test_a_renamed_pool_is_one_gone_and_one_new() -> None:
    data = dump_plan(tiny_plan()).replace("h100-tp1", "h100-tp1-b")
    changes = {change.path: change for change in diff(tiny_plan(), parse_plan(data)).changes}
    assert changes["pools.h100-tp1.gpus"].after == "absent"
    assert changes["pools.h100-tp1-b.gpus"].before == "absent"


@given(factor=st.floats(0.5, 2.0), tolerance=st.floats(0.0, 0.5))
def test_tolerance_is_relative_to_the_larger_value_and_symmetric(factor: float, tolerance: float) -> None:
    allowed = Tolerances(metrics=tolerance)
    other = edited("bill.watts", 1587.5 * factor)
    beyond = abs(factor - 1) > tolerance * max(factor, 1)
    assert bool(diff(tiny_plan(), other, allowed)) == beyond
    assert bool(diff(other, tiny_plan(), allowed)) == beyond


def test_versions_catalog_and_scenario_are_notes_not_differences() -> None:
    data = json.loads(dump_plan(tiny_plan()))
    data |= {"catalog_hash": "fff", "seed": 7, "packages": {"numpy": "2.4.7"}}
    data["scenario"]["classes"][0]["arrivals"]["rate_per_s"] = "3.0/s"
    found = diff(tiny_plan(), parse_plan(json.dumps(data)))
    assert not found
    assert "catalog_hash 0123456789abcdef -> fff" in found.notes
    assert "seed 0 -> 7" in found.notes
    assert "package numpy 2.4.6 -> 2.4.7" in found.notes
    assert "package ortools 9.15.6755 -> absent" in found.notes
    assert any("arrivals" in note and "3.0/s" in note for note in found.notes)


def test_check_reports_a_broken_promise_of_the_committed_plan_even_when_nothing_changed() -> None:
    broken = edited("classes.0.slo.0.met", False)
    assert [change.path for change in check(broken, broken).changes] == ["classes.chat.slo.ttft.p95"]
    assert not check(tiny_plan(), tiny_plan())


def test_a_scenario_beside_the_plan_may_loosen_its_check() -> None:
    data = json.loads(dump_plan(edited("bill.usd_per_hour", 14.5)))
    data["scenario"]["check"] = {"usd_per_hour": 0.1, "metrics": 0.05}
    moved = parse_plan(json.dumps(data))
    assert not check(tiny_plan(), moved, tolerances_of(moved))


def test_tolerances_inside_plans_may_only_tighten_their_check() -> None:
    data = json.loads(dump_plan(edited("bill.usd_per_hour", 14.5)))
    data["scenario"]["check"] = {"usd_per_hour": 0.1, "metrics": 0.05}
    assert [change.path for change in check(tiny_plan(), parse_plan(json.dumps(data))).changes] == ["bill.usd_per_hour"]
    data = json.loads(dump_plan(edited("bill.usd_per_hour", tiny_plan().bill.usd_per_hour * 1.01)))
    assert not check(tiny_plan(), parse_plan(json.dumps(data)))
    data["scenario"]["check"] = {"usd_per_hour": 0.001}
    assert check(tiny_plan(), parse_plan(json.dumps(data)))


def test_assert_plan_close_says_what_differs() -> None:
    assert_plan_close(tiny_plan(), tiny_plan())
    with pytest.raises(AssertionError, match="replicas: 2 -> 3"):
        assert_plan_close(edited("deployment.pools.0.replicas", 3), tiny_plan())
