"""vLLM 0.8 and newer: one file for `vllm serve --config` per pool. Starts nothing and writes no container manifests.

Flag names: the long options of `vllm serve` (vLLM documentation, engine arguments). `max-num-seqs` and
`max-num-batched-tokens` bound each data-parallel rank there, the whole replica in a plan.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from planner.errors import BadInput, Problem
from planner.export.base import EXPORTERS, engine_of
from planner.spec.deployment import Pool
from planner.spec.plan import Plan, PoolPlan

OLDEST = (0, 8)
QUANTIZED_ON_LOAD = {"fp8": "fp8"}
"""Formats that vLLM makes from 16-bit weights itself; the others must come in the checkpoint."""
CONNECTOR = {"kv_connector": "NixlConnector", "kv_role": "kv_both"}


@EXPORTERS.register("vllm")
def vllm(plan: Plan) -> dict[str, str]:
    """`<pool>.yaml` for each pool of the plan."""
    version = engine_of(plan, "vllm", OLDEST)
    linked = {pool for edge in plan.deployment.edges for pool in (edge.source, edge.target)}
    pairs = zip(plan.deployment.pools, plan.pools, strict=True)
    engine = plan.scenario["engine"]
    files = {}
    for pool, about in pairs:
        flags = _flags(pool, about, pool.name in linked, engine)
        files[f"{pool.name}.yaml"] = _head(pool, version) + yaml.safe_dump(flags, sort_keys=False)
    return files


def _head(pool: Pool, version: str) -> str:
    phases = " + ".join(pool.phases)
    what = f"# {pool.replicas} x {pool.parallelism} on {pool.accelerator}, {phases}, vLLM {version}\n"
    start = f"# start {pool.replicas} of these: vllm serve --config {pool.name}.yaml\n"
    own = pool.weights not in ("bf16", "fp16", *QUANTIZED_ON_LOAD)
    return what + start + (f"# name a checkpoint whose weights are {pool.weights}\n" if own else "")


def _flags(pool: Pool, about: PoolPlan, linked: bool, engine: Mapping[str, Any]) -> dict[str, Any]:
    degrees = pool.parallelism
    flags: dict[str, Any] = {
        "model": about.checkpoint or pool.model,
        "tensor-parallel-size": degrees.tp,
        "pipeline-parallel-size": degrees.pp,
        "data-parallel-size": degrees.dp,
        "max-num-seqs": max(1, pool.max_seqs // degrees.dp),
        "max-num-batched-tokens": max(1, pool.max_tokens_per_step // degrees.dp),
    }
    if degrees.dcp > 1:
        flags["decode-context-parallel-size"] = degrees.dcp
    if degrees.cp > 1:
        what = f"{pool.name}: no vLLM release runs prefill context parallelism ({degrees}) on GPUs"
        raise BadInput(Problem(what, hint="plan with search: {cp: [1]}"))
    if degrees.ep > 1:
        flags["enable-expert-parallel"] = _all_ranks(pool)
    if pool.weights in QUANTIZED_ON_LOAD:
        flags["quantization"] = QUANTIZED_ON_LOAD[pool.weights]
    if pool.kv == "fp8":
        flags["kv-cache-dtype"] = "fp8"
    if linked:
        flags["kv-transfer-config"] = json.dumps(CONNECTOR)
    if engine.get("whole_prompts"):
        flags["no-enable-chunked-prefill"] = True
        flags["max-model-len"] = flags["max-num-batched-tokens"]  # vLLM refuses to start with a longer one
    return flags | _asked(engine)


def _asked(engine: Mapping[str, Any]) -> dict[str, Any]:
    """What the scenario says of the engine, whatever the pool."""
    flags: dict[str, Any] = {}
    if engine.get("memory_fraction") is not None:
        flags["gpu-memory-utilization"] = engine["memory_fraction"]
    if engine.get("scheduling") == "priority":
        flags["scheduling-policy"] = "priority"
    if engine.get("long_prompt_tokens"):
        flags["long-prefill-token-threshold"] = engine["long_prompt_tokens"]
    return flags


def _all_ranks(pool: Pool) -> bool:
    """vLLM spreads experts over all tensor- and data-parallel ranks or over none."""
    ranks = pool.parallelism.tp * pool.parallelism.dp
    if pool.parallelism.ep != ranks:
        raise BadInput(Problem(
            f"{pool.name}: vLLM runs experts over 1 or {ranks} ranks, not {pool.parallelism.ep}",
            hint=f"plan with search: {{ep: [1, {ranks}]}}",
        ))  # fmt: skip
    return True
