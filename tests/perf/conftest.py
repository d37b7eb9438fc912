"""Catalog and builders for the tests of physics: what is measured comes from the shipped catalog."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from planner.catalog import Catalog
from planner.perf.hardware import Hardware, hardware_of
from planner.perf.replica import build_replica
from planner.spec.deployment import Parallelism, Pool
from planner.spec.engine import EngineProfile, Multipliers, Overhead
from planner.spec.step import Replica

DEGREES = ("tp", "pp", "dp", "ep", "cp", "dcp")


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return Catalog.open()


@pytest.fixture(scope="session")
def bare() -> EngineProfile:
    """An engine without overheads, captured batches or multipliers: what is left is the operators."""
    return EngineProfile(
        name="bare", engine="bare", scheduler="vllm_v1", source="test", kernels_like="trtllm",
        overhead=Overhead.model_validate(
            {"launch": "0 s", "per_seq": "0 s", "prefill_floor_per_layer": "0 s", "request": "0 s"}
        ),
        multipliers=Multipliers(gemm=1.0, attn_decode=1.0, moe=1.0, comm=1.0, prefill=1.0),
    )  # fmt: skip


@pytest.fixture(scope="session")
def pool_of() -> Callable[..., Pool]:
    """pool_of(model, node="dgx-h100", accelerator="h100-sxm5-80gb", tp=..., weights=...)."""

    def make(model: str, node: str = "dgx-h100", accelerator: str = "h100-sxm5-80gb", **fields: Any) -> Pool:
        degrees = {name: fields.pop(name) for name in DEGREES if name in fields}
        return Pool(
            name="p", model=model, node=node, accelerator=accelerator, parallelism=Parallelism(**degrees), **fields
        )

    return make


@pytest.fixture(scope="session")
def replica_of(catalog: Catalog) -> Callable[..., Replica]:
    """replica_of(pool, engine="vllm" or a profile, hardware=None, estimator="fitted")."""

    def make(
        pool: Pool, engine: str | EngineProfile = "vllm", hardware: Hardware | None = None, estimator: str | None = None
    ) -> Replica:
        profile = catalog.engine(engine) if isinstance(engine, str) else engine
        place = hardware or hardware_of(catalog, pool)
        return build_replica(catalog.model(pool.model), pool, place, profile, estimator=estimator)

    return make


@pytest.fixture(scope="session")
def decode_s() -> Callable[[Replica, int, float], float]:
    """Seconds of a decode step of n sequences with `context` cached tokens each, by the formula of StepCost."""

    def time(replica: Replica, n: int, context: float) -> float:
        cost = replica.cost
        seen = min(context, cost.window_tokens)
        return float(cost.decode_s[n] + n * (cost.decode_context_s[n] * context + cost.decode_window_s[n] * seen))

    return time
