"""Small nouns for the search: an invented model, two invented node types, an engine; and a setting of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner.perf.hardware import Hardware
from planner.search.demand import loads
from planner.search.setting import Setting, Site
from planner.spec.engine import EngineProfile
from planner.spec.hardware import Accelerator, Fabric, Node
from planner.spec.model import Block, DenseFfn, Layer, Model, MoeFfn, SoftmaxAttention
from planner.spec.scenario import NodeType, Scenario

DENSE = Model(
    name="dense", source="invented", hidden=2048, vocab=32000, native_dtype="bf16", max_context=32768,
    blocks=(Block(repeat=16, layers=(Layer(attention=SoftmaxAttention(heads=16, kv_heads=4, head_dim=128),
                                           ffn=DenseFfn(inner=6144)),)),),
)  # fmt: skip
MOE = DENSE.model_copy(update={
    "name": "moe", "native_dtype": "fp8",
    "blocks": (Block(repeat=16, layers=(Layer(attention=SoftmaxAttention(heads=16, kv_heads=4, head_dim=128),
                                              ffn=MoeFfn(experts=24, top_k=2, inner=1536)),)),),
})  # fmt: skip
FAST = Accelerator.model_validate({
    "name": "Fast", "vendor": "v", "year": 2024, "source": "invented", "memory": "80 GB", "memory_bandwidth": "3 TB/s",
    "peak": {"fp32": "60 TFLOP/s", "bf16": "900 TFLOP/s", "fp16": "900 TFLOP/s", "fp8": "1800 TFLOP/s"},
    "sm_count": 132, "l2": "50 MB", "tdp": "700 W", "idle": "70 W",
    "scaleup_bandwidth": "450 GB/s", "scaleup_domain": 8,
})  # fmt: skip
OLD = Accelerator.model_validate({
    "name": "Old", "vendor": "v", "year": 2018, "source": "invented", "memory": "16 GB", "memory_bandwidth": "300 GB/s",
    "peak": {"fp32": "8 TFLOP/s", "fp16": "65 TFLOP/s"}, "sm_count": 40, "l2": "4 MB", "tdp": "70 W", "idle": "10 W",
    "pcie_bandwidth": "16 GB/s",
})  # fmt: skip
UP = Fabric.model_validate({
    "name": "up", "source": "invented", "scope": "scale-up", "max_gpus": 8, "peak_bandwidth": "450 GB/s",
    "p2p_bandwidth": "350 GB/s", "alpha": "5 us", "allreduce_bandwidth": "400 GB/s",
})  # fmt: skip
OUT = Fabric.model_validate({
    "name": "out", "source": "invented", "scope": "scale-out", "peak_bandwidth": "50 GB/s", "p2p_bandwidth": "45 GB/s",
    "alpha": "10 us", "allreduce_bandwidth": "45 GB/s",
})  # fmt: skip


def node(accelerator: str, count: int) -> Node:
    """A node of `count` accelerators, one network card each, 1 kW at rest and 1 kW more under load."""
    return Node.model_validate({
        "name": f"{accelerator}-{count}", "source": "invented", "accelerator": accelerator, "accelerators": count,
        "scaleup_fabric": "up", "scaleup_domain": count, "scaleout_fabric": "out", "nics": count,
        "nic_bandwidth": "50 GB/s", "idle": "1 kW", "overhead_busy": "1 kW",
    })  # fmt: skip


PROFILE = EngineProfile(
    name="engine", source="invented", engine="engine", scheduler="vllm_v1", max_tokens_choices=(2048, 8192)
)
SCENARIO: dict[str, Any] = {
    "version": 1,
    "name": "small",
    "models": {"m": {"model": "dense"}},
    "classes": [
        {
            "name": "chat",
            "model": "m",
            "lengths": {
                "input": {"uniform": {"low": 200, "high": 800}},
                "output": {"uniform": {"low": 50, "high": 150}},
            },
            "arrivals": {"rate": "20/s"},
            "slo": {"ttft": {"p95": "1 s"}, "tpot": {"p95": "50 ms"}},
        }
    ],
    "fleet": {
        "nodes": [
            {"name": "fast", "node": "Fast-8", "count": 2, "price": "$80/h"},
            {"name": "old", "node": "Old-4", "count": 3, "price": "$4/h"},
        ]
    },
    "engine": {"name": "engine", "version": "1.0"},
    "search": {"requests_per_probe": 200},
}


def setting_of(scenario: Scenario) -> Setting:
    fast = Hardware(FAST, node("Fast", 8), UP, OUT)
    hardware = {"fast": fast, "other": fast, "old": Hardware(OLD, node("Old", 4), UP, OUT)}
    entries: dict[str, NodeType] = {entry.name: entry for entry in scenario.fleet.nodes}
    models = {key: MOE if served.model == "moe" else DENSE for key, served in scenario.models.items()}
    groups = loads(scenario, Path(), {})
    return Setting(
        scenario, Path(), models, {name: Site(name, entry, hardware[name]) for name, entry in entries.items()}, PROFILE,
        groups, dict.fromkeys(models, 950), "0" * 64,
    )  # fmt: skip


@pytest.fixture
def small() -> Callable[..., Setting]:
    """A setting of the small scenario with top-level fields replaced."""

    def build(**changes: Any) -> Setting:
        return setting_of(Scenario.model_validate({**SCENARIO, **changes}))

    return build
