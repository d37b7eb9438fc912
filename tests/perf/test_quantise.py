"""Activations quantised apart: two passes a block, for formats whose products are narrow, and nothing when fused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.step import Replica

PoolOf = Callable[..., Pool]
ReplicaOf = Callable[..., Replica]


def apart(profile: EngineProfile) -> EngineProfile:
    return profile.model_copy(update={"quantises_apart": True})


@pytest.mark.parametrize("weights", ["bf16", "int4"])
def test_wide_activations_stay_as_they_are(
    replica_of: ReplicaOf, pool_of: PoolOf, bare: EngineProfile, weights: str
) -> None:
    pool = pool_of("llama-3.1-8b", weights=weights)
    fused, own = (replica_of(pool, profile).cost for profile in (bare, apart(bare)))
    assert np.array_equal(fused.decode_s, own.decode_s)
    assert np.array_equal(fused.linear_s, own.linear_s)


def test_passes_of_an_fp8_model_by_hand(replica_of: ReplicaOf, pool_of: PoolOf, bare: EngineProfile) -> None:
    """Llama 8B, 32 layers: 4,096 wide around attention and before the network, 14,336 inside; 3 bytes each."""
    pool = pool_of("llama-3.1-8b", weights="fp8", max_tokens_per_step=8192)
    fused, own = (replica_of(pool, profile, estimator="roofline").cost for profile in (bare, apart(bare)))
    extra = own.linear_s[-1] - fused.linear_s[-1]
    tokens = (len(own.linear_s) - 1) * own.linear_stride
    by_hand = 32 * (3 * 4096 + 14336) * 3 * tokens / 3.35e12
    assert extra == pytest.approx(by_hand, rel=0.05)


@pytest.mark.parametrize("model", ["llama-3.1-8b", "mixtral-8x7b", "deepseek-r1"])
def test_a_kernel_more_never_saves_time(
    replica_of: ReplicaOf, pool_of: PoolOf, bare: EngineProfile, model: str
) -> None:
    pool = pool_of(model, weights="fp8", tp=8)
    fused, own = (replica_of(pool, profile).cost for profile in (bare, apart(bare)))
    assert (own.decode_s >= fused.decode_s).all()
    assert (own.linear_s >= fused.linear_s).all()
    assert own.linear_s[-1] > fused.linear_s[-1]
