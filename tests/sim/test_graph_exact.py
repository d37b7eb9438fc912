"""Graphs of tasks small enough to follow by hand, and graphs that are no graphs at all."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner import traffic
from planner.errors import BadInput
from planner.sim.metrics import by_node, e2e_s, summarise, ttft_s
from planner.sim.simulate import Run, simulate
from planner.sim.turns import turns
from planner.spec.deployment import Deployment, Edge, Route, Service
from planner.spec.requests import Requests
from planner.spec.workload import RequestClass

LLM = {"phase": "llm", "input": {"fixed": 100}, "output": {"fixed": 1}}


def tool(seconds: str, **more: Any) -> dict[str, Any]:
    return {"phase": "tool", "seconds": {"fixed": seconds}, **more}


def arc(source: str, target: str, **more: Any) -> dict[str, Any]:
    return {"source": source, "target": target, **more}


def drawn(nodes: dict[str, Any], *edges: dict[str, Any], n: int = 1, rate: str = "1/s", **more: Any) -> Requests:
    """Requests of a class whose graph begins at the first of its nodes."""
    graph = {"entry": next(iter(nodes)), "nodes": nodes, "edges": edges}
    given = {"name": "chat", "model": "m", "arrivals": {"rate": rate}, "requests": n, "graph": graph}
    return traffic.draw([RequestClass.model_validate(given | more)], seed=3, folder=Path())


def at_once(requests: Requests) -> Requests:
    return dataclasses.replace(requests, arrival_s=np.zeros(len(requests)))


def place(world: Any, *services: Service, edges: tuple[Edge, ...] = ()) -> Deployment:
    """One pool of one engine, and services; everything is routed everywhere."""
    names = ("all", *(service.name for service in services))
    routes = tuple(Route(request_class="chat", pool=name) for name in names)
    return Deployment(pools=(world.pool_of(),), services=services, edges=edges, routes=routes)


def play(world: Any, requests: Requests, *services: Service, step_s: float = 0.1, **options: Any) -> Run:
    replica = world.a_replica(cost=world.constant_cost(step_s))
    return simulate(place(world, *services), {"all": replica}, requests, compiled=False, **options)


def test_a_chain_takes_the_sum_of_its_parts(world: Any) -> None:
    nodes = {"ask": LLM, "look": tool("300 ms"), "say": LLM}
    run = play(world, drawn(nodes, arc("ask", "look"), arc("look", "say", delay="50 ms")))
    assert e2e_s(turns(run)) == pytest.approx([0.1 + 0.3 + 0.05 + 0.1], rel=1e-12)
    assert ttft_s(run)[[0, 2]] == pytest.approx([0.1, 0.1], rel=1e-12)
    nodes_of = by_node(run)
    assert nodes_of["chat", "look"]["e2e"].values_s["mean"] == pytest.approx(0.3, rel=1e-12)
    assert nodes_of["chat", "say"]["ttft"].values_s["p99"] == pytest.approx(0.1, rel=1e-12)
    assert "ttft" not in nodes_of["chat", "look"]


def test_a_join_waits_for_the_slowest(world: Any) -> None:
    nodes = {"split": tool("0 s"), "a": tool("1 s"), "b": tool("3 s"), "c": tool("2 s"), "say": {**LLM, "join": True}}
    edges = [arc("split", name) for name in "abc"] + [arc(name, "say") for name in "abc"]
    assert e2e_s(turns(play(world, drawn(nodes, *edges)))) == pytest.approx([3.1], rel=1e-12)


def test_a_node_that_is_no_join_is_visited_once_for_each_way(world: Any) -> None:
    nodes = {"split": tool("0 s"), "a": tool("1 s"), "b": tool("3 s"), "say": LLM}
    requests = drawn(nodes, arc("split", "a"), arc("split", "b"), arc("a", "say"), arc("b", "say"))
    assert len(requests) == 5
    run = play(world, at_once(requests))
    assert sorted(run.finish_s.tolist()) == pytest.approx([0.0, 1.0, 1.1, 3.0, 3.1], rel=1e-12)


def test_a_loop_runs_as_often_as_it_may_and_its_prompts_grow(world: Any) -> None:
    """Three times round, for the loop is certain: 100 tokens, then 1 + 40 + 100 more each time."""
    nodes = {"ask": LLM, "look": tool("1 s", tokens={"fixed": 40}), "say": {**LLM, "history": False}}
    edges = arc("ask", "look", probability=1, max_visits=3), arc("look", "ask"), arc("ask", "say", delay="0 s")
    requests = drawn(nodes, *edges)
    kinds = [requests.tasks.kinds[k].name for k in requests.tasks.kind] if requests.tasks else []
    assert kinds.count("ask") == 4
    assert kinds.count("look") == 3
    asked = [i for i, name in enumerate(kinds) if name == "ask"]
    assert requests.input_tokens[asked].tolist() == [100, 241, 382, 523]
    assert requests.tasks is not None
    assert requests.tasks.history_tokens[asked].tolist() == [0, 101, 242, 383]
    assert set(requests.input_tokens[[i for i, name in enumerate(kinds) if name == "say"]]) == {100}


def test_what_is_left_of_a_probability_ends_the_walk() -> None:
    requests = drawn({"ask": LLM, "more": LLM}, arc("ask", "more", probability=0.25), n=4000)
    assert np.mean(requests.tasks.kind == 1) * len(requests) / 4000 == pytest.approx(0.25, abs=0.03)  # type: ignore[union-attr]


def test_bytes_queue_on_the_link_of_the_replica_that_made_them(world: Any) -> None:
    """Two encoders end together; 1 GB each over one link of 1 GB/s."""
    nodes = {"see": {"phase": "lookup", "seconds": {"fixed": "1 s"}}, "say": LLM}
    requests = at_once(drawn(nodes, arc("see", "say", bytes="1 GB", delay="10 ms"), n=2))
    service = Service(name="eyes", phases=("lookup",), servers=2)
    edge = Edge.model_validate({"source": "eyes", "target": "all", "bandwidth": "1 GB/s", "latency": "1 ms"})
    replica = world.a_replica(cost=world.constant_cost(0.1))
    run = simulate(place(world, service, edges=(edge,)), {"all": replica}, requests, compiled=False)
    assert run.arrival_s.tolist() == pytest.approx([0.0, 2.011, 0.0, 3.012], rel=1e-12)
    assert run.pools["eyes"].sent_bytes == 2e9
    with pytest.raises(BadInput, match=r"from node see \(eyes\) to say \(all\), but no edge"):
        simulate(place(world, service), {"all": replica}, requests)
    with pytest.raises(BadInput, match="a delay holds no bytes"):
        simulate(place(world), {"all": replica}, requests)


def test_servers_of_a_service_take_turns(world: Any) -> None:
    nodes = {"ask": LLM, "look": tool("1 s")}
    requests = at_once(drawn(nodes, arc("ask", "look"), n=5))
    run = play(world, requests, Service(name="tools", phases=("tool",), servers=2, service_s="500 ms"))  # type: ignore[arg-type]
    assert run.finish_s[1::2] == pytest.approx([1.6, 1.6, 3.1, 3.1, 4.6], rel=1e-12)
    assert run.pools["tools"].work.busy_s == pytest.approx(5 * 1.5 / 2, rel=1e-12)
    assert run.pools["tools"].peak_waiting == 3


def test_a_session_thinks_between_its_turns_and_remembers(world: Any) -> None:
    lengths = {"input": {"fixed": 100}, "output": {"fixed": 1}}
    given = {"name": "chat", "model": "m", "arrivals": {"rate": "1/s"}, "requests": 2, "lengths": lengths}
    session = {"turns": {"fixed": 3}, "think": {"fixed": "5 s"}}
    requests = traffic.draw([RequestClass.model_validate(given | {"session": session})], seed=0, folder=Path())
    assert requests.input_tokens.tolist() == [100, 201, 302] * 2
    run = turns(play(world, requests))
    assert len(run) == 6
    assert run.arrival_s[1:3] - run.arrival_s[:2] == pytest.approx([5.1, 5.1], rel=1e-12)
    assert summarise(run)["chat"].requests == 6


def test_one_task_that_never_fits_refuses_its_job(world: Any) -> None:
    """The second prompt of a job needs more blocks than the cache has; other jobs go on."""
    nodes = {"ask": {**LLM, "input": {"uniform": {"low": 10, "high": 1000}}}, "say": LLM}
    requests = drawn(nodes, arc("ask", "say"), n=60, rate="2/s")
    replica = world.a_replica(kv_blocks=40, watermark=0.0)
    run = simulate(place(world), {"all": replica}, requests, compiled=False)
    fits = requests.input_tokens[1::2] + 1 <= 40 * 16
    found = summarise(run)["chat"]
    assert (found.requests, found.rejected) == (60, 60 - int(fits.sum()))
    assert 0 < found.rejected < 60
    assert np.array_equal(np.isfinite(run.finish_s[::2]), fits)


def test_jobs_are_what_a_closed_loop_keeps_in_flight(world: Any) -> None:
    requests = drawn({"ask": LLM, "look": tool("1 s")}, arc("ask", "look"), n=9, arrivals={"concurrency": 3})
    run = turns(play(world, requests, horizon_s=2.15))
    assert run.finish_s[np.isfinite(run.finish_s)].tolist() == pytest.approx([1.1] * 3, rel=1e-12)
    assert run.arrival_s[3:6].tolist() == pytest.approx([1.1] * 3, rel=1e-12)
    assert run.started.tolist() == [True] * 6 + [False] * 3
    assert e2e_s(run)[3:6] == pytest.approx([1.05] * 3, rel=1e-12)
    assert "p50" in summarise(run)["chat"].metrics["e2e"].bounded


def test_a_graph_of_one_node_is_a_plain_class(world: Any) -> None:
    lengths = {"input": {"lognormal": {"mean": 300, "cv": 1}}, "output": {"uniform": {"low": 1, "high": 60}}}
    base = {"name": "chat", "model": "m", "arrivals": {"rate": "20/s"}, "requests": 200}
    graph = {"entry": "ask", "nodes": {"ask": {"phase": "llm", **lengths}}}
    forms = ({"lengths": lengths}, {"graph": graph}, {"lengths": lengths, "session": {"turns": {"fixed": 1}}})
    plain, *others = (traffic.draw([RequestClass.model_validate(base | form)], seed=5, folder=Path()) for form in forms)
    for skip in (True, False):
        replica = world.a_replica(kv_blocks=120)
        expected, *found = (
            simulate(place(world), {"all": replica}, one, compiled=False, skip=skip, warmup=0.1)
            for one in (plain, *others)
        )
        assert expected.preemptions.sum() > 0
        for run in found:
            by_turn = turns(run)
            for field in dataclasses.fields(Run):
                assert np.array_equal(getattr(expected, field.name), getattr(by_turn, field.name)), field.name
            assert summarise(run) == summarise(expected)
