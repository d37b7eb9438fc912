"""The whole search on a small space: against exhaustive simulation, equal bytes from any number of jobs, resumable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.errors import Infeasible
from planner.search.admit import Refused, admit
from planner.search.bounds import capacity_bound, least_tpot_s, least_ttft_s
from planner.search.choose import Choice, choose
from planner.search.columns import problem_of
from planner.search.confirm import held, watch
from planner.search.document import document
from planner.search.evaluate import Evaluation, evaluate
from planner.search.journal import NoJournal, open_journal
from planner.search.measure import Draws, measure, observe
from planner.search.predict import predict
from planner.search.probe import trials
from planner.search.select import select
from planner.search.setting import Setting
from planner.search.space import Candidate, enumerate_pools
from planner.search.workers import Executor, Processes, Serial
from planner.sim.metrics import tpot_s, ttft_s
from planner.spec.deployment import Deployment, Route
from planner.spec.plan import Plan

NARROW = {"requests_per_probe": 200, "max_tokens_per_step": [2048], "max_seqs": [64], "pp": [1]}
FP16 = {"m": {"model": "dense", "weights": ["fp16"], "kv": ["fp16"]}}


def quiet(done: int, total: int, what: str) -> None:
    """No progress."""


def evaluation_of(setting: Setting, workers: Executor | None = None, journal: Any = None) -> Evaluation:
    return evaluate(
        admit(enumerate_pools(setting), setting), setting, workers or Serial(), journal or NoJournal(), quiet
    )


def chosen(setting: Setting) -> Choice:
    return choose(evaluation_of(setting), setting, quiet)


def planned(setting: Setting, workers: Executor | None = None, journal: Any = None) -> Plan:
    found = evaluation_of(setting, workers, journal)
    return document(setting, found, choose(found, setting, quiet), quiet)


def legal(setting: Setting) -> list[Candidate]:
    return [c for c in admit(enumerate_pools(setting), setting) if not isinstance(c, Refused)]


def cheapest_by_hand(setting: Setting) -> float:
    """Every candidate at every count, simulated whole: the cheapest single-pool plan that holds."""
    best = float("inf")
    for candidate in legal(setting):
        site = setting.sites[candidate.site]
        for replicas in range(1, site.gpus // candidate.gpus + 1):
            nodes = -(-replicas * candidate.gpus // site.per_node)
            usd = nodes * (site.entry.price_usd_per_hour or 0.0)
            if usd >= best:
                break
            pool = candidate.pool(setting, "pool", replicas)
            routes = tuple(Route(request_class=one.name, pool="pool") for one in setting.scenario.classes)
            if held(watch(setting, Deployment(pools=(pool,), routes=routes))):
                best = usd
    return best


@pytest.mark.parametrize("rate", ["5/s", "40/s", "150/s"])
def test_no_single_pool_plan_is_cheaper(small: Callable[..., Setting], rate: str) -> None:
    """Exhaustive simulation of the space finds nothing cheaper than the plan, and the plan itself holds."""
    classes = [{**small().scenario.classes[0].model_dump(mode="json", by_alias=True), "arrivals": {"rate": rate}}]
    setting = small(models=FP16, search={**NARROW, "roles": ["aggregated"]}, classes=classes)
    choice = chosen(setting)
    assert held(choice.seen)
    assert choice.selection.reached[0].value <= cheapest_by_hand(setting) + 1e-9


def test_no_schedule_works_faster_than_the_bound(small: Callable[..., Setting]) -> None:
    """Everything at once, nothing promised: the fastest a replica can work off a batch, for every role and cut."""
    setting = small(models=FP16, search={**NARROW, "pp": [1, 2]})
    load = setting.loads[0]
    drawn = replace(load.draw(seed=0, requests=400), arrival_s=np.zeros(400))
    for one in trials(setting, legal(setting), load):
        run = observe(one, drawn)
        assert np.isfinite(run.finish_s).all()
        assert run.end_s >= 400 / capacity_bound(one.replica, drawn, one.candidate.role)


def test_same_bytes_from_one_process_and_two(small: Callable[..., Setting]) -> None:
    setting = small(models=FP16, search=NARROW)
    with Processes(2, chunk=1) as two:
        assert planned(setting, two).model_dump_json() == planned(setting).model_dump_json()


def test_a_resumed_search_gives_the_same_plan_without_simulating(small: Callable[..., Setting], tmp_path: Path) -> None:
    setting = small(models=FP16, search=NARROW)

    class Idle:
        """Refuses to work."""

        def map(self, function: Any, items: Any) -> Any:
            assert not list(items)
            return iter(())

    with open_journal(tmp_path / "journal", "me") as journal:
        first = planned(setting, journal=journal)
    with open_journal(tmp_path / "journal", "me") as journal:
        assert planned(setting, Idle(), journal).model_dump_json() == first.model_dump_json()


def test_pruning_never_changes_the_first_goal(small: Callable[..., Setting]) -> None:
    """With every candidate measured by itself the solver finds no better plan than with the few that are left."""
    setting = small(models=FP16, search={**NARROW, "roles": ["aggregated"]})
    pruned = evaluation_of(setting)
    load, draws = setting.loads[0], Draws(setting.loads[0], 0)
    everything = tuple(
        replace(one, capacity=measure(t, draws, 200).amount)
        for one, t in zip(pruned.found, trials(setting, [f.candidate for f in pruned.found], load), strict=True)
    )
    whole = select(problem_of(setting, tuple(one for one in everything if one.capacity > 0)))
    few = select(problem_of(setting, pruned.columns))
    assert few.reached[0].value <= whole.reached[0].value


def test_the_document_is_complete(small: Callable[..., Setting]) -> None:
    setting = small(models=FP16, search=NARROW)
    plan = planned(setting)
    assert plan.status == "optimal"
    assert [pool.name for pool in plan.deployment.pools] == [pool.name for pool in plan.pools]
    assert plan.bill.usd_per_hour == pytest.approx(sum(pool.usd_per_hour for pool in plan.pools))
    assert plan.bill.watts == pytest.approx(sum(pool.watts for pool in plan.pools))
    assert all(row.met for one in plan.classes for row in one.slo)
    assert all(
        v.lo <= v.value <= v.hi for one in plan.classes for values in one.metrics.values() for v in values.values()
    )
    assert plan.objectives[0].value == pytest.approx(plan.bill.usd_per_hour)
    assert plan.evidence.enumerated == len(list(enumerate_pools(setting)))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert plan.scenario["name"] == "small"


def test_runners_up_have_other_shapes_and_are_not_better(small: Callable[..., Setting]) -> None:
    plan = planned(small(models=FP16, search=NARROW))
    assert plan.runners_up
    assert all(other.usd_per_hour >= plan.bill.usd_per_hour - 1e-9 for other in plan.runners_up)
    ours = " + ".join(f"{p.replicas} x {p.name}" for p in plan.deployment.pools)
    assert ours not in {other.summary for other in plan.runners_up}


def test_simulating_the_chosen_deployment_repeats_the_prediction(small: Callable[..., Setting]) -> None:
    setting = small(models=FP16, search=NARROW)
    plan = planned(setting)
    again = predict(setting, plan.deployment, watch(setting, plan.deployment))
    assert again.classes == plan.classes
    assert again.bill == plan.bill


def one_class(**changes: Any) -> list[dict[str, Any]]:
    lengths = {"input": {"uniform": {"low": 200, "high": 800}}, "output": {"uniform": {"low": 50, "high": 150}}}
    return [{"name": "chat", "model": "m", "lengths": lengths, "arrivals": {"rate": "20/s"}, **changes}]


def reasons(setting: Setting) -> str:
    with pytest.raises(Infeasible) as found:
        chosen(setting)
    return str(found.value)


def test_a_model_larger_than_the_fleet_is_told_with_the_hardware_it_needs(small: Callable[..., Setting]) -> None:
    tiny = {"nodes": [{"name": "old", "node": "Old-4", "count": 1, "price": "$4/h"}]}
    setting = small(models=FP16, search=NARROW, fleet=tiny)
    big = setting.models["m"].model_copy(
        update={"blocks": tuple(b.model_copy(update={"repeat": 1000}) for b in setting.models["m"].blocks)}
    )
    text = reasons(
        Setting(
            setting.scenario,
            setting.folder,
            {"m": big},
            setting.sites,
            setting.profile,
            setting.loads,
            setting.longest,
            "",
        )
    )
    assert "weights-fit" in text
    assert "could hold it, the fleet has 4" in text


def test_a_promise_below_the_floor_is_told_with_the_floor(small: Callable[..., Setting]) -> None:
    text = reasons(small(models=FP16, search=NARROW, classes=one_class(slo={"tpot": {"p95": "10 us"}})))
    assert "tpot of chat: the physical floor of the fleet is" in text
    assert "above the limit of 0.01 ms" in text


def test_too_little_hardware_is_told_with_what_would_do(small: Callable[..., Setting]) -> None:
    fleet = {"nodes": [{"name": "fast", "node": "Fast-8", "count": 1, "price": "$80/h"}]}
    text = reasons(small(search=NARROW, fleet=fleet, classes=one_class(arrivals={"rate": "20000/s"})))
    assert "the 1 nodes of fast would have to be" in text
    assert "chat asks for 2e+04 requests/s" in text


def test_a_budget_is_enforced_and_named(small: Callable[..., Setting]) -> None:
    text = reasons(small(models=FP16, search=NARROW, limits={"usd_per_hour": "$1/h"}))
    assert "the budget of 1 USD/h would have to be 4.00 USD/h" in text


def test_relaxing_a_promise_never_costs_more(small: Callable[..., Setting]) -> None:
    strict = chosen(
        small(models=FP16, search=NARROW, classes=one_class(slo={"tpot": {"p95": "8 ms"}, "ttft": {"p95": "300 ms"}}))
    )
    loose = chosen(
        small(models=FP16, search=NARROW, classes=one_class(slo={"tpot": {"p95": "40 ms"}, "ttft": {"p95": "1 s"}}))
    )
    assert loose.selection.reached[0].value <= strict.selection.reached[0].value


def test_a_closed_loop_gets_seats_for_everyone(small: Callable[..., Setting]) -> None:
    setting = small(
        models=FP16, search=NARROW, classes=one_class(arrivals={"concurrency": 40}, slo={"tpot": {"p95": "30 ms"}})
    )
    plan = planned(setting)
    assert all(row.met for row in plan.classes[0].slo)
    assert sum(pool.replicas * pool.max_seqs for pool in plan.deployment.pools) >= 40


def test_a_job_ends_before_its_deadline(small: Callable[..., Setting]) -> None:
    arrivals = {"all_at_once": True, "deadline": "60 s"}
    setting = small(models=FP16, search=NARROW, classes=one_class(arrivals=arrivals, requests=2000, slo={}))
    (seen,) = chosen(setting).seen
    assert seen.run.end_s <= 60
    assert len(seen.run) == 2000


def test_goodput_fills_the_fleet_and_still_keeps_the_promise(small: Callable[..., Setting]) -> None:
    fleet = {"nodes": [{"name": "fast", "node": "Fast-8", "count": 1, "price": "$80/h"}]}
    setting = small(
        search=NARROW,
        fleet=fleet,
        objective=["goodput", "usd_per_hour"],
        classes=one_class(slo={"tpot": {"p95": "20 ms"}}),
    )
    choice = chosen(setting)
    assert choice.selection.factor > 1
    assert held(choice.seen)


def test_two_classes_with_different_promises_are_served(small: Callable[..., Setting]) -> None:
    classes = [
        *one_class(slo={"tpot": {"p95": "10 ms"}, "ttft": {"p95": "500 ms"}}),
        {**one_class()[0], "name": "bulk"},
    ]
    choice = chosen(small(models=FP16, search=NARROW, classes=classes))
    assert held(choice.seen)
    assert {route.request_class for route in choice.deployment.routes} == {"chat", "bulk"}


def test_without_a_latency_to_keep_nothing_is_split(small: Callable[..., Setting]) -> None:
    """Throughput alone never asks for prefill apart from decode; a promise does."""
    roles = {one.candidate.role for one in evaluation_of(small(models=FP16, search=NARROW, classes=one_class())).found}
    assert roles == {"aggregated"}
    kept = one_class(slo={"tpot": {"p95": "30 ms"}})
    roles = {one.candidate.role for one in evaluation_of(small(models=FP16, search=NARROW, classes=kept)).found}
    assert roles == {"aggregated", "prefill", "decode"}


def test_the_solver_and_the_bill_agree_on_power(small: Callable[..., Setting]) -> None:
    setting = small(
        models=FP16,
        search={**NARROW, "requests_per_probe": 2000, "roles": ["aggregated"]},
        objective=["joules_per_token"],
    )
    plan = planned(setting)
    assert plan.objectives[0].value == pytest.approx(plan.bill.joules_per_token.value, rel=0.03)


def test_no_request_is_served_sooner_than_its_bound(small: Callable[..., Setting]) -> None:
    """Far apart requests meet nobody: each takes at least its floor, and in one pipeline stage hardly more."""
    setting = small(models=FP16, search={**NARROW, "pp": [1, 2], "roles": ["aggregated"]})
    load = setting.loads[0]
    drawn = replace(load.draw(seed=0, requests=50), arrival_s=np.arange(50) * 100.0)
    for one in trials(setting, legal(setting), load):
        run = observe(one, drawn)
        first, each = least_ttft_s(one.replica, drawn), least_tpot_s(one.replica, drawn)
        assert (ttft_s(run) >= first * (1 - 1e-9)).all()
        assert (tpot_s(run) >= each * (1 - 1e-9)).all()
        if one.candidate.pp == 1:
            assert ttft_s(run) == pytest.approx(first, rel=0.25)
            assert tpot_s(run) == pytest.approx(each, rel=0.25)
