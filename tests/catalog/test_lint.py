"""The shipped catalog is clean; and every rule finds the slip that it is there for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from planner.catalog.catalog import Catalog
from planner.catalog.lint import Finding, lint
from planner.errors import BadInput, Problem
from planner.spec.hardware import Accelerator, Fabric, Node, Price, TcoParameter
from planner.spec.model import Model, StageModel

ACCELERATOR: dict[str, Any] = {
    "name": "chip", "vendor": "V", "year": 2024, "memory": "80 GiB", "memory_bandwidth": "3.35 TB/s",
    "peak": {"bf16": "989 TFLOP/s", "fp8": "1979 TFLOP/s"}, "tdp": "700 W", "idle": "70 W", "source": "data sheet",
}  # fmt: skip
FABRIC: dict[str, Any] = {
    "name": "link", "scope": "scale-up", "peak_bandwidth": "450 GB/s", "p2p_bandwidth": "348 GB/s", "alpha": "5 us",
    "allreduce_bandwidth": "365 GB/s", "source": "measured",
}  # fmt: skip
NODE: dict[str, Any] = {
    "name": "box", "accelerator": "chip", "accelerators": 8, "scaleup_fabric": "link", "scaleup_domain": 8,
    "max": "10.2 kW", "idle": "2.3 kW", "price_key": "cloud:big", "source": "data sheet",
}  # fmt: skip
PRICE: dict[str, Any] = {
    "provider": "cloud", "instance": "big", "region": "r1", "accelerator": "chip", "accelerators": 8,
    "on_demand": "$98/h", "spot": "$60/h", "as_of": "2026-07-20", "source": "price list",
}  # fmt: skip
TCO: dict[str, Any] = {"kind": "electricity", "key": "DE", "value": 0.2, "unit": "USD/kWh", "source": "Eurostat"}
LAYER = {
    "attention": {"kind": "softmax", "heads": 32, "kv_heads": 8, "head_dim": 128},
    "ffn": {"kind": "dense", "inner": 14336},
}
MODEL: dict[str, Any] = {
    "name": "llm", "hidden": 4096, "vocab": 128256, "max_context": 8192, "source": "config",
    "blocks": [{"repeat": 32, "layers": [LAYER]}], "published": {"total": 8030261248, "kv_elements_per_token": 65536},
}  # fmt: skip
STAGE: dict[str, Any] = {
    "name": "eye", "kind": "encoder", "parameters": 303507456, "flop_per_item": 3.8e11, "source": "count"
}  # fmt: skip


@dataclass
class Shelf:
    """A catalog of at most one entry per kind; an entry that is no noun cannot be read."""

    accelerators: list[Any] = field(default_factory=lambda: [ACCELERATOR])
    fabrics: list[Any] = field(default_factory=lambda: [FABRIC])
    nodes: list[Any] = field(default_factory=lambda: [NODE])
    models: list[Any] = field(default_factory=lambda: [MODEL])
    stage_models: list[Any] = field(default_factory=lambda: [STAGE])
    price_list: list[Any] = field(default_factory=lambda: [PRICE])
    tco: list[Any] = field(default_factory=lambda: [TCO])

    def names(self, kind: str) -> Sequence[str]:
        return [entry["name"] for entry in getattr(self, kind)]

    def _entry(self, kind: str, name: str) -> Any:
        return next(entry for entry in getattr(self, kind) if entry["name"] == name)

    def accelerator(self, name: str) -> Accelerator:
        return Accelerator.model_validate(self._entry("accelerators", name))

    def node(self, name: str) -> Node:
        return Node.model_validate(self._entry("nodes", name))

    def fabric(self, name: str) -> Fabric:
        return Fabric.model_validate(self._entry("fabrics", name))

    def model(self, name: str) -> Model:
        entry = self._entry("models", name)
        if "broken" in entry:
            raise BadInput(Problem("heads: must be positive"), Problem("vocab: missing"))
        return Model.model_validate(entry)

    def stage_model(self, name: str) -> StageModel:
        return StageModel.model_validate(self._entry("stage_models", name))

    def prices(self) -> Sequence[Price]:
        return [Price.model_validate(entry) for entry in self.price_list]

    def tco_parameters(self) -> Sequence[TcoParameter]:
        return [TcoParameter.model_validate(entry) for entry in self.tco]


def test_the_shipped_catalog_has_no_errors() -> None:
    errors = [str(finding) for finding in lint(Catalog.open()) if finding.severity == "error"]
    assert errors == []


def test_a_sound_shelf_is_silent() -> None:
    assert lint(Shelf()) == []


def peaks(**rates: str) -> dict[str, Any]:
    return {"peak": {"bf16": "989 TFLOP/s"} | rates}


SLIPS: list[tuple[str, dict[str, Any], dict[str, Any], str, str]] = [
    ("accelerators", ACCELERATOR, {"memory_bandwidth": "3.35 GB/s"}, "error", "memory bandwidth 3.35 GB/s is outside"),
    ("accelerators", ACCELERATOR, {"memory": "80 MiB"}, "error", "memory 0.078125 GiB is outside"),
    ("accelerators", ACCELERATOR, {"tdp": "700 kW"}, "error", "tdp 700000 W is outside"),
    ("accelerators", ACCELERATOR, {"idle": "900 W"}, "error", "idle power (900) exceeds tdp (700)"),
    ("accelerators", ACCELERATOR, {"behaves_like": "ghost"}, "error", "behaves_like 'ghost' is not in the catalog"),
    ("accelerators", ACCELERATOR, {"peak": {"fp32": "67 TFLOP/s"}}, "error", "no 16-bit peak"),
    ("accelerators", ACCELERATOR, {"peak": {"bf16": "989 GFLOP/s"}}, "error", "16-bit peak over memory bandwidth"),
    ("accelerators", ACCELERATOR, peaks(fp8="3958 TFLOP/s"), "warning", "fp8 peak is 4.00 times the 16-bit peak"),
    ("accelerators", ACCELERATOR, peaks(fp8="494 TFLOP/s"), "error", "fp8 peak is 0.50 times the 16-bit peak"),
    ("accelerators", ACCELERATOR, {"source": " "}, "error", "source is empty"),
    ("accelerators", ACCELERATOR, {"confidence": "sure"}, "error", "confidence 'sure' is not one of"),
    ("fabrics", FABRIC, {"alpha": "5 ms"}, "error", "start-up latency 5000 us is outside"),
    ("fabrics", FABRIC, {"p2p_bandwidth": "900 GB/s"}, "error", "point-to-point bandwidth"),
    ("fabrics", FABRIC, {"allreduce_bandwidth": "500 GB/s"}, "error", "collective bandwidth"),
    ("nodes", NODE, {"accelerator": "chop"}, "error", "accelerator 'chop' is not in the catalog"),
    ("nodes", NODE, {"scaleup_fabric": "lonk"}, "error", "scale-up fabric 'lonk' is not in the catalog"),
    ("nodes", NODE, {"scaleout_fabric": "link"}, "warning", "a scale-out fabric without network cards"),
    ("nodes", NODE, {"price_key": "cloud:small"}, "error", "price key 'cloud:small' is not in the catalog"),
    ("nodes", NODE, {"idle": "12 kW"}, "error", "idle power (12000) exceeds maximum power (10200)"),
    ("price_list", PRICE, {"as_of": "last summer"}, "error", "as_of 'last summer' names no year"),
    ("price_list", PRICE, {"on_demand": "$98000/h"}, "error", "price 12250 USD per accelerator-hour is outside"),
    ("price_list", PRICE, {"spot": "$99/h"}, "warning", "spot price (99) exceeds on-demand price (98)"),
    ("price_list", PRICE, {"accelerator": "chop"}, "error", "accelerator 'chop' is not in the catalog"),
    ("tco", TCO, {"value": 20.0}, "error", "electricity 20 USD/kWh is outside"),
    ("tco", TCO, {"kind": "capex", "value": 0.0}, "error", "value 0 is not positive"),
    ("models", MODEL, {"vocab": 32000}, "error", "weights counted from the blocks differ by -9.82%"),
    ("models", MODEL, {"published": {"kv_elements_per_token": 8192}}, "error", "caches 65536 elements per token, 8192"),
    ("models", MODEL, {"published": {"exception": "rounded"}}, "warning", "published.exception explains a difference"),
    ("models", MODEL, {"published": {"active": 1e10}}, "error", "published active weights"),
    ("models", MODEL, {"max_context": 0}, "warning", "max_context is not given"),
    ("models", MODEL, {"broken": True}, "error", "vocab: missing"),
    ("stage_models", STAGE, {"parameters": 303.5}, "error", "weights 0.0003035 million is outside"),
    ("stage_models", STAGE, {"flop_per_item": 0}, "warning", "flop_per_item is not given"),
]


@pytest.mark.parametrize(("kind", "sound", "slip", "severity", "said"), SLIPS)
def test_a_slip_is_found(kind: str, sound: dict[str, Any], slip: dict[str, Any], severity: str, said: str) -> None:
    found = lint(Shelf(**{kind: [sound | slip]}))
    assert [f for f in found if f.severity == severity and said in f.what], list(map(str, found))


def test_an_explained_difference_is_allowed() -> None:
    published = MODEL["published"] | {"exception": "another vocabulary", "kv_elements_per_token": None}
    assert lint(Shelf(models=[MODEL | {"vocab": 32000, "published": published}])) == []


def test_a_published_text_part_leaves_the_encoder_out() -> None:
    seeing = MODEL | {"encoder": {"parameters": 400_000_000}}
    assert [f.severity for f in lint(Shelf(models=[seeing]))] == ["error"]
    assert lint(Shelf(models=[seeing | {"published": MODEL["published"] | {"text_only": True}}])) == []


def test_index_keys_are_no_part_of_the_published_cache() -> None:
    attention = LAYER["attention"] | {"index_heads": 4, "index_dim": 128, "index_top_k": 2048}
    layer = LAYER | {"attention": attention}
    sparse = MODEL | {"blocks": [{"repeat": 32, "layers": [layer]}], "published": {"kv_elements_per_token": 65536}}
    assert lint(Shelf(models=[sparse])) == []


def test_the_same_price_twice() -> None:
    found = lint(Shelf(price_list=[PRICE, PRICE | {"region": "R1", "on_demand": "$97/h"}]))
    assert found == [
        Finding("error", "cloud:big:r1", "2 entries are the same price", "keep one, or tell them apart")
    ]  # fmt: skip


def test_a_finding_reads_as_one_line_and_errors_come_first() -> None:
    found = lint(Shelf(stage_models=[STAGE | {"flop_per_item": 0}], nodes=[NODE | {"accelerator": "chop"}]))
    assert [str(finding) for finding in found] == [
        "error: box: accelerator 'chop' is not in the catalog - add the entry or mend the name",
        "warning: eye: flop_per_item is not given - its time cannot be estimated without it",
    ]
