"""Services and delays against queueing theory: product forms, feedback, forks, closed networks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner import traffic
from planner.sim.simulate import Run, simulate
from planner.spec.deployment import Deployment, Route, Service
from planner.spec.requests import Requests, TaskKind, Tasks
from planner.spec.workload import RequestClass

JOBS = 60_000


def jobs(arrival_s: Any, service_s: Any, names: list[str], links: Any = "chain", concurrency: int = 0) -> Requests:
    """Jobs of the same shape: service_s [jobs, tasks] by hand; a chain, or pairs (parent, child) within a job."""
    n, m = service_s.shape
    pairs = [(k, k + 1) for k in range(m - 1)] if links == "chain" else links
    starts = np.arange(n) * m
    parent = np.concatenate([starts + a for a, _ in pairs]) if pairs else np.zeros(0, np.int64)
    child = np.concatenate([starts + b for _, b in pairs]) if pairs else np.zeros(0, np.int64)
    order = np.argsort(parent, kind="stable")
    none = np.zeros(n * m, np.int64)
    tasks = Tasks(
        job=np.repeat(np.arange(n), m), turn=np.repeat(np.arange(n), m), kind=np.tile(np.arange(m), n),
        kinds=tuple(TaskKind(0, name, name) for name in names), service_s=np.ascontiguousarray(service_s.reshape(-1)),
        history_tokens=none, first=np.searchsorted(parent[order], np.arange(n * m + 1)), child=child[order],
        delay_s=np.zeros(len(order)), bytes=np.zeros(len(order)),
    )  # fmt: skip
    return Requests(np.repeat(arrival_s, m), none, none, none, ("chat",), concurrency, tasks=tasks)


def serve(world: Any, requests: Requests, *services: Service, **options: Any) -> Run:
    """On services alone; the engine that a deployment needs has nothing to do."""
    names = ("all", *(service.name for service in services))
    routes = tuple(Route(request_class="chat", pool=name) for name in names)
    deployment = Deployment(pools=(world.pool_of(),), services=services, routes=routes)
    return simulate(deployment, {"all": world.a_replica()}, requests, **options)


def one(name: str, servers: int = 1) -> Service:
    return Service(name=name, phases=(name,), servers=servers)  # type: ignore[arg-type]


def times(run: Run, tasks: int) -> Any:
    """Time of each task in its service, wait included [jobs, tasks]; the first fifth left out."""
    return (run.finish_s - run.arrival_s).reshape(-1, tasks)[JOBS // 5 :]


def test_a_tandem_of_two_queues_has_the_product_form(world: Any) -> None:
    """Jackson (1957): each queue as if it were alone, 1 / (mu - lambda), and the two independent at any instant."""
    random = np.random.default_rng(1)
    arrivals = np.cumsum(random.exponential(1.0, JOBS))
    service = random.exponential([0.6, 0.75], (JOBS, 2))
    run = serve(world, jobs(arrivals, service, ["tool", "retrieve"]), one("tool"), one("retrieve"))
    found = times(run, 2)
    assert found.mean(axis=0) == pytest.approx([1 / (1 / 0.6 - 1), 1 / (1 / 0.75 - 1)], rel=0.05)
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.03  # sojourn times of a job in tandem M/M/1 are independent (Reich 1957)


def test_erlang_c_for_several_servers(world: Any) -> None:
    random = np.random.default_rng(2)
    c, load = 4, 3.0
    arrivals = np.cumsum(random.exponential(1.0, JOBS))
    run = serve(world, jobs(arrivals, random.exponential(load, (JOBS, 1)), ["tool"]), one("tool", c))
    waits = load**c / math.factorial(c) / (1 - load / c)
    waits /= sum(load**k / math.factorial(k) for k in range(c)) + waits
    assert times(run, 1).mean() == pytest.approx(load + waits / (c / load - 1), rel=0.04)
    busy = run.pools["tool"].work.busy_s / run.end_s
    assert busy == pytest.approx(load / c, rel=0.02)


def test_feedback_by_chance_is_a_jackson_network(world: Any) -> None:
    """A tool called again with probability 0.4: visits 1 / 0.6, each 1 / (mu - lambda / 0.6); so is the whole job."""
    graph = {
        "entry": "work",
        "nodes": {
            "work": {"phase": "tool", "seconds": {"exponential": "1 s"}},
            "say": {"phase": "llm", "input": {"fixed": 1}, "output": {"fixed": 1}},
        },
        "edges": [
            {"source": "work", "target": "work", "probability": 0.4, "max_visits": 1000},
            {"source": "work", "target": "say", "probability": 0.6},
        ],
    }
    given = {"name": "chat", "model": "m", "arrivals": {"rate": "0.42/s"}, "requests": 20_000, "graph": graph}
    requests = traffic.draw([RequestClass.model_validate(given)], seed=4, folder=Path())
    assert requests.tasks is not None
    works = requests.tasks.kind == 0
    assert works.sum() / 20_000 == pytest.approx(1 / 0.6, rel=0.02)
    run = serve(world, requests, one("tool"))
    found = (run.finish_s - run.arrival_s)[works]
    assert found.mean() == pytest.approx(1 / (1 - 0.42 / 0.6), rel=0.08)


def test_a_delay_is_a_queue_of_infinitely_many_servers(world: Any) -> None:
    """M/G/inf: nobody waits, and the number there is Poisson with mean lambda E[S] whatever S is (Takacs 1962)."""
    random = np.random.default_rng(5)
    arrivals = np.cumsum(random.exponential(0.1, JOBS))
    service = random.lognormal(0.0, 1.0, (JOBS, 1))
    run = serve(world, jobs(arrivals, service, ["tool"]))
    assert np.array_equal(run.finish_s, run.arrival_s + service[:, 0])
    at = np.linspace(arrivals[-1] * 0.1, arrivals[-1], 4000)
    there = np.searchsorted(arrivals, at, side="right") - np.searchsorted(np.sort(run.finish_s), at, side="right")
    expected = 10 * math.exp(0.5)
    assert there.mean() == pytest.approx(expected, rel=0.03)
    assert there.var() == pytest.approx(expected, rel=0.1)


def test_a_fork_that_joins_waits_for_the_slower_queue(world: Any) -> None:
    """Two M/M/1 with the same arrivals: Flatto and Hahn (1984), (12 - rho) / 8 of one queue's 1 / (mu - lambda)."""
    random = np.random.default_rng(6)
    arrivals = np.cumsum(random.exponential(1.0, JOBS))
    service = np.zeros((JOBS, 4))
    service[:, 1:3] = random.exponential(0.5, (JOBS, 2))
    requests = jobs(arrivals, service, ["preprocess", "tool", "retrieve", "lookup"], [(0, 1), (0, 2), (1, 3), (2, 3)])
    run = serve(world, requests, one("tool"), one("retrieve"))
    joined = run.arrival_s.reshape(-1, 4)[JOBS // 5 :, 3] - run.arrival_s.reshape(-1, 4)[JOBS // 5 :, 0]
    alone = times(run, 4)[:, 1:3]
    assert joined.mean() == pytest.approx((12 - 0.5) / 8 * 1.0, rel=0.04)
    assert alone.mean(axis=0).max() < joined.mean() < alone.sum(axis=1).mean()
    assert (joined >= alone.max(axis=1) - 1e-9).all()


def test_users_who_think_and_repairmen_who_repair(world: Any) -> None:
    """Closed network, exponential think and service times: mean value analysis (Reiser and Lavenberg 1980) is exact.

    Each of N sessions goes round think -> service for ever; here N long jobs that are in flight all the time.
    """
    random = np.random.default_rng(7)
    users, rounds, think_s, service_s = 8, 6000, 5.0, 1.0
    held = 0.0
    for n in range(1, users + 1):
        response = service_s * (1 + held)
        rate = n / (think_s + response)
        held = rate * response
    seconds = random.exponential([think_s, service_s] * rounds, (users, 2 * rounds))
    requests = jobs(np.zeros(users), seconds, ["preprocess", "tool"] * rounds)
    run = serve(world, requests, one("tool"))
    ends = run.finish_s.reshape(users, -1)[:, -1].min()
    mine = (run.tasks.kind % 2 == 1) & (run.finish_s < ends)  # type: ignore[union-attr]
    assert (run.finish_s - run.arrival_s)[mine].mean() == pytest.approx(response, rel=0.04)
    assert mine.sum() / ends == pytest.approx(rate, rel=0.02)


def test_sessions_in_a_closed_loop_follow_one_another(world: Any) -> None:
    """Two at a time through 1 s of work each, on two servers: pairs end every second."""
    requests = jobs(np.zeros(10), np.ones((10, 1)), ["tool"], concurrency=2)
    run = serve(world, requests, one("tool", 2), compiled=False)
    assert run.finish_s.tolist() == pytest.approx(np.repeat(np.arange(1.0, 6.0), 2).tolist(), rel=1e-12)


def test_littles_law_holds_in_every_service(world: Any) -> None:
    """Integrals of the kernel against times of the tasks: two independent counts."""
    random = np.random.default_rng(9)
    service = random.exponential([0.5, 0.8], (2000, 2))
    run = serve(
        world, jobs(np.cumsum(random.exponential(1.0, 2000)), service, ["tool", "retrieve"]),
        one("tool"), one("retrieve", 2),
    )  # fmt: skip
    for k, name in enumerate(("tool", "retrieve")):
        stayed = (run.finish_s - run.arrival_s)[k::2].sum()
        waited = (run.admitted_s - run.arrival_s)[k::2].sum()
        assert run.pools[name].mean_outstanding * run.end_s == pytest.approx(stayed, rel=1e-9)
        assert run.pools[name].mean_waiting * run.end_s == pytest.approx(waited, rel=1e-9)
        servers = k + 1
        assert run.pools[name].work.busy_s * servers == pytest.approx(service[:, k].sum(), rel=1e-9)


def test_a_horizon_leaves_work_undone_and_counts_it_so_far(world: Any) -> None:
    requests = jobs(np.zeros(3), np.full((3, 1), 2.0), ["tool"])
    run = serve(world, requests, one("tool"), horizon_s=3.0, compiled=False)
    assert run.finish_s.tolist() == [2.0, math.inf, math.inf]
    assert run.pools["tool"].work.busy_s == pytest.approx(3.0, rel=1e-12)
