"""Variants of a question differ from it in one thing; prices compare in the first goal."""

from __future__ import annotations

import pytest

from planner.errors import BadInput, Problem
from planner.review import forced, impossible, priced, relaxations
from planner.spec.scenario import Scenario
from planner.testing import tiny_plan, tiny_scenario

HOLDS = {"h100": "H100-SXM5-80GB", "cheap": "L40S"}
FLEET = {
    "nodes": [
        {"name": "h100", "node": "aws-p5.4xlarge", "count": 2},
        {"name": "cheap", "node": "aws-g6e.xlarge", "count": 2},
    ],
    "networks": [{"between": ["h100", "cheap"], "bandwidth": "10 GB/s"}],
}


def test_every_promise_and_limit_is_relaxed_by_itself() -> None:
    scenario = tiny_scenario(limits={"gpus": 2, "min_replicas": 2})
    found = relaxations(scenario)
    assert [one.what for one in found] == [
        "chat ttft p95 2 s -> 2.5 s", "chat tpot p95 80 ms -> 100 ms", "limits.gpus 2 lifted",
        "limits.min_replicas 2 lifted", "limits.hold_at: pessimistic",
    ]  # fmt: skip
    assert found[0].scenario.classes[0].slo.targets == (("ttft", "p95", 2.5), ("tpot", "p95", 0.08))
    assert found[2].scenario.limits.gpus is None
    assert found[2].scenario.limits.min_replicas == 2
    for one in found:
        assert Scenario.model_validate(one.scenario.model_dump(mode="json")) == one.scenario
        assert one.scenario != scenario


def test_limits_of_each_request_are_loosened_too() -> None:
    chat = tiny_scenario().classes[0].model_dump(mode="json") | {"slo": {"ttft": "2 s", "attainment": 0.9}}
    first = relaxations(tiny_scenario(classes=[chat]))[0]
    assert first.what == "chat ttft of each request 2 s -> 2.5 s"
    assert first.scenario.classes[0].slo.per_request == {"ttft": 2.5}


def test_insurance_is_dropped_from_a_robust_question() -> None:
    last = relaxations(tiny_scenario(limits={"hold_at": "pessimistic"}))[-1]
    assert (last.what, last.scenario.limits.hold_at) == ("limits.hold_at: expected", "expected")


@pytest.mark.parametrize("words", [["h100-tp2-fp8"], ["h100", "tp2", "fp8"], ["H100", "TP2", "fp8"]])
def test_words_restrict_the_search_together_or_apart(words: list[str]) -> None:
    found = forced(tiny_scenario(fleet=FLEET), words, HOLDS).scenario
    assert [node.name for node in found.fleet.nodes] == ["h100"]
    assert found.fleet.networks == ()
    assert found.search.tp == (2,)
    assert found.models["llama"].weights == ("fp8",)
    assert found.models["llama"].kv == ("bf16",)
    assert Scenario.model_validate(found.model_dump(mode="json")) == found


def test_accelerators_roles_and_cache_formats_are_understood() -> None:
    found = forced(tiny_scenario(fleet=FLEET), ["l40s", "disaggregated", "kv-fp8", "pp2"], HOLDS).scenario
    assert [node.name for node in found.fleet.nodes] == ["cheap"]
    assert found.search.roles == ("disaggregated",)
    assert found.search.pp == (2,)
    assert found.models["llama"].kv == ("fp8",)
    assert found.models["llama"].weights == ()


def test_what_is_forced_is_not_forbidden_by_the_size_of_a_replica() -> None:
    scenario = tiny_scenario(search={"max_gpus_per_replica": 2})
    assert forced(scenario, ["tp4"], HOLDS).scenario.search.max_gpus_per_replica is None
    assert forced(scenario, ["tp2"], HOLDS).scenario.search.max_gpus_per_replica == 2


@pytest.mark.parametrize("word", ["h200", "tp0", "tp", "", "h100-nothing", "kv-int4"])
def test_words_that_mean_nothing_are_refused_with_those_that_do(word: str) -> None:
    with pytest.raises(BadInput, match=r"understood: tpN.* the fleet's h100, cheap") as caught:
        forced(tiny_scenario(fleet=FLEET), [word], HOLDS)
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    ("goal", "value", "verdict"),
    [
        ("usd_per_hour", 20.0, "10 USD/h worse (100.0%)"),
        ("usd_per_hour", 8.0, "2 USD/h better (20.0%)"),
        ("usd_per_hour", 10.0, "no difference"),
        ("goodput", 8.0, "2 requests/s worse (20.0%)"),
    ],
)
def test_prices_are_in_the_first_goal(goal: str, value: float, verdict: str) -> None:
    ours, theirs = (tiny_plan(objectives=[{"goal": goal, "value": v, "bound": v, "gap": 0.0}]) for v in (10.0, value))
    row = priced("tp2", ours, theirs)
    assert str(row).startswith(f"tp2: {verdict} - 2 x h100-tp1: ")
    assert row.as_dict()["change"] == row.change


def test_the_second_goal_speaks_when_the_first_is_equal() -> None:
    ours, theirs = (
        tiny_plan(objectives=[
            {"goal": "usd_per_hour", "value": 10.0, "bound": 10.0, "gap": 0.0},
            {"goal": "joules_per_token", "value": joules, "bound": joules, "gap": 0.0},
        ])
        for joules in (0.5, 0.4)
    )  # fmt: skip
    row = priced("kv-fp8", ours, theirs)
    assert str(row).startswith("kv-fp8: the same usd_per_hour, 0.1 J/token better (20.0%) - ")
    assert (row.goal, row.equal) == ("joules_per_token", ("usd_per_hour",))


def test_what_cannot_be_says_why() -> None:
    row = impossible("tp8", tiny_plan(), [Problem("tp 8 leaves the node", hint="tp 4")])
    assert str(row) == "tp8: no plan\n  tp 8 leaves the node - tp 4"
    assert row.as_dict()["value"] is None
