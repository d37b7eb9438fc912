"""Experiment: one recorded run of a real server: what ran, what was asked of it, what was measured. No prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.spec.deployment import Deployment, Pool, Route
from planner.spec.requests import Requests

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

POOL, CLASS = "serve", "recorded"
"""Every recorded run so far has one pool and one class of requests."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run states about its engine beyond the pool. None, 0 and "" = not stated: the profile decides.

    kv_blocks: of one replica. scheduler: where the run's flags chose another than the profile's.
    """

    engine: str
    version: str
    memory_fraction: float | None = None
    kv_blocks: int = 0
    scheduler: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Requests of a run (indices) and the metrics measured over them, milliseconds by name (see `replay.METRICS`)."""

    name: str
    members: Ints
    measured: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Experiment:
    """One run. phases: requests served one after another by an emptied server, a simulation each; parts index them all.

    engine_clock: times were taken inside the engine, so they leave out what a request costs before the queue.
    doubts: what the source does not record and a reader had to assume.
    """

    id: str
    deployment: Deployment
    settings: Settings
    phases: tuple[Requests, ...]
    parts: tuple[Part, ...]
    engine_clock: bool = False
    doubts: tuple[str, ...] = ()

    @property
    def pool(self) -> Pool:
        return self.deployment.pools[0]


def one_pool(pool: Pool, router: str = "round_robin") -> Deployment:
    """The deployment of a run: one pool that serves everything."""
    return Deployment(pools=(pool,), routes=(Route(request_class=CLASS, pool=pool.name),), router=router)


def requests_of(arrival_s: Floats, inputs: Ints, outputs: Ints, cached: Ints | None = None) -> Requests:
    """Requests of the one class, sorted by arrival."""
    order = np.argsort(arrival_s, kind="stable")
    held = None if cached is None else cached[order]
    classes = np.zeros(len(order), dtype=np.int64)
    return Requests(arrival_s[order], inputs[order], outputs[order], classes, (CLASS,), 0, held)


def whole_blocks(shared_tokens: Ints, inputs: Ints, block_tokens: int) -> Ints:
    """Prompt tokens that a prefix cache of whole blocks gives; the last token of a prompt is always computed."""
    return np.minimum(shared_tokens, inputs - 1) // block_tokens * block_tokens
