"""Case -> what a measurement of it would show: a simulated benchmark run, reduced to the metric columns of a row.

Not a fit and not an interval: `intervals` widens these numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.calibrate.cases import Case, Refusal
from planner.calibrate.client import Sample, sample_of
from planner.calibrate.speculation import Draft, cheapest, reads_of, verified
from planner.calibrate.static import in_lockstep, static_batch
from planner.catalog import Catalog
from planner.engines.families import family_of
from planner.perf.energy import DRAW, Draw, power
from planner.perf.hardware import Hardware, hardware_of
from planner.perf.memory import memory_of
from planner.perf.replica import build_replica
from planner.sim.gaps import bin_end_s
from planner.sim.simulate import Run, simulate
from planner.spec.deployment import Deployment, Edge, Pool, Route
from planner.spec.requests import Requests
from planner.spec.step import Replica, StepCost, Work

Floats = NDArray[np.float64]

# Memory that a plan which did run may have used beyond the engine's usual rule: all but 3 % of the device.
USABLE_MEMORY = 0.97
STEADY_DISCARD = 0.3  # share of a run that counts as start-up where steady states are reported


@dataclass(frozen=True, slots=True)
class Prediction:
    """Metric columns of a row (milliseconds, tokens/s of the whole deployment), and what they rest on."""

    metrics: dict[str, float]
    source: str
    works: tuple[tuple[Pool, Replica, Work], ...]


def predict(case: Case, catalog: Catalog, *, estimator: str | None = None) -> Prediction:
    """Simulate the case on its plan, or on the plan with the highest throughput when none is stated."""
    tried = [predict_plan(case.with_plan(plan), catalog, estimator) for plan in _fitting(case, catalog)]
    best = max(tried, key=lambda p: p.metrics["out_tok_s"])
    return replace(best, metrics=best.metrics | energy_of(case, best, catalog))


def energy_of(case: Case, prediction: Prediction, catalog: Catalog, draw: Draw = DRAW) -> dict[str, float]:
    """Watts of one accelerator and joules per output token, boards only; nothing where the board's limit is unknown."""
    if case.accelerator.tdp_w is None:
        return {}
    pools = [
        (pool, power(work, case.model, pool, hardware(case, catalog, pool), draw)) for pool, _, work in prediction.works
    ]
    gpus = sum(pool.gpus for pool, _ in pools)
    watts = sum(each * pool.gpus for pool, each in pools)
    everything = watts / gpus * case.gpus if len(case.pools) == 1 else watts
    joules = everything / prediction.metrics["out_tok_s"]
    return {"power_w_per_gpu": watts / gpus, "energy_j_per_out_tok": joules}


def _fitting(case: Case, catalog: Catalog) -> tuple[tuple[Pool, ...], ...]:
    """Plans whose weights fit; Refusal with the missing bytes when none does."""
    shortfalls = [max(_shortfall(case, catalog, pool) for pool in plan) for plan in case.plans]
    fitting = tuple(plan for plan, missing in zip(case.plans, shortfalls, strict=True) if missing <= 0)
    if not fitting:
        raise Refusal("infeasible", f"the weights exceed the memory by {min(shortfalls) / 1e9:.1f} GB per accelerator")
    return fitting


def _shortfall(case: Case, catalog: Catalog, pool: Pool) -> float:
    memory = memory_of(case.model, pool, hardware(case, catalog, pool), case.profile)
    return memory.weights_bytes - memory.capacity_bytes


def hardware(case: Case, catalog: Catalog, pool: Pool) -> Hardware:
    if pool.node in catalog.names("nodes"):
        return hardware_of(catalog, pool)
    return Hardware(case.accelerator, case.node)


def predict_plan(case: Case, catalog: Catalog, estimator: str | None) -> Prediction:
    replicas = {p.name: replica_of(case, catalog, p, estimator) for p in case.pools}
    if case.draft:
        case, replicas = _drafting(case, case.draft, replicas, catalog, estimator)
    source = " + ".join(dict.fromkeys(r.cost.source for r in replicas.values()))
    if case.client.kind == "static_batch" and len(case.pools) == 1 and in_lockstep(case, replicas[case.pools[0].name]):
        metrics, work = static_batch(case, replicas[case.pools[0].name])
        alone = case.pools[0].model_copy(update={"replicas": 1})
        return Prediction(metrics, source, ((alone, replicas[alone.name], work),))
    run, copies, sample = run_case(case, replicas)
    shrunk = {"replicas": 1} if copies > 1 else {}
    works = tuple((p.model_copy(update=shrunk), replicas[p.name], run.pools[p.name].work) for p in case.pools)
    return Prediction(metrics_of(case, run, copies, sample), source, works)


def _drafting(
    case: Case, draft: Draft, replicas: dict[str, Replica], catalog: Catalog, estimator: str | None
) -> tuple[Case, dict[str, Replica]]:
    """The pool that decodes drafts at the depth that suits the load."""
    pool = case.pools[-1]
    alone, place = replicas[pool.name], hardware(case, catalog, pool)
    host = case.profile.on(family_of(case.accelerator), pool.weights).overhead.per_seq_s
    drafted = {
        depth: verified(
            alone, _widened(case, pool, place, depth, estimator), draft, depth,
            per_seq_s=host, reads=reads_of(case.model, pool, place, depth + 1),
        )
        for depth in draft.depths
    }  # fmt: skip
    sequences = max(1, round(case.client.concurrency / pool.replicas)) if case.client.concurrency else pool.max_seqs
    depth = cheapest(drafted, draft, sequences, case.client.input_mean + case.client.output_mean / 2)
    return replace(case, token_yield=draft.tokens(depth)), replicas | {pool.name: drafted[depth]}


def _widened(case: Case, pool: Pool, place: Hardware, depth: int, estimator: str | None) -> Replica:
    """The replica priced for every token that a step verifies."""
    wide = pool.model_copy(update={"max_seqs": pool.max_seqs * (depth + 1)})
    return build_replica(case.model, wide, place, case.profile, estimator=estimator)


def replica_of(case: Case, catalog: Catalog, pool: Pool, estimator: str | None = None) -> Replica:
    """A replica with room for what did run: the engine's memory rule, stretched when it leaves too little."""
    surroundings = hardware(case, catalog, pool)
    built = build_replica(case.model, pool, surroundings, case.profile, estimator=estimator)
    built = replace(built, max_context=0, balance_steps=case.client.balance_steps, cost=_with_client(built, case))
    needed = -(-int(1.1 * (case.client.input_mean + case.client.output_mean) * 1.2) // built.block_tokens) + 2
    needed *= min(pool.max_seqs, 4) if case.client.input_shape == "fixed" else 8
    if built.kv_blocks >= needed:
        return built
    return replace(built, kv_blocks=max(built.kv_blocks, _stretched(case, surroundings, pool), needed))


def _with_client(built: Replica, case: Case) -> StepCost:
    """Step prices with what the benchmark client takes from the host it shares with the engine."""
    if not case.client.host_step_s:
        return built.cost
    rank = np.ceil(np.arange(len(built.cost.decode_s)) / built.dp)
    extra = case.client.host_step_s + case.client.host_seq_s * rank
    return replace(built.cost, decode_s=built.cost.decode_s + extra)


def _stretched(case: Case, surroundings: Hardware, pool: Pool) -> int:
    roomy = case.profile.memory.model_copy(
        update={"of": "total", "fraction": USABLE_MEMORY, "reserve_bytes": 0.0, "graph_bytes": 0.0}
    )
    profile = case.profile.model_copy(update={"memory": roomy})
    return memory_of(case.model, pool, surroundings, profile).kv_blocks


def run_case(case: Case, replicas: dict[str, Replica]) -> tuple[Run, int, Sample]:
    """(run, equal copies it stands for, the requests as asked). One aggregated replica stands for all of its kind."""
    first = case.pools[0]
    copies = first.replicas if len(case.pools) == 1 else 1
    pools = (first.model_copy(update={"replicas": 1}),) if copies > 1 else case.pools
    edges: tuple[Edge, ...] = ()
    if len(pools) == 2:
        speed = _kv_bandwidth(case)  # SI, not text with units
        edges = (
            Edge.model_construct(
                source=pools[0].name, target=pools[1].name, bandwidth_bytes_per_s=speed, latency_s=20e-6
            ),
        )
    deployment = Deployment(pools=pools, edges=edges, routes=(Route(request_class="measured", pool=first.name),))
    sample = sample_of(case.client, 1.0 / copies)
    return simulate(deployment, replicas, _steps_of(sample.requests, case.token_yield)), copies, sample


def _kv_bandwidth(case: Case) -> float:
    """Bytes/s between a prefill and a decode replica: every rank of the smaller side uses its own NIC or link."""
    ranks = min(pool.parallelism.gpus for pool in case.pools)
    inside = case.node.scaleup_domain >= case.gpus and case.accelerator.scaleup_bandwidth_bytes_per_s
    per_rank = inside or case.accelerator.nic_bandwidth_bytes_per_s or 12.5e9
    return 0.8 * per_rank * ranks


def _steps_of(requests: Requests, token_yield: float) -> Requests:
    """Requests whose outputs are decode steps: with speculation a step yields several tokens."""
    if token_yield == 1.0:
        return requests
    steps = 1 + np.ceil((requests.output_tokens - 1) / token_yield).astype(np.int64)
    return replace(requests, output_tokens=steps)


def metrics_of(case: Case, run: Run, copies: int, sample: Sample) -> dict[str, float]:
    """The columns of a closed, open or all-at-once run."""
    done = np.isfinite(run.finish_s)
    if not done.any():
        raise Refusal("infeasible", "no request fits into the KV cache")
    scored = done.copy()
    if case.client.steady:
        scored[: int(STEADY_DISCARD * len(scored))] = False
    inputs, outputs = sample.requests.input_tokens, sample.requests.output_tokens
    weights = sample.weights[scored]
    # The client of a split deployment sees token 1 from the decode side, after the copy.
    first = (run.first_token_s + run.transfer_s - run.arrival_s)[scored]
    last = (run.finish_s - run.arrival_s)[scored]
    opening = np.flatnonzero(scored) < sample.first
    first, last = first + opening * case.client.cold_start_s, last + opening * case.client.cold_start_s
    per_token = (last - first) / np.maximum(outputs[scored] - 1, 1)
    per_second = copies * _requests_per_s(case, run, sample, done)
    whole_s = run.end_s if case.client.kind == "static_batch" else float(np.average(last, weights=weights))
    metrics = {
        "out_tok_s": per_second * float(outputs[done].mean()),
        "total_tok_s": per_second * float((inputs + outputs)[done].mean()),
        "req_s": per_second,
        **_statistics("ttft", first, weights),
        "e2e_mean_ms": 1e3 * whole_s,
    }
    if outputs.max() > 1:
        metrics |= _statistics("tpot", per_token, weights) | (_gap_quantiles(run) if case.client.gaps_as_tpot else {})
    return metrics


def _gap_quantiles(run: Run) -> dict[str, float]:
    """Median and 99th percentile over all gaps between tokens, for clients that report those as TPOT."""
    seen = np.cumsum(run.gap_count.sum(axis=0))
    levels = {"p50": 0.5, "p99": 0.99}
    return {f"tpot_{name}_ms": 1e3 * bin_end_s(int(np.searchsorted(seen, q * seen[-1]))) for name, q in levels.items()}


def _requests_per_s(case: Case, run: Run, sample: Sample, done: NDArray[np.bool_]) -> float:
    """Whole runs: requests over duration, waves not simulated at the steady rate. Steady states: that rate."""
    whole, steady = float(done.sum()) / run.end_s, _steady_rate(run, sample)
    if case.client.steady:
        return steady
    left_out = sample.total - len(sample.requests)
    return whole if left_out <= 0 else sample.total / (run.end_s + left_out / steady)


def _steady_rate(run: Run, sample: Sample) -> float:
    """Completions per second from after the opening burst and the start-up until the last request starts."""
    stop = run.admitted_s[np.isfinite(run.finish_s)].max()
    start = max(np.sort(run.finish_s)[min(sample.first, len(run) - 1)], STEADY_DISCARD * stop)
    inside = int(((run.finish_s > start) & (run.finish_s <= stop)).sum())
    return inside / float(stop - start) if inside > 1 else float(np.isfinite(run.finish_s).sum()) / run.end_s


def _statistics(name: str, seconds: Floats, weights: Floats) -> dict[str, float]:
    """Weighted mean, median and 99th percentile, milliseconds."""
    order = np.argsort(seconds)
    ranks = (np.cumsum(weights[order]) - 0.5 * weights[order]) / weights.sum()
    p50, p99 = np.interp([0.5, 0.99], ranks, seconds[order])
    mean = float(np.average(seconds, weights=weights))
    return {f"{name}_mean_ms": 1e3 * mean, f"{name}_p50_ms": 1e3 * float(p50), f"{name}_p99_ms": 1e3 * float(p99)}
