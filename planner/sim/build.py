"""From nouns (Deployment, Replica, Requests) to the State that the loop works on. Not the loop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.errors import BadInput, Problem, raise_all
from planner.sim.build_prefixes import add_chains, chain_problems, prefix_records
from planner.sim.gaps import BINS
from planner.sim.jobs import (
    decode_edges,
    engine_rows,
    phases_of,
    routed,
    row_of_job,
    task_records,
    unserved,
    whole_jobs,
)
from planner.sim.outside import FIRST, find, strangers
from planner.sim.pricing import TableCost
from planner.sim.routers import ROUTERS
from planner.sim.schedulers import SCHEDULERS
from planner.sim.schedulers.batch import Policy
from planner.sim.state import (
    CHANGE,
    CLOCK,
    CROWD,
    EDGE,
    EVENT,
    FLIGHT,
    LOG,
    NOBODY,
    PEAK,
    POOL,
    PRICE,
    QUEUE,
    REJECTED,
    REPLICA,
    REQUEST,
    RULE,
    SEAT,
    STEP_COST,
    TABLE_COST,
    TOTALS,
    State,
)
from planner.spec.deployment import SERVICES, Deployment
from planner.spec.requests import Requests
from planner.spec.step import Replica, StepCost

NO_LIMIT = 1 << 60
"""More tokens than any step has."""
PEAKS = 64
"""Falling gaps that a crowd remembers before it brings everybody's record up to date."""
GOLDEN = 0.6180339887498949
"""Fractional part of the golden ratio: k * GOLDEN mod 1 fills [0, 1) evenly for every prefix of k = 0, 1, 2, ..."""


def build(deployment: Deployment, replicas: Mapping[str, Replica], requests: Requests, seed: int) -> State:
    """A State at time zero; BadInput for routes, edges or pools that cannot serve the requests."""
    raise_all(problems_of(deployment, replicas, requests))
    kinds = [replicas[pool.name] for pool in deployment.pools]
    pool = pool_records(deployment, kinds)
    replica = replica_records(pool)
    edge = edge_records(deployment)
    request = request_records(deployment, requests, seed)
    add_chains(request, pool[: len(kinds)], deployment.pools, kinds, requests.chains)
    assign_edges(request, pool, edge, splits(deployment))
    task, successor = task_records(requests.tasks, deployment, request, edge)
    refused = ~admissible(request, pool, edge, kinds)
    request["state"][refused if requests.tasks is None else whole_jobs(refused, requests.tasks)] = REJECTED
    n_replicas, width, stages = len(replica), int(pool["max_seqs"].max()), int(pool["stages"].max())
    classes = len(requests.class_names)
    return State(
        request=request,
        replica=replica,
        pool=pool,
        edge=edge,
        queue=np.zeros(3 * n_replicas + len(pool), QUEUE),
        flight=np.zeros((n_replicas, stages), FLIGHT),
        rule=np.zeros(0, RULE),
        clock=clock_record(deployment, requests),
        event=event_records(len(pool) + 1 + 3 * n_replicas),
        running=np.zeros((n_replicas, (3 + stages) * width), np.int64),
        batch=np.zeros((n_replicas, stages, width), SEAT),
        stage_free_s=np.zeros((n_replicas, stages)),
        **price_tables(kinds),
        totals=np.zeros(classes, TOTALS),
        gap_count=np.zeros((classes, BINS), np.int64),
        log=np.zeros(0, LOG),
        task=task,
        successor=successor,
        home=np.full((len(pool), max(len(task), 1)), NOBODY, np.int64),
        crowd=crowd_records(replica, pool, stages, width),
        change=np.zeros((n_replicas, stages, 2 * width), CHANGE),
        grower=np.zeros((n_replicas, stages, int(pool["block_tokens"].max())), np.int64),
        member=np.zeros((n_replicas, stages, classes), np.int64),
        peak=np.zeros((n_replicas, stages, PEAKS), PEAK),
        **prefix_records(replica, pool, kinds, requests.chains),
    )


def problems_of(deployment: Deployment, replicas: Mapping[str, Replica], requests: Requests) -> list[Problem]:
    """Every reason why this deployment cannot be simulated."""
    found = [Problem(f"no replica is given for pool {p.name}") for p in deployment.pools if p.name not in replicas]
    found += unserved(deployment, requests)
    phases = phases_of(deployment)
    starts = {"prefill", *SERVICES, *(("encode",) if requests.tasks is not None else ())}
    for name in dict.fromkeys(route.pool for route in deployment.routes):
        if not starts & set(phases[name]):
            found.append(Problem(f"a route leads to pool {name}, which runs no prefill"))
        elif "prefill" in phases[name] and "decode" not in phases[name] and not decode_edges(deployment, name):
            found.append(Problem(f"pool {name} runs no decode and no edge leads on from it"))
    for edge in deployment.edges:
        if requests.tasks is None and "decode" not in phases[edge.target]:
            found.append(Problem(f"an edge leads to pool {edge.target}, which runs no decode"))
    for name, replica in replicas.items():
        if replica.scheduler == "sarathi" and replica.stages > 1:
            found.append(Problem(f"pool {name}: scheduler sarathi runs one pipeline stage", hint="use vllm_v1"))
        if replica.scheduler == "sarathi" and replica.by_priority:
            found.append(Problem(f"pool {name}: scheduler sarathi knows no priorities", hint="use vllm_v1"))
        if replica.scheduler != "prefill_first" and replica.swap_bytes_per_s > 0:
            what = f"pool {name}: scheduler {replica.scheduler} does not swap"
            found.append(Problem(what, hint="use prefill_first, or leave out swap_bytes_per_s"))
    computed = engine_rows(requests)
    if ((requests.input_tokens < 1) | (requests.output_tokens < 1))[computed].any():
        found.append(Problem("requests need at least 1 input and 1 output token"))
    cached = requests.cached_tokens
    if cached is not None and ((cached < 0) | (cached >= requests.input_tokens))[computed].any():
        found.append(Problem("cached tokens must be fewer than the input: the last token of a prompt is computed"))
    if cached is not None and requests.chains is not None:
        found.append(Problem("requests have cached tokens or chains, not both"))
    if not found:
        kinds = [replicas[pool.name] for pool in deployment.pools]
        found += chain_problems(deployment.pools, kinds, requests)
    return found


def pool_records(deployment: Deployment, kinds: Sequence[Replica]) -> NDArray[Any]:
    """Pools, then services."""
    pool = np.zeros(len(kinds) + len(deployment.services), POOL)
    counts = np.array([p.replicas for p in deployment.places])
    pool["replicas"], pool["first"] = counts, np.cumsum(counts) - counts
    pool["max_seqs"] = pool["stages"] = pool["dp"] = pool["block_tokens"] = 1
    pool["servers"][len(kinds) :] = [service.servers for service in deployment.services]
    for row, spec, kind in zip(pool[: len(kinds)], deployment.pools, kinds, strict=True):
        names = strangers(kinds)
        outside = Policy(FIRST + names.index(kind.scheduler)) if kind.scheduler in names else None
        policy = outside or SCHEDULERS.get(kind.scheduler)
        row["scheduler"], row["hold"], row["decodes"] = policy.branch, policy.hold, "decode" in spec.phases
        row["max_seqs"], row["max_tokens"] = kind.max_seqs, kind.max_tokens_per_step if policy.budgeted else NO_LIMIT
        row["kv_blocks"], row["block_tokens"] = kind.kv_blocks, kind.block_tokens
        row["watermark_blocks"] = int(kind.watermark * kind.kv_blocks)
        row["whole_prompts"], row["mixed_chunks"] = kind.whole_prompts, kind.mixed_chunks
        row["long_prompt_tokens"], row["by_priority"] = kind.long_prompt_tokens, kind.by_priority
        if kind.swap_bytes_per_s > 0:
            copied_s = kind.block_tokens * kind.kv_bytes_per_token / kind.swap_bytes_per_s
            row["swap_block_s"] = kind.swap_dispatch_s + copied_s
        row["conservativeness"] = kind.conservativeness
        row["stages"], row["hop_s"], row["dp"] = kind.stages, kind.hop_s, kind.dp
        row["balance_steps"] = kind.balance_steps if kind.dp > 1 and row["decodes"] else 0
        row["crowds"] = policy.crowds and (kind.stages == 1 or (policy.crews and not kind.by_priority))
        row["request_s"], row["lag_steps"] = kind.request_s, kind.admission_lag_steps
        row["kv_bytes_per_token"], row["kv_layers"] = kind.kv_bytes_per_token, kind.kv_layers
        fill_prices(row, kind)
    return pool


def fill_prices(row: Any, kind: Replica) -> None:
    """Scalars of the price of a step."""
    cost: StepCost | TableCost = kind.cost
    if isinstance(cost, TableCost):
        row["cost_kind"], row["bucket"] = TABLE_COST, cost.bucket
        row["several"], row["layers"], row["per_s"] = cost.several, cost.layers, cost.per_s
        return
    row["cost_kind"] = STEP_COST
    row["linear_points"], row["linear_stride"] = max(len(cost.linear_s), 2), cost.linear_stride
    row["pair_s"], row["window_pair_s"] = cost.pair_s, cost.window_pair_s
    row["context_s"], row["chunk_s"] = cost.context_s, cost.chunk_s
    row["prefill_floor_s"], row["graph_tokens"] = cost.prefill_floor_s, cost.graph_tokens
    row["window"] = cost.window_tokens


def price_tables(kinds: Sequence[Replica]) -> dict[str, NDArray[Any]]:
    """Price arrays of all pools, a row each, and the attention tables of the one pool that has a TableCost."""
    costs: list[StepCost | TableCost] = [kind.cost for kind in kinds]
    tables = [cost for cost in costs if isinstance(cost, TableCost)]
    if len(tables) > 1:
        raise BadInput(Problem("one pool of a run may be priced by a TableCost"))
    nothing = np.zeros((1, 1))
    steps = [None if isinstance(cost, TableCost) else cost for cost in costs]
    fixed = padded([np.zeros(2) if cost is None else cost.decode_s for cost in steps])
    decode = np.zeros(fixed.shape, PRICE)
    decode["fixed_s"] = fixed
    decode["context_s"] = padded([np.zeros(2) if cost is None else cost.decode_context_s for cost in steps])
    decode["window_s"] = padded([np.zeros(2) if cost is None else cost.decode_window_s for cost in steps])
    return {
        "decode_price": decode,
        "linear_s": padded([cost.token if isinstance(cost, TableCost) else cost.linear_s for cost in costs]),
        "decode_table": np.ascontiguousarray(tables[0].decode if tables else nothing, np.float64),
        "prefill_table": np.ascontiguousarray(tables[0].prefill if tables else nothing, np.float64),
    }


def padded(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Rows of unequal length as one array; the last value of a row is repeated."""
    width = max(2, *(len(row) for row in rows))
    whole = np.empty((len(rows), width))
    for place, row in zip(whole, rows, strict=True):
        place[: len(row)], place[len(row) :] = row, row[-1]
    return whole


def event_records(actors: int) -> NDArray[Any]:
    """No events yet; each node of the tree names the first actor below it."""
    leaves = 1 << max(actors - 1, 1).bit_length()
    event = np.zeros(2 * leaves, EVENT)
    event["time_s"] = math.inf
    event["winner"][1:] = np.concatenate([np.arange(0, leaves, leaves >> k) for k in range(leaves.bit_length())])
    return event


def replica_records(pool: NDArray[Any]) -> NDArray[Any]:
    """Replicas of all pools in order, with their queues and places among the events; numbers the pools' queues too."""
    n = int(pool["replicas"].sum())
    replica = np.zeros(n, REPLICA)
    replica["pull_queue"], replica["link_queue"] = np.arange(n) + n, np.arange(n) + 2 * n
    pool["arrival_queue"] = 3 * n + np.arange(len(pool))
    for k, actor in enumerate(("transfer_actor", "completion_actor", "formation_actor")):
        replica[actor] = len(pool) + 1 + k * n + np.arange(n)
    replica["pool"] = np.repeat(np.arange(len(pool)), pool["replicas"])
    replica["kv_blocks"] = replica["free_blocks"] = pool["kv_blocks"][replica["pool"]]
    return replica


def crowd_records(replica: NDArray[Any], pool: NDArray[Any], stages: int, width: int) -> NDArray[Any]:
    """No members yet; where they will stand."""
    crowd = np.zeros((len(replica), stages), CROWD)
    crowd["base"] = np.where(pool["stages"][replica["pool"], None] > 1, (3 + np.arange(stages)) * width, 0)
    return crowd


def names_of(deployment: Deployment) -> list[str]:
    """Pools and services in the order of their records."""
    return [one.name for one in deployment.places]


def edge_records(deployment: Deployment) -> NDArray[Any]:
    names = names_of(deployment)
    edge = np.zeros(len(deployment.edges), EDGE)
    for row, given in zip(edge, deployment.edges, strict=True):
        row["source"], row["target"] = names.index(given.source), names.index(given.target)
        row["bandwidth"], row["latency_s"] = given.bandwidth_bytes_per_s, given.latency_s
        row["streamed"] = given.streamed
    return edge


def request_records(deployment: Deployment, requests: Requests, seed: int) -> NDArray[Any]:
    n = len(requests)
    request = np.zeros(n, REQUEST)
    request["arrival_s"], request["class_index"] = requests.arrival_s, requests.class_index
    request["input"], request["output"] = requests.input_tokens, requests.output_tokens
    request["prompt"] = requests.input_tokens
    if requests.priorities:
        request["priority"] = np.array(requests.priorities, np.int64)[requests.class_index]
    if requests.cached_tokens is not None:
        request["cached"] = request["done"] = requests.cached_tokens
    draws = np.random.Generator(np.random.PCG64(seed)).random((2, n))
    request["draw_a"], request["draw_b"] = draws
    for field in ("admitted_s", "first_token_s", "last_token_s", "finish_s"):
        request[field] = math.inf
    for field in ("next", "replica", "source", "first_replica"):
        request[field] = NOBODY
    request["pool"] = NOBODY
    names = names_of(deployment)
    for mine, routes in routed(deployment, requests):
        targets = np.array([names.index(route.pool) for route in routes])
        request["pool"][mine] = targets[split(len(mine), [route.share for route in routes])]
    return request


def split(n: int, shares: Sequence[float]) -> NDArray[np.int64]:
    """Which share each of n items belongs to, evenly interleaved and the same every time."""
    if len(shares) == 1:
        return np.zeros(n, np.int64)
    ends = np.cumsum(shares) / np.sum(shares)
    points = (np.arange(n) + 0.5) * GOLDEN % 1.0
    return np.minimum(np.searchsorted(ends, points, side="right"), len(shares) - 1)


def splits(deployment: Deployment) -> list[int]:
    """Numbers of the pools that prefill what others decode."""
    return [k for k, one in enumerate(deployment.pools) if "prefill" in one.phases and "decode" not in one.phases]


def assign_edges(request: NDArray[Any], pool: NDArray[Any], edge: NDArray[Any], prefill_only: Sequence[int]) -> None:
    """The edge of each request that is prefilled where nothing decodes: in proportion to the targets' replicas."""
    request["edge"] = NOBODY
    for p in prefill_only:
        edges = np.flatnonzero((edge["source"] == p) & (pool["decodes"][edge["target"]] == 1))
        mine = np.flatnonzero(request["pool"] == p)
        if len(edges) and len(mine):
            weights = pool["replicas"][edge["target"][edges]]
            request["edge"][mine] = edges[split(len(mine), list(weights))]


def admissible(
    request: NDArray[Any], pool: NDArray[Any], edge: NDArray[Any], kinds: Sequence[Replica]
) -> NDArray[np.bool_]:
    """Which requests fit alone into the KV cache of one attention-DP rank and the context of the pools they visit."""
    limit = np.full(len(pool), np.iinfo(np.int64).max)
    limit[: len(kinds)] = [kind.max_context if kind.max_context > 0 else limit[0] for kind in kinds]
    usable = (pool["kv_blocks"] - pool["watermark_blocks"]) // pool["dp"]
    whole = request["input"] + request["output"]
    here, moves = request["pool"], request["edge"] != NOBODY
    kept = np.where(moves, request["input"], whole)
    good: NDArray[np.bool_] = (whole <= limit[here]) & (-(-kept // pool["block_tokens"][here]) <= usable[here])
    if moves.any():
        there = edge["target"][request["edge"][moves]]
        fits = (whole[moves] <= limit[there]) & (-(-whole[moves] // pool["block_tokens"][there]) <= usable[there])
        good[moves] &= fits
    return good


def clock_record(deployment: Deployment, requests: Requests) -> NDArray[Any]:
    clock = np.zeros(1, CLOCK)
    clock["horizon_s"] = math.inf
    router = find(ROUTERS, deployment.router)
    clock["router"] = FIRST if callable(router) else router
    clock["concurrency"], clock["forming"] = requests.concurrency, NOBODY
    clock["next_request"] = row_of_job(requests, requests.concurrency) if requests.concurrency else len(requests)
    return clock
