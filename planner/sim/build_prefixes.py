"""From chains of requests to empty prefix caches in the State. Not how they fill: `prefixes`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.errors import Problem
from planner.sim.state import ENTRY, NOBODY, QUEUE, TIER
from planner.spec.deployment import Pool
from planner.spec.requests import Chains, Requests
from planner.spec.step import Replica


def chain_problems(pools: Sequence[Pool], kinds: Sequence[Replica], requests: Requests) -> Iterator[Problem]:
    """Reasons why the chains cannot be simulated."""
    chains = requests.chains
    if chains is None or not len(requests):
        return
    if (chains.count * chains.link_tokens > requests.input_tokens + requests.output_tokens).any():
        yield Problem("a chain of links is longer than prompt and answer")
    for pool, kind in zip(pools, kinds, strict=True):
        if keeps(pool, kind) and chains.link_tokens % kind.block_tokens:
            what = (
                f"pool {pool.name}: prefixes of {chains.link_tokens} tokens are no whole blocks of {kind.block_tokens}"
            )
            yield Problem(what, hint="blocks that divide the prefix, or `prefix_cache: false`")


def keeps(pool: Pool, kind: Replica) -> bool:
    """Whether a pool finds prefixes: it computes prompts and its engine has the cache on."""
    return kind.prefix_cache and "prefill" in pool.phases


def add_chains(
    request: NDArray[Any], pool: NDArray[Any], pools: Sequence[Pool], kinds: Sequence[Replica], chains: Chains | None
) -> None:
    """Links of each request, and the size of a link in each pool; without chains all stays zero."""
    if chains is None:
        return
    request["chain"], request["links"] = chains.start, chains.count
    for row, spec, kind in zip(pool, pools, kinds, strict=True):
        if keeps(spec, kind):
            row["link_tokens"] = chains.link_tokens
            row["link_blocks"] = chains.link_tokens // kind.block_tokens
            row["link_bytes"] = chains.link_tokens * kind.kv_bytes_per_token


def prefix_records(
    replica: NDArray[Any], pool: NDArray[Any], kinds: Sequence[Replica], chains: Chains | None
) -> dict[str, NDArray[Any]]:
    """Arrays of the prefix caches: room for every link that can be in some tier at a time, at most all there are."""
    different = int(chains.links.max(initial=-1)) + 1 if chains is not None else 0
    tiers = tier_records(pool, kinds)
    in_memory = np.where(pool["link_blocks"] > 0, pool["kv_blocks"] // np.maximum(pool["link_blocks"], 1), 0)
    entries = min(int((in_memory + tiers["links"].sum(axis=1)).max()), different) + 1
    n = len(replica)
    entry = np.zeros((n, entries), ENTRY)
    entry["chained"] = np.append(np.arange(1, entries), NOBODY)
    buckets = 1 if different == 0 else 1 << entries.bit_length()
    return {
        "chain": chains.links if chains is not None else np.zeros(1, np.int64),
        "entry": entry,
        "bucket": np.full((n, buckets), NOBODY, np.int64),
        "shelf": np.zeros((n, tiers.shape[1]), QUEUE),
        "tier": tiers,
    }


def tier_records(pool: NDArray[Any], kinds: Sequence[Replica]) -> NDArray[Any]:
    """Tiers below the memory of the accelerators, in links; [pools, 1 + tiers]; services, the last, have none."""
    tiers = np.zeros((len(pool), 1 + max(len(kind.tiers) for kind in kinds)), TIER)
    for row, kind, record in zip(tiers, kinds, pool, strict=False):
        for place, tier in zip(row[1:], kind.tiers, strict=False):
            if record["link_bytes"] > 0:
                place["links"] = int(tier.capacity_bytes // record["link_bytes"])
                place["bandwidth"], place["latency_s"] = tier.bandwidth_bytes_per_s, tier.latency_s
    return tiers
