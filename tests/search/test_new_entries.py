"""Adding a GPU and adding a model takes one YAML file each and no code: they are planned, priced and validated."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from planner.calibrate.validate import validate
from planner.catalog import Catalog
from planner.catalog.lint import lint
from planner.search.plan import plan
from planner.testing import tiny_scenario

GPU = """\
name: quark-9
vendor: Acme
year: 2031
memory: 96 GiB
memory_bandwidth: 4 TB/s
peak: {fp32: 60 TFLOP/s, bf16: 1 PFLOP/s, fp16: 1 PFLOP/s, fp8: 2 PFLOP/s}
sm_count: 140
l2: 60 MiB
tdp: 600 W
idle: 60 W
scaleup_bandwidth: 500 GB/s
scaleup_domain: 8
nic_bandwidth: 400 Gb/s
source: invented for a test
confidence: medium
behaves_like: h100-sxm5-80gb
"""
NODE = """\
name: quark-8
accelerator: quark-9
accelerators: 8
scaleup_fabric: nvswitch-nvlink4
scaleup_domain: 8
scaleout_fabric: ib-ndr-400
nics: 8
nic_bandwidth: 400 Gb/s
source: invented for a test
"""
MODEL = """\
name: acme-13b-a2b
hidden: 3072
vocab: 96000
native_dtype: bf16
max_context: 65536
source: invented for a test
blocks:
- repeat: 24
  layers:
  - attention: {kind: softmax, heads: 24, kv_heads: 8, head_dim: 128}
    ffn: {kind: moe, experts: 32, top_k: 4, inner: 1536}
"""
FILES = {
    "hardware_db/accelerators/quark-9.yaml": GPU,
    "hardware_db/nodes/quark-8.yaml": NODE,
    "model_db/acme/acme-13b-a2b.yaml": MODEL,
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "own"


def test_a_new_gpu_and_model_are_planned(own: Path) -> None:
    catalog = Catalog.open([own])
    scenario = tiny_scenario(
        models={"ours": {"model": "acme-13b-a2b", "weights": ["bf16", "fp8"]}},
        classes=[{
            "name": "chat", "model": "ours", "arrivals": {"rate": "2/s"}, "requests": 200,
            "lengths": {"input": {"fixed": 512}, "output": {"fixed": 64}}, "slo": {"tpot": {"p95": "80 ms"}},
        }],
        fleet={"nodes": [{"node": "quark-8", "count": 1, "price": "20 USD/h"}]},
        search={"requests_per_probe": 100, "roles": ["aggregated"], "max_tokens_per_step": [2048]},
    )  # fmt: skip
    found = plan(scenario, catalog=catalog)
    assert found.status == "optimal"
    assert found.pools[0].source == "analytic x kernels h100-sxm5-80gb"
    assert any("quark-9 has no measured kernels; its efficiency is that of h100" in text for text in found.warnings)
    assert found.classes[0].metrics["tpot"]["p95"].value < 0.08


def test_their_measured_points_are_validated(own: Path, tmp_path: Path) -> None:
    row = {
        "id": "a", "gpu": "quark-9", "model": "acme-13b-a2b", "num_gpus": "2", "tp": "2", "weight_dtype": "fp8",
        "engine": "vllm", "engine_version": "0.19.0", "isl_mean": "500", "osl_mean": "50", "load_kind": "concurrency",
        "load_value": "8", "length_dist": "fixed",
    }  # fmt: skip
    table, out = tmp_path / "m.csv", tmp_path / "p.csv"
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)
    validate(table, out, overlays=[own])
    (answer,) = csv.DictReader(out.read_text().splitlines())
    assert answer["status"] == "ok", answer["reason"]
    assert float(answer["tpot_mean_ms_lo"]) < float(answer["tpot_mean_ms"]) < float(answer["tpot_mean_ms_hi"])
    assert float(answer["energy_j_per_out_tok"]) > 0


def test_the_files_pass_the_lint(own: Path) -> None:
    findings = [str(found) for found in lint(Catalog.open([own])) if "quark" in str(found) or "acme" in str(found)]
    assert [text for text in findings if "error" in text] == []
