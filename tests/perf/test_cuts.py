"""Memory of many cuts at once against memory of each, for every model of the catalog."""

from __future__ import annotations

import numpy as np
import pytest

from planner.catalog import Catalog
from planner.perf.cuts import Degrees, cuts_of, rooms_of
from planner.perf.hardware import hardware_of
from planner.perf.memory import memory_of
from planner.spec.deployment import Parallelism, Pool
from planner.spec.precision import Dtype, KvDtype

FORMATS: tuple[tuple[Dtype, KvDtype], ...] = (("bf16", "bf16"), ("fp8", "fp8"), ("int4", "bf16"), ("nvfp4", "fp8"))
CATALOG = Catalog.open()
NAMES = CATALOG.names("models")


def some_degrees(seed: int, layers: int) -> list[Parallelism]:
    draw = np.random.default_rng(seed)
    rows = 2 ** draw.integers(0, 5, size=(24, 6))
    return [
        Parallelism(tp=tp, pp=min(pp, layers), dp=dp, ep=min(ep, tp * dp), cp=cp, dcp=min(dcp, tp))
        for tp, pp, dp, ep, cp, dcp in rows.tolist()
    ]


@pytest.mark.parametrize("name", NAMES)
def test_rooms_are_those_of_each_cut(name: str) -> None:
    model, profile = CATALOG.model(name), CATALOG.engine("vllm", "0.19.0")
    cuts = some_degrees(len(name), len(model.layers))
    arrays = Degrees(*(np.array([getattr(d, key) for d in cuts]) for key in ("tp", "pp", "dp", "ep", "cp", "dcp")))
    budget = 2 ** (9 + np.arange(len(cuts)) % 7)
    for (weights, kv), free in zip(FORMATS, ("total", "free", "total", "free"), strict=True):
        rule = profile.memory.model_copy(update={"of": free})
        asked = profile.model_copy(update={"memory": rule})
        pools = [
            Pool(name="p", model=name, node="dgx-h100", accelerator="h100-sxm5-80gb", parallelism=cut, weights=weights,
                 kv=kv, max_tokens_per_step=int(tokens))
            for cut, tokens in zip(cuts, budget, strict=True)
        ]  # fmt: skip
        hardware = hardware_of(CATALOG, pools[0])
        rooms = rooms_of(model, cuts_of(model, arrays, (weights, kv), hardware), budget, asked, weights)
        found = [memory_of(model, pool, hardware, asked) for pool in pools]
        np.testing.assert_allclose(rooms.weights_bytes, [one.weights_bytes for one in found], rtol=1e-12)
        np.testing.assert_array_equal(rooms.kv_tokens, [one.kv_tokens for one in found])
