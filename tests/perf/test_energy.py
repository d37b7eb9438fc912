"""Power: bounded by idle and TDP, idle replicas cost, and the measured mixes are met."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.catalog import Catalog
from planner.errors import BadInput
from planner.perf.energy import Energy, idle_w, joules, node_overhead_w, power, tdp_w
from planner.perf.hardware import hardware_of
from planner.spec.deployment import Pool
from planner.spec.step import Work

PoolOf = Callable[..., Pool]
NOTHING = Work(100.0, 0.0, 0.0, 0, 0, 0, 0.0, 0.0)


def energy(catalog: Catalog, pool: Pool, work: Work) -> Energy:
    return joules(work, catalog.model(pool.model), pool, hardware_of(catalog, pool))


def steady(step_s: float, batch: int, context: float, steps: int = 1000) -> Work:
    """Only decode, always `batch` sequences."""
    return Work(steps * step_s, steps * step_s, 0.0, steps, 0, steps * batch, steps * batch * context, 0.0)


def test_an_idle_pool_draws_idle_power(catalog: Catalog, pool_of: PoolOf) -> None:
    pool = pool_of("llama-3.1-70b", tp=8)
    board = hardware_of(catalog, pool).accelerator
    found = energy(catalog, pool, NOTHING)
    assert found.gpu_w_each == pytest.approx(idle_w(board, loaded=True))
    assert found.gpu_j == pytest.approx(8 * 100.0 * found.gpu_w_each)


def test_an_idle_hgx_node_is_near_the_measured_wall_power(catalog: Catalog, pool_of: PoolOf) -> None:
    """8xH200, idle at the wall 2.36-2.41 kW (MLPerf Inference v4.1 power logs)."""
    pool = pool_of("llama-3.1-70b", node="dgx-h200", accelerator="h200-sxm-141gb")
    hardware = hardware_of(catalog, pool)
    idle = node_overhead_w(hardware.node, hardware.accelerator, 0.0) + 8 * idle_w(hardware.accelerator, loaded=False)
    assert 2200 < idle < 2500


@settings(max_examples=60, deadline=None)
@given(
    busy=st.floats(0, 1), prefill=st.floats(0, 1), batch=st.integers(1, 512), context=st.floats(1, 1e5),
    replicas=st.integers(1, 4),
)  # fmt: skip
def test_watts_lie_between_idle_and_tdp(
    busy: float, prefill: float, batch: int, context: float, replicas: int, catalog: Catalog, pool_of: PoolOf
) -> None:
    pool = pool_of("llama-3.1-70b", tp=4).model_copy(update={"replicas": replicas})
    board = hardware_of(catalog, pool).accelerator
    span, steps = 60.0, 2000
    busy_s = busy * span * replicas
    work = Work(span, busy_s, prefill * busy_s, steps, 1000, steps * batch, steps * batch * context, 1e6)
    found = energy(catalog, pool, work)
    assert idle_w(board, loaded=True) <= found.gpu_w_each * (1 + 1e-9)
    assert found.gpu_w_each <= tdp_w(board) * (1 + 1e-9)
    assert found.wall_j > found.gpu_j
    assert max(found.bandwidth_used, found.tensor_used) <= 1.0


def test_an_idle_replica_is_not_free(catalog: Catalog, pool_of: PoolOf) -> None:
    pool = pool_of("llama-3.1-8b")
    work = Work(100.0, 50.0, 10.0, 4000, 100000, 64000, 64e6, 1e8)
    one, two = (energy(catalog, pool.model_copy(update={"replicas": n}), work) for n in (1, 2))
    assert two.gpu_j > one.gpu_j


def test_prefill_draws_more_than_decode(catalog: Catalog, pool_of: PoolOf) -> None:
    pool = pool_of("llama-3.1-8b")
    work = Work(100.0, 100.0, 0.0, 10000, 0, 80000, 8e7, 0.0)
    prompts = replace(work, prefill_busy_s=100.0)
    assert energy(catalog, pool, prompts).gpu_w_each > energy(catalog, pool, work).gpu_w_each


@pytest.mark.parametrize(
    ("model", "tp", "batch", "token_j", "measured_w"),
    [
        ("llama-3.1-8b", 1, 8, 0.455, 486), ("llama-3.1-8b", 1, 64, 0.119, 610), ("llama-3.1-8b", 1, 256, 0.077, 691),
        ("llama-3.1-70b", 4, 8, 3.76, 441), ("llama-3.1-70b", 4, 64, 0.797, 500), ("llama-3.1-70b", 4, 256, 0.479, 589),
    ],
)  # fmt: skip
def test_decode_power_is_within_the_spread_of_measured_runs(
    catalog: Catalog, pool_of: PoolOf, model: str, tp: int, batch: int, token_j: float, measured_w: float
) -> None:
    """ML.ENERGY v3, H100, chat, at the measured speed; runs scatter by 0.15 TDP (105 W) around their own trend."""
    pool = pool_of(model, tp=tp)
    step_s = batch * token_j / (measured_w * tp)
    found = power(steady(step_s, batch, 700.0), catalog.model(model), pool, hardware_of(catalog, pool))
    assert abs(found - measured_w) < 0.15 * 700


def test_power_of_an_accelerator_without_tdp_is_refused(catalog: Catalog, pool_of: PoolOf) -> None:
    pool = pool_of("llama-3.1-8b")
    hardware = hardware_of(catalog, pool)
    nameless = replace(hardware, accelerator=hardware.accelerator.model_copy(update={"tdp_w": None}))
    with pytest.raises(BadInput, match="tdp"):
        joules(NOTHING, catalog.model(pool.model), pool, nameless)
