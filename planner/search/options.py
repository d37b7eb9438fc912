"""What a scenario says of its engine beyond limits, put into a replica: caches, order, chunks. No prices."""

from __future__ import annotations

from dataclasses import replace

from planner.errors import BadInput, Problem
from planner.spec.deployment import Pool
from planner.spec.hardware import Accelerator
from planner.spec.scenario import Engine
from planner.spec.step import KvTier, Replica


def with_options(replica: Replica, engine: Engine, pool: Pool, accelerator: Accelerator) -> Replica:
    """The replica as the scenario sets it; the same one when it sets nothing."""
    tiers = (KvTier(t.capacity_bytes, t.bandwidth_bytes_per_s, t.latency_s) for t in engine.kv_tiers)
    return replace(
        replica,
        prefix_cache=engine.prefix_cache,
        tiers=tuple(tiers),
        by_priority=engine.scheduling == "priority",
        swap_bytes_per_s=_swap_bytes_per_s(engine, pool, accelerator),
        long_prompt_tokens=engine.long_prompt_tokens or 0,
        whole_prompts=engine.whole_prompts,
        mixed_chunks=engine.mixed_chunks,
        conservativeness=engine.conservativeness or 1.0,
        balance_steps=engine.balance_steps or 0,
    )


def _swap_bytes_per_s(engine: Engine, pool: Pool, accelerator: Accelerator) -> float:
    """Of all ranks together: each copies its part of the cache over its own link to the host. 0 = no swapping."""
    if engine.preemption != "swap":
        return 0.0
    if not accelerator.pcie_bandwidth_bytes_per_s:
        what = f"pool {pool.name} cannot swap: the catalog states no pcie_bandwidth of {accelerator.name}"
        raise BadInput(Problem(what, hint="leave out `engine: {preemption: swap}`, or add it to a catalog of yours"))
    return accelerator.pcie_bandwidth_bytes_per_s * pool.parallelism.gpus
