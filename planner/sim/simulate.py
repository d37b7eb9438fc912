"""simulate: a deployment serves requests, step by step; the Run tells when what happened. Not what it means."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.sim import kernel
from planner.sim.build import build, names_of
from planner.sim.jobs import entries_of, jobs_of, row_of_job
from planner.sim.outside import outside_of
from planner.sim.state import LOG, MOVING, NOBODY, REJECTED, State
from planner.spec.deployment import Deployment, Pool, Route
from planner.spec.requests import Requests, Tasks
from planner.spec.step import Replica, StepCost, Work

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
GoOn = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True)
class PoolRun:
    """Totals of one pool, or of a service, whose steps are tasks. Means are over time, from start to end.

    Block shares are of all KV blocks of the pool.
    peak_blocks_share: of the fullest replica. waiting, outstanding: requests, summed over replicas. sent_bytes: KV
    caches that left the pool. blocks_taken, blocks_given: allocations and releases. asked_tokens, hit_tokens: prompts
    that could have found a prefix in the cache, once per admission, and what they found; loaded_bytes: of that from
    lower tiers.
    """

    work: Work
    replicas: int
    mean_blocks_share: float
    peak_blocks_share: float
    mean_waiting: float
    peak_waiting: int
    mean_outstanding: float
    sent_bytes: float
    blocks_taken: int
    blocks_given: int
    asked_tokens: int
    hit_tokens: int
    loaded_bytes: float


@dataclass(frozen=True, slots=True)
class Run:
    """What happened to n requests. Times in seconds from the start, inf = it did not happen.

    answer_tokens, last_token_s: of the answer, which is all of the output unless `planner.sim.turns` summed tasks up.
    pool: pool that prefilled it; replica, decode_replica: numbers within their pools, -1 = none. queued_s: when it
    could enter the queue (arrival plus host time). largest_gap_s: between two of its tokens. transfer_s: from token 1
    to the end of the KV copy, 0 without one. measured: after the warm-up and not rejected. gap_count [classes, bins],
    gap_sum_s [classes]: all gaps of measured requests, bins as in `planner.sim.gaps`. end_s: last event or horizon.
    stopped: a rule ended the run early, so later requests are unknown. interrupted: somebody did, at end_s. tasks: set
    when the n are tasks of jobs, which arrive when they could start; `planner.sim.turns` sums them up.
    log: the first flights as records of `planner.sim.state.LOG`, if they were asked for.
    """

    class_names: tuple[str, ...]
    class_index: Ints
    input_tokens: Ints
    output_tokens: Ints
    answer_tokens: Ints
    arrival_s: Floats
    queued_s: Floats
    admitted_s: Floats
    first_token_s: Floats
    last_token_s: Floats
    finish_s: Floats
    largest_gap_s: Floats
    transfer_s: Floats
    preemptions: Ints
    pool: Ints
    replica: Ints
    decode_replica: Ints
    rejected: Flags
    started: Flags
    measured: Flags
    gap_count: Ints
    gap_sum_s: Floats
    pools: Mapping[str, PoolRun]
    end_s: float
    open_loop: bool
    stopped: bool
    interrupted: bool
    log: NDArray[Any]
    tasks: Tasks | None = None

    def __len__(self) -> int:
        return len(self.arrival_s)

    @property
    def entries(self) -> Flags:
        """Rows that came from outside: the first task of each job, or every request."""
        return entries_of(self.tasks, len(self))


def simulate(
    deployment: Deployment,
    replicas: Mapping[str, Replica],
    requests: Requests,
    *,
    seed: int = 0,
    horizon_s: float | None = None,
    warmup: float = 0.0,
    compiled: bool = True,
    skip: bool = True,
    rules: NDArray[Any] | None = None,
    log: int = 0,
    go_on: GoOn | None = None,
) -> Run:
    """Serve `requests` on `deployment`; `replicas` says how a replica of each pool behaves.

    horizon_s: stop then; what is unfinished stays so. warmup: share of the first requests that metrics leave out.
    compiled=False runs the same source as plain Python, skip=False takes every decode step by itself: slower, the same
    result (to the last bit, and to rounding). rules: early stop, see `planner.sim.capacity`. log: so many flights are
    written down (`Run.log`); nothing else changes. go_on: asked now and then
    with (requests finished, requests that can finish), ends the run by False; the warm-up is then a share of those
    that had arrived, except for gaps between tokens. Raises BadInput for a deployment that cannot serve the requests.
    """
    s = ready(deployment, replicas, requests, seed=seed, warmup=warmup, rules=rules, skip=skip)
    outside = outside_of(deployment, replicas)
    clock = s.clock[0]
    clock["horizon_s"] = math.inf if horizon_s is None else horizon_s
    if log:
        s = s._replace(log=np.zeros(log, LOG))
    ends = int((s.request["state"] != REJECTED).sum())
    told = (lambda done: go_on(done, ends)) if go_on else None
    whole = kernel.run(s, compiled=compiled, go_on=told, outside=outside)
    if not whole:
        came = (s.request["arrival_s"] <= clock["now_s"])[entries_of(requests.tasks, len(requests))]
        clock["measured_from"] = row_of_job(requests, int(warmup * came.sum()))
    return run_of(s, deployment, requests, interrupted=not whole)


def ready(
    deployment: Deployment,
    replicas: Mapping[str, Replica],
    requests: Requests,
    *,
    seed: int = 0,
    warmup: float = 0.0,
    rules: NDArray[Any] | None = None,
    skip: bool = True,
) -> State:
    """The state from which `simulate` starts; arguments as there."""
    s = build(deployment, replicas, requests, seed)
    if not skip or outside_of(deployment, replicas):
        s.pool["crowds"] = 0
    s.clock["skip"] = skip
    s.clock["measured_from"] = row_of_job(requests, int(warmup * jobs_of(requests)))
    return s if rules is None else s._replace(rule=rules.copy())


def prepare() -> None:
    """Compile the loop, or load it from the cache, before it is needed: once for many processes, and out of timings."""
    pool = Pool(name="any", model="any", node="any", accelerator="any")
    deployment = Deployment(pools=(pool,), routes=(Route(request_class="any", pool="any"),))
    nothing, one = np.zeros(2), np.ones(1, np.int64)
    cost = StepCost(nothing, nothing, nothing, nothing, 1, 0.0, 0.0, 0.0, 0.0, 0.0, 0, "none", 0.0)
    replica = Replica(cost, "vllm_v1", max_seqs=1, max_tokens_per_step=1, kv_blocks=2, block_tokens=1)
    simulate(deployment, {"any": replica}, Requests(np.zeros(1), one, one, one - 1, ("any",)))


def run_of(s: State, deployment: Deployment, requests: Requests, interrupted: bool = False) -> Run:
    """Read the result out of a finished state."""
    request, clock = s.request, s.clock[0]
    n = len(request)
    rejected = request["state"] == REJECTED
    started = np.arange(n) < clock["next_request"]
    arrival_s, queued = arrivals(s)
    end_s = float(clock["now_s"])
    first = s.pool["first"][s.replica["pool"]]
    replica, last = request["first_replica"], request["replica"]
    moved = (request["edge"] != NOBODY) & (request["source"] != NOBODY)
    return Run(
        class_names=requests.class_names,
        class_index=request["class_index"].copy(),
        input_tokens=request["input"].copy(),
        output_tokens=request["output"].copy(),
        answer_tokens=request["output"].copy(),
        arrival_s=arrival_s,
        queued_s=arrival_s + queued,
        admitted_s=request["admitted_s"].copy(),
        first_token_s=request["first_token_s"].copy(),
        last_token_s=request["finish_s"].copy(),
        finish_s=request["finish_s"].copy(),
        largest_gap_s=request["largest_gap_s"].copy(),
        transfer_s=np.where(moved & (request["state"] != MOVING), request["transfer_s"], 0.0),
        preemptions=request["preemptions"].copy(),
        pool=request["pool"].copy(),
        replica=np.where(replica == NOBODY, NOBODY, replica - first[replica]),
        decode_replica=np.where((last == NOBODY) | ((request["edge"] != NOBODY) & ~moved), NOBODY, last - first[last]),
        rejected=rejected,
        started=started,
        measured=(np.arange(n) >= clock["measured_from"]) & ~rejected,
        gap_count=s.gap_count,
        gap_sum_s=s.totals["gap_sum_s"].copy(),
        pools={name: pool_run(s, p, end_s) for p, name in enumerate(names_of(deployment))},
        end_s=end_s,
        open_loop=int(clock["concurrency"]) == 0,
        stopped=bool(clock["stopped"]),
        interrupted=interrupted,
        log=s.log[: int(clock["logged"])],
        tasks=requests.tasks,
    )


def arrivals(s: State) -> tuple[Floats, Floats]:
    """When requests arrived, inf for a task that still waits for others, and their host time before the queue."""
    request, host_s = s.request, np.append(s.pool["request_s"], 0.0)
    if not len(s.task):
        return request["arrival_s"].copy(), host_s[request["pool"]]
    return np.where(s.task["open"] > 0, math.inf, request["arrival_s"]), host_s[request["pool"]]


def pool_run(s: State, p: int, end_s: float) -> PoolRun:
    """Totals over the replicas of pool p."""
    mine = s.replica[s.replica["pool"] == p]
    span = end_s if end_s > 0 else 1.0
    blocks = int(s.pool["kv_blocks"][p]) or 1
    return PoolRun(
        work=Work(
            span_s=end_s,
            busy_s=float(mine["busy_s"].sum()),
            prefill_busy_s=float(mine["prefill_busy_s"].sum()),
            steps=int(mine["steps"].sum()),
            prefill_tokens=int(mine["prefill_tokens"].sum()),
            decode_tokens=int(mine["decode_tokens"].sum()),
            decode_context_tokens=float(mine["context_tokens"].sum()),
            prefill_pairs=float(mine["pairs"].sum()),
            preemptions=int(mine["preemptions"].sum()),
        ),
        replicas=len(mine),
        mean_blocks_share=float(mine["block_area"].sum() / (span * blocks * len(mine))),
        peak_blocks_share=float(mine["peak_blocks"].max() / blocks),
        mean_waiting=float(mine["waiting_area"].sum() / span),
        peak_waiting=int(mine["peak_waiting"].sum()),
        mean_outstanding=float(mine["outstanding_area"].sum() / span),
        sent_bytes=float(mine["sent_bytes"].sum()),
        blocks_taken=int(mine["blocks_taken"].sum()),
        blocks_given=int(mine["blocks_given"].sum()),
        asked_tokens=int(mine["asked_tokens"].sum()),
        hit_tokens=int(mine["hit_tokens"].sum()),
        loaded_bytes=float(mine["loaded_bytes"].sum()),
    )
