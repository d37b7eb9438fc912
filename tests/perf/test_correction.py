"""Corrections: they belong to a place, scale what their names say and leave the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from planner.catalog import Catalog
from planner.perf.correction import scaled_by
from planner.spec.correction import Correction, Factors
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.step import Replica

HERE = {"accelerator": "h100-sxm5-80gb", "model": "llama-3.1-8b", "weights": "bf16"}


@pytest.fixture
def pool(pool_of: Callable[..., Pool]) -> Pool:
    return pool_of("llama-3.1-8b", tp=1, max_seqs=64)


def with_corrections(catalog: Catalog, *corrections: dict[str, Any]) -> EngineProfile:
    found = tuple(Correction.model_validate({"source": "3 points", **one}) for one in corrections)
    return catalog.engine("vllm").model_copy(update={"corrections": found})


def test_neutral_factors_change_no_number(pool: Pool, replica_of: Callable[..., Replica]) -> None:
    plain = replica_of(pool)
    same = scaled_by(plain, Factors())
    for field in dataclasses.fields(plain.cost):
        assert np.array_equal(getattr(plain.cost, field.name), getattr(same.cost, field.name)), field.name
    assert dataclasses.replace(same, cost=plain.cost) == plain


def test_a_correction_applies_only_where_it_belongs(
    pool: Pool, pool_of: Callable[..., Pool], replica_of: Callable[..., Replica], catalog: Catalog
) -> None:
    profile = with_corrections(catalog, {**HERE, "factors": {"decode": 2.0}})
    here = replica_of(pool, profile)
    assert here.cost.decode_s[8] == pytest.approx(2 * replica_of(pool).cost.decode_s[8])
    assert "3 points" in here.cost.source
    elsewhere = [
        pool_of("llama-3.1-8b", tp=1, max_seqs=64, weights="fp8"),
        pool_of("qwen3-8b", tp=1, max_seqs=64),
        pool_of("llama-3.1-8b", node="dgx-h200", accelerator="h200-sxm-141gb", tp=1, max_seqs=64),
    ]
    for other in elsewhere:
        plain, found = replica_of(other), replica_of(other, profile)
        assert np.array_equal(plain.cost.decode_s, found.cost.decode_s)
        assert plain.cost.source == found.cost.source


def test_the_narrowest_correction_wins(pool: Pool, replica_of: Callable[..., Replica], catalog: Catalog) -> None:
    wide = {"family": "hopper", "factors": {"request": 3.0}, "rel_error": 0.4}
    narrow = {**HERE, "factors": {"request": 5.0}, "rel_error": 0.1}
    for order in ((wide, narrow), (narrow, wide)):
        found = replica_of(pool, with_corrections(catalog, *order))
        assert found.request_s == pytest.approx(5 * replica_of(pool).request_s)
        assert found.cost.rel_error == 0.1


def test_another_cut_gets_the_factors_but_not_the_narrow_band(
    pool: Pool, pool_of: Callable[..., Pool], replica_of: Callable[..., Replica], catalog: Catalog
) -> None:
    profile = with_corrections(catalog, {**HERE, "factors": {"decode": 2.0}, "rel_error": 0.1, "plans": ["tp1"]})
    assert replica_of(pool, profile).cost.rel_error == 0.1
    other = pool_of("llama-3.1-8b", tp=2, max_seqs=64)
    found, plain = replica_of(other, profile).cost, replica_of(other).cost
    assert found.decode_s[8] == pytest.approx(2 * plain.decode_s[8])
    assert found.rel_error == plain.rel_error
    assert found.source.endswith("at tp1")


def test_factors_scale_what_they_name(pool: Pool, replica_of: Callable[..., Replica]) -> None:
    plain = replica_of(pool)
    prefill = scaled_by(plain, Factors(prefill=1.5))
    assert np.array_equal(prefill.cost.decode_s[1:], plain.cost.decode_s[1:])
    assert np.allclose(prefill.cost.linear_s, 1.5 * plain.cost.linear_s)
    batch = scaled_by(plain, Factors(batch=2.0)).cost
    assert batch.decode_s[1] == plain.cost.decode_s[1]
    growth = batch.decode_s[32] - batch.decode_s[1]
    assert growth == pytest.approx(2 * (plain.cost.decode_s[32] - plain.cost.decode_s[1]))


def test_the_roofline_is_never_corrected(pool: Pool, replica_of: Callable[..., Replica], catalog: Catalog) -> None:
    profile = with_corrections(catalog, {"factors": {"decode": 3.0}})
    bound, corrected = replica_of(pool, estimator="roofline"), replica_of(pool, profile, estimator="roofline")
    assert np.array_equal(bound.cost.decode_s, corrected.cost.decode_s)
