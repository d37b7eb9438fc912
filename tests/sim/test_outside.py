"""A scheduler and a router from outside: plain Python, by name, in the uncompiled loop."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.errors import BadInput
from planner.sim import outside
from planner.sim.kvcache import admit, candidate, fits
from planner.sim.schedulers.batch import Policy, add, make_room
from planner.sim.schedulers.vllm_v1 import vllm_v1
from planner.sim.simulate import simulate
from planner.sim.state import State

HERE = Path(__file__).stem


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    outside.tell.cache_clear()


def one_by_one(s: State, r: int, slot: int, now: float) -> int:
    """One request at a time, from its prompt to its last token; the one scheduler of this file."""
    replica = s.replica[r]
    if replica.running == 0:
        i = candidate(s, r)
        if i < 0 or not fits(replica, s.pool[replica.pool], s.request[i], s.request[i].prompt):
            return 0
        return add(s, r, slot, 0, admit(s, r, s.request[i].prompt, now), s.request[i].prompt)
    i = s.running[r, 0]
    return add(s, r, slot, 0, i, 0) if make_room(s, r, 0, s.request[i].done) else 0


def last_replica(s: State, p: int, i: int) -> int:
    return int(s.pool[p].first + s.pool[p].replicas - 1)


def test_a_scheduler_by_module_and_function(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Steps of 10 ms: each request has its prompt and its decodes for itself. One line says that this is slow."""
    replica = world.a_replica(cost=world.constant_cost(0.01), scheduler=f"{HERE}:one_by_one")
    requests = world.some_requests(np.zeros(3), [50, 500, 5], [3, 1, 2])
    with caplog.at_level(logging.WARNING, "planner"):
        run = simulate(world.one_pool(), {"all": replica}, requests)
        simulate(world.one_pool(), {"all": replica}, requests)
    assert np.allclose(run.finish_s, [0.03, 0.04, 0.06])
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [HERE]


def test_a_policy_of_the_project_named_from_outside_gives_the_same_run(world: Any) -> None:
    random = np.random.default_rng(2)
    requests = world.some_requests(
        np.cumsum(random.exponential(0.01, 60)), random.integers(1, 500, 60), random.integers(1, 50, 60)
    )
    inside = world.a_replica(kv_blocks=100)
    named = replace(inside, scheduler=f"{vllm_v1.__module__}:vllm_v1")
    one, two = (simulate(world.one_pool(), {"all": kind}, requests, skip=False) for kind in (inside, named))
    assert np.array_equal(one.finish_s, two.finish_s)
    assert one.preemptions.sum() > 0
    assert one.pools == two.pools


def test_an_entry_point_is_a_name_too(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(outside.SCHEDULERS._known, "mine", one_by_one)
    run = simulate(world.one_pool(), {"all": world.a_replica(scheduler="mine")}, world.some_requests(0.0, 9, 2))
    assert np.isfinite(run.finish_s).all()


def test_a_router_by_module_and_function(world: Any) -> None:
    deployment = world.one_pool(replicas=3, router=f"{HERE}:last_replica")
    run = simulate(deployment, {"all": world.a_replica()}, world.some_requests(np.zeros(5), 9, 2))
    assert run.replica.tolist() == [2] * 5


def test_a_variant_in_the_tree_is_one_entry(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What CONTRIBUTING tells: a policy that differs in numbers only is a Policy of an existing branch, compiled."""
    unlimited = Policy(branch=outside.SCHEDULERS.get("vllm_v1").branch, budgeted=False)
    monkeypatch.setitem(outside.SCHEDULERS._known, "unlimited", unlimited)
    replica = world.a_replica(cost=world.constant_cost(0.01), scheduler="unlimited", max_tokens_per_step=100)
    run = simulate(world.one_pool(), {"all": replica}, world.some_requests(np.zeros(3), 90, 5))
    assert np.allclose(run.finish_s, 0.05)


@pytest.mark.parametrize(
    ("name", "complaint", "hint"),
    [
        ("vlm_v1", "unknown scheduler", "vllm_v1"),
        ("no.such.module:policy", "No module named 'no'", "module:function"),
        (f"{HERE}:one_by_on", "no function 'one_by_on'", "one_by_one"),
    ],
)
def test_bad_names(world: Any, name: str, complaint: str, hint: str) -> None:
    with pytest.raises(BadInput) as caught:
        simulate(world.one_pool(), {"all": world.a_replica(scheduler=name)}, world.some_requests(0.0, 9, 2))
    assert complaint in str(caught.value)
    assert hint in str(caught.value)
    with pytest.raises(BadInput, match="router"):
        simulate(world.one_pool(router=f"{HERE}:nobody"), {"all": world.a_replica()}, world.some_requests(0.0, 9, 2))
