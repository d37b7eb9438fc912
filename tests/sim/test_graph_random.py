"""Random graphs on random deployments: compiled equals plain to the last bit, order is kept, nothing is lost."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.sim.simulate import Run, simulate
from planner.sim.turns import turns
from planner.spec.deployment import Deployment, Edge, Route, Service
from planner.spec.requests import Requests, TaskKind, Tasks

SETTINGS = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PHASES = ("llm", "encode", "tool", "preprocess")  # nobody runs the last: a delay
KV = 1e5


@dataclasses.dataclass(frozen=True)
class Knobs:
    """What is drawn; few jobs, so that plain Python is quick."""

    seed: int
    jobs: int
    most: int
    concurrency: int
    scheduler: str
    blocks: int
    servers: int
    split: bool
    router: str
    horizon: float


@st.composite
def knobs(draw: Any) -> Knobs:
    return Knobs(
        seed=draw(st.integers(0, 10**6)),
        jobs=draw(st.integers(1, 12)),
        most=draw(st.integers(1, 7)),
        concurrency=draw(st.sampled_from([0, 0, 3])),
        scheduler=draw(st.sampled_from(["vllm_v1", "prefill_first", "static_batch"])),
        blocks=draw(st.sampled_from([40, 70, 400])),
        servers=draw(st.integers(1, 3)),
        split=draw(st.booleans()),
        router=draw(st.sampled_from(["round_robin", "least_outstanding", "random", "power_of_two"])),
        horizon=draw(st.sampled_from([0.0, 0.0, 0.5])),
    )


def some_jobs(k: Knobs) -> Requests:
    """Jobs of up to `most` tasks of any phase; a task waits for one to three earlier ones of its job."""
    random = np.random.default_rng(k.seed)
    sizes = random.integers(1, k.most + 1, k.jobs)
    n = int(sizes.sum())
    job, first = np.repeat(np.arange(k.jobs), sizes), np.repeat(np.cumsum(sizes) - sizes, sizes)
    phase = random.integers(0, len(PHASES), n)
    links = sorted(
        (int(parent), i)
        for i in range(n)
        for parent in (set(random.integers(first[i], i, random.integers(1, 4)).tolist()) if i > first[i] else ())
    )
    parent, child = (np.array([link[end] for link in links], np.int64) for end in (0, 1))
    held = phase[parent] != 3
    moved = np.where(held & (phase[child] == 0) & (phase[parent] != 0), random.choice([0.0, 1e6, 1e8], len(links)), 0.0)
    engine = phase < 2
    tasks = Tasks(
        job=job, turn=job, kind=phase, kinds=tuple(TaskKind(0, name, name) for name in PHASES),
        service_s=np.where(engine, 0.0, random.choice([0.0, 0.03, 0.2], n)), history_tokens=np.zeros(n, np.int64),
        first=np.searchsorted(parent, np.arange(n + 1)), child=child,
        delay_s=random.choice([0.0, 0.01], len(links)), bytes=moved,
    )  # fmt: skip
    arrival = np.cumsum(random.choice([0.0, 0.02, 0.1], k.jobs))
    inputs = np.where(engine, random.integers(1, 700, n), 0)
    outputs = np.where(phase == 0, random.integers(1, 50, n), np.where(phase == 1, 1, 0))
    zeros = np.zeros(n, np.int64)
    return Requests(arrival[job], inputs, outputs, zeros, ("chat",), k.concurrency, tasks=tasks)


def play(world: Any, k: Knobs, requests: Requests, **options: Any) -> Run:
    replica = world.a_replica(
        scheduler=k.scheduler, kv_blocks=k.blocks, max_seqs=6, max_tokens_per_step=300, request_s=0.001,
        kv_bytes_per_token=KV,
    )  # fmt: skip
    phases = ("prefill",) if k.split else ("prefill", "decode")
    pools = [world.pool_of("all", 2, phases), world.pool_of("eyes", 1, ("encode",))]
    pairs = [("eyes", "all"), ("tools", "all")]
    if k.split:
        pools.append(world.pool_of("more", 2, ("decode",)))
        pairs.append(("all", "more"))
    edges = tuple(
        Edge.model_validate({"source": a, "target": b, "bandwidth": "2 GB/s", "latency": "1 ms"}) for a, b in pairs
    )
    service = Service(name="tools", phases=("tool",), servers=k.servers, replicas=2)
    routes = tuple(Route(request_class="chat", pool=name) for name in ("all", "eyes", "tools"))
    deployment = Deployment(pools=tuple(pools), services=(service,), edges=edges, routes=routes, router=k.router)
    return simulate(deployment, {pool.name: replica for pool in pools}, requests, **options)


def assert_same(a: Run, b: Run) -> None:
    for field in dataclasses.fields(Run):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y, field.name


@SETTINGS
@given(knobs())
def test_compiled_equals_plain_to_the_last_bit(world: Any, k: Knobs) -> None:
    pytest.importorskip("numba")
    requests = some_jobs(k)
    horizon_s = k.horizon or None
    plain = dataclasses.replace(play(world, k, requests, compiled=False, horizon_s=horizon_s), tasks=None)
    assert_same(plain, dataclasses.replace(play(world, k, requests, horizon_s=horizon_s), tasks=None))


@SETTINGS
@given(knobs())
def test_nothing_is_lost_and_nobody_starts_early(world: Any, k: Knobs) -> None:
    requests = some_jobs(k)
    tasks, run = requests.tasks, play(world, k, requests)
    assert tasks is not None
    refused = np.bincount(tasks.job, run.rejected) > 0
    assert np.array_equal(refused[tasks.job], run.rejected)
    assert np.array_equal(np.isfinite(run.finish_s), ~run.rejected)
    parent = np.repeat(np.arange(len(requests)), np.diff(tasks.first))
    served = ~run.rejected[parent]
    late = run.arrival_s[tasks.child] - run.finish_s[parent] - tasks.delay_s
    least = np.where(tasks.bytes > 0, 0.001 + tasks.bytes / 2e9, 0.0)
    assert (late[served] >= least[served] - 1e-9).all()
    for child in np.unique(tasks.child[served & (tasks.bytes == 0)]):
        mine = served & (tasks.child == child)
        if (tasks.bytes[mine] == 0).all():
            assert run.arrival_s[child] == (run.finish_s[parent] + tasks.delay_s)[mine].max()
    done = ~run.rejected
    llm = tasks.kind == 0
    sent = {name: pool.sent_bytes for name, pool in run.pools.items()}
    assert sent["eyes"] == pytest.approx(tasks.bytes[served & (tasks.kind[parent] == 1)].sum(), rel=1e-12)
    assert sent["tools"] == pytest.approx(tasks.bytes[served & (tasks.kind[parent] == 2)].sum(), rel=1e-12)
    copied = requests.input_tokens[done & llm & (requests.output_tokens > 1)].sum() * KV if k.split else 0.0
    assert sent["all"] >= copied
    assert run.pools["tools"].work.steps == (done & (tasks.kind == 2)).sum()
    for pool in run.pools.values():
        assert pool.blocks_taken == pool.blocks_given
    by_turn = turns(run)
    assert len(by_turn) == k.jobs
    ended = np.maximum.reduceat(run.finish_s, np.flatnonzero(np.diff(tasks.job, prepend=-1)))
    assert np.array_equal(by_turn.finish_s, ended)


@SETTINGS
@given(knobs())
def test_skipping_equals_stepping(world: Any, k: Knobs) -> None:
    requests = some_jobs(k)
    skipped, stepped = (play(world, k, requests, skip=skip) for skip in (True, False))
    assert np.allclose(skipped.finish_s, stepped.finish_s, rtol=1e-9, atol=1e-12)
    assert np.allclose(skipped.arrival_s, stepped.arrival_s, rtol=1e-9, atol=1e-12)
