"""Promises that must hold at the pessimistic end: never cheaper, never fragile; the neutral setting changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from planner.errors import Infeasible
from planner.search.admit import Refused, admit
from planner.search.choose import choose
from planner.search.confirm import held, rel_error_of, watch, watch_worst
from planner.search.document import document
from planner.search.evaluate import evaluate
from planner.search.journal import NoJournal
from planner.search.measure import Draws, measure
from planner.search.predict import predict
from planner.search.probe import trials
from planner.search.setting import Setting
from planner.search.space import enumerate_pools
from planner.search.workers import Serial
from planner.spec.plan import Plan
from planner.spec.scenario import Limits

NARROW = {"requests_per_probe": 200, "max_tokens_per_step": [2048], "max_seqs": [64], "pp": [1], "tp": [1, 2]}
OLD_ONLY = {"nodes": [{"name": "old", "node": "Old-4", "count": 20, "price": "$4/h"}]}
FP16 = {"m": {"model": "dense", "weights": ["fp16"], "kv": ["fp16"]}}
Small = Callable[..., Setting]
ROBUST = {"hold_at": "pessimistic"}


def planned(setting: Setting) -> Plan:
    found = evaluate(admit(enumerate_pools(setting), setting), setting, Serial(), NoJournal(), _quiet)
    return document(setting, found, choose(found, setting, _quiet), _quiet)


def _quiet(done: int, total: int, what: str) -> None:
    """No progress."""


@pytest.fixture(scope="module")
def tight() -> dict[str, Any]:
    """A question whose cheapest answer has nothing to spare: one node, with every accelerator near its capacity."""
    chat = {
        "name": "chat", "model": "m", "arrivals": {"rate": "110/s"},
        "slo": {"ttft": {"p95": "1 s"}, "tpot": {"p95": "50 ms"}},
        "lengths": {"input": {"uniform": {"low": 200, "high": 800}}, "output": {"uniform": {"low": 50, "high": 150}}},
    }  # fmt: skip
    return {"search": NARROW, "models": FP16, "fleet": OLD_ONLY, "classes": [chat]}


def test_a_robust_plan_is_never_cheaper_and_says_no_promise_is_fragile(small: Small, tight: dict[str, Any]) -> None:
    plain, robust = (planned(small(**tight, limits=limits)) for limits in ({}, ROBUST))
    assert any("pessimistic" in warning for warning in plain.warnings)
    assert not any("pessimistic" in warning for warning in robust.warnings)
    assert robust.objectives[0].value > plain.objectives[0].value
    for one in robust.classes:
        for row in one.slo:
            assert one.metrics[row.metric][row.statistic].hi <= row.limit
            assert one.metrics[row.metric][row.statistic].value == row.predicted


def test_the_robust_plan_still_predicts_what_is_expected(small: Small, tight: dict[str, Any]) -> None:
    robust, plain_setting = planned(small(**tight, limits=ROBUST)), small(**tight)
    expected = predict(plain_setting, robust.deployment, watch(plain_setting, robust.deployment))
    assert (robust.classes, robust.pools, robust.bill) == (expected.classes, expected.pools, expected.bill)
    assert held(watch(plain_setting, robust.deployment, slower=1 + rel_error_of(plain_setting, robust.deployment)))


def test_the_neutral_setting_changes_nothing(small: Small, tight: dict[str, Any]) -> None:
    left_out, neutral = small(**tight), small(**tight, limits={"hold_at": "expected"})
    assert planned(left_out).model_dump_json() == planned(neutral).model_dump_json()
    assert watch_worst(neutral, planned(neutral).deployment) == ()


def test_no_replica_carries_more_when_promises_must_survive_slow_steps(small: Small, tight: dict[str, Any]) -> None:
    found = []
    for limits in ({}, ROBUST):
        setting = small(**tight, limits=limits)
        load = setting.loads[0]
        legal = [c for c in admit(enumerate_pools(setting), setting) if not isinstance(c, Refused)]
        tried = trials(setting, [c for c in legal if c.role == "aggregated"], load)
        found.append([measure(t, Draws(load, 0), 200).amount for t in tried])
        assert all(t.as_priced.replica.cost.decode_s[1] <= t.replica.cost.decode_s[1] for t in tried)
    assert found[0]
    assert all(robust < plain for plain, robust in zip(*found, strict=True))


def test_no_plan_for_the_pessimistic_end_says_that_it_was_asked_for(small: Small, tight: dict[str, Any]) -> None:
    one_node = {"nodes": [{"name": "old", "node": "Old-4", "count": 1, "price": "$4/h"}]}
    assert planned(small(**{**tight, "fleet": one_node})).deployment.pools[0].replicas == 4
    with pytest.raises(Infeasible) as caught:
        planned(small(**{**tight, "fleet": one_node}, limits=ROBUST))
    assert any("hold_at" in problem.what for problem in caught.value.problems)


def test_only_known_ends_are_accepted() -> None:
    with pytest.raises(ValueError, match="expected' or 'pessimistic'"):
        Limits.model_validate({"hold_at": "optimistic"})


def test_a_search_that_leaves_nothing_says_so(small: Small, tight: dict[str, Any]) -> None:
    closed = {**tight["classes"][0], "arrivals": {"concurrency": 8}}
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"search": {**NARROW, "tp": [128]}}, "a fleet of 80 like accelerators"),
        ({"search": {**NARROW, "roles": ["disaggregated"]}, "classes": [closed]}, "for open arrivals only"),
    )
    for changes, words in cases:
        with pytest.raises(Infeasible) as caught:
            planned(small(**{**tight, **changes}))
        assert any(words in problem.what for problem in caught.value.problems), caught.value
