"""Requests that no engine takes because a model's context or a replica's KV cache is shorter: whose, how many, by what.

Not what becomes of them: the simulator rejects them, and a scenario says whether that ends the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from planner.search.confirm import Seen
from planner.sim.simulate import Run
from planner.spec.deployment import Deployment, Pool
from planner.spec.requests import Ints
from planner.spec.step import Replica


@dataclass(frozen=True, slots=True)
class TooLong:
    """Requests of a class that one limit of a pool refuses. tokens: of the longest; limit: what it may have there."""

    name: str
    requests: int
    of: int
    tokens: int
    pool: str
    what: str
    limit: int

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.requests:,} of {self.of:,} requests are refused, the longest has {self.tokens:,} "
            f"tokens and the {self.what} of pool {self.pool} holds {self.limit:,}"
        )


def too_long(seen: Sequence[Seen], replicas: Mapping[str, Replica]) -> tuple[TooLong, ...]:
    """By class, pool and limit, what was rejected in simulated parts."""
    return tuple(found for one in seen for found in _of_part(one.run, one.part.deployment, replicas))


def _of_part(run: Run, deployment: Deployment, replicas: Mapping[str, Replica]) -> Iterator[TooLong]:
    for c, name in enumerate(run.class_names):
        mine = run.class_index == c
        for number, pool in enumerate(deployment.pools):
            sources = [k for k, one in enumerate(deployment.pools) if _leads(deployment, one.name, pool)]
            here = np.isin(run.pool, [number, *sources])
            tokens = run.input_tokens + (run.output_tokens if "decode" in pool.phases else 0)
            whole = run.input_tokens + run.output_tokens
            for what, limit, length in _limits(replicas[pool.name], tokens, whole):
                over = mine & run.rejected & here & (length > limit)
                if over.any():
                    longest = int(length[over].max())
                    yield TooLong(name, int(over.sum()), int(mine.sum()), longest, pool.name, what, limit)


def _leads(deployment: Deployment, source: str, pool: Pool) -> bool:
    """Whether the caches of another pool are decoded in this one."""
    edges = ((edge.source, edge.target) for edge in deployment.edges)
    return "decode" in pool.phases and (source, pool.name) in edges


def _limits(replica: Replica, tokens: Ints, whole: Ints) -> Iterator[tuple[str, int, Ints]]:
    """(what ends first, tokens that it holds, tokens that requests have there)."""
    if replica.max_context:
        yield "context", replica.max_context, whole
    blocks = (replica.kv_blocks - int(replica.watermark * replica.kv_blocks)) // replica.dp
    yield "KV cache", blocks * replica.block_tokens, tokens
