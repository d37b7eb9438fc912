"""Testing: what a user's own tests of plans need; public, shared by their CI and ours. Not a fixture plugin."""

from __future__ import annotations

from typing import Any

from planner.review import diff
from planner.spec.plan import Plan
from planner.spec.scenario import Scenario, Tolerances

TINY_YAML = """\
version: 1
name: tiny
models:
  llama: {model: llama-3.1-8b}
classes:
  - name: chat
    model: llama
    lengths: {input: {fixed: 512}, output: {fixed: 64}}
    arrivals: {rate: 2/s}
    slo: {ttft: {p95: 2 s}, tpot: {p95: 80 ms}}
fleet:
  nodes:
    - {name: h100, node: aws-p5.4xlarge, count: 2}
engine: {name: vllm, version: 0.19.0}
search: {requests_per_probe: 200}
"""
"""The tiny scenario as a file holds it; tests write it down, often with a word replaced."""


def assert_plan_close(plan: Plan, expected: Plan, tolerances: Tolerances | None = None) -> None:
    """Fail with the list of differences unless topology and counts are equal and metrics agree within tolerance."""
    found = diff(expected, plan, tolerances)
    if found:
        raise AssertionError(f"the plans differ:\n{found}")


def tiny_scenario(**changes: Any) -> Scenario:
    """A small valid scenario: one model, class and kind of node; `changes` replace top-level fields, as in YAML."""
    return Scenario.model_validate({**_SCENARIO, **changes})


def tiny_plan(**changes: Any) -> Plan:
    """A made-up plan of the tiny scenario for tests of readers: valid and consistent, but nobody computed it."""
    return Plan.model_validate({**_PLAN, "scenario": tiny_scenario().model_dump(mode="json"), **changes})


_SCENARIO: dict[str, Any] = {
    "version": 1,
    "name": "tiny",
    "models": {"llama": {"model": "llama-3.1-8b"}},
    "classes": [
        {
            "name": "chat",
            "model": "llama",
            "lengths": {"input": {"fixed": 512}, "output": {"fixed": 64}},
            "arrivals": {"rate": "2/s"},
            "requests": 200,
            "slo": {"ttft": {"p95": "2 s"}, "tpot": {"p95": "80 ms"}},
        }
    ],
    "fleet": {"nodes": [{"name": "h100", "node": "aws-p5.4xlarge", "count": 2}]},
    "engine": {"name": "vllm", "version": "0.19.0"},
    "search": {"requests_per_probe": 200},
}


def _values(mean: float, p50: float, p90: float, p95: float, p99: float) -> dict[str, dict[str, float]]:
    statistics = {"mean": mean, "p50": p50, "p90": p90, "p95": p95, "p99": p99}
    return {name: {"value": v, "lo": 0.85 * v, "hi": 1.2 * v} for name, v in statistics.items()}


_PLAN: dict[str, Any] = {
    "serveplan_version": "0.1.0",
    "packages": {"numpy": "2.4.6", "ortools": "9.15.6755"},
    "catalog_hash": "0123456789abcdef",
    "seed": 0,
    "status": "optimal",
    "deployment": {
        "pools": [
            {
                "name": "h100-tp1",
                "model": "llama-3.1-8b",
                "node": "h100",
                "accelerator": "H100-SXM5-80GB",
                "parallelism": {"tp": 1},
                "replicas": 2,
                "max_seqs": 256,
                "max_tokens_per_step": 8192,
            }
        ],
        "routes": [{"request_class": "chat", "pool": "h100-tp1"}],
        "router": "round_robin",
    },
    "pools": [
        {
            "name": "h100-tp1",
            "gpus": 2,
            "nodes": 2.0,
            "weights_bytes_per_gpu": 16.06e9,
            "kv_bytes_per_gpu": 52.0e9,
            "kv_tokens": 396728,
            "utilisation": 0.41,
            "kv_occupancy": 0.07,
            "usd_per_hour": 13.76,
            "watts": 1270.0,
            "source": "fitted",
            "rel_error": 0.12,
        }
    ],
    "classes": [
        {
            "name": "chat",
            "model": "llama-3.1-8b",
            "offered_per_s": 2.0,
            "completed_per_s": 2.0,
            "goodput_per_s": 1.98,
            "output_tokens_per_s": 128.0,
            "requests": 200,
            "metrics": {
                "ttft": _values(0.041, 0.038, 0.052, 0.061, 0.094),
                "tpot": _values(0.0081, 0.0079, 0.0092, 0.0098, 0.0121),
                "itl": _values(0.0081, 0.0077, 0.0088, 0.0190, 0.0310),
                "e2e": _values(0.551, 0.540, 0.622, 0.668, 0.812),
            },
            "slo": [
                {"metric": "ttft", "statistic": "p95", "limit": 2.0, "predicted": 0.061, "met": True},
                {"metric": "tpot", "statistic": "p95", "limit": 0.08, "predicted": 0.0098, "met": True},
            ],
        }
    ],
    "bill": {
        "usd_per_hour": 13.76,
        "usd_per_mtok": {"value": 29.86, "lo": 28.1, "hi": 31.9},
        "watts": 1587.5,
        "joules_per_token": {"value": 12.4, "lo": 10.5, "hi": 14.6},
        "kwh_per_mtok": 3.444,
        "kgco2_per_hour": 0.61,
    },
    "objectives": [{"goal": "usd_per_hour", "value": 13.76, "bound": 13.76, "gap": 0.0}],
    "evidence": {
        "enumerated": 48,
        "refused": [
            {"rule": "memory", "count": 12, "example": "h100 tp1 bf16 kv bf16", "reason": "weights leave no KV cache"},
            {"rule": "slo", "count": 4, "example": "h100 tp2", "reason": "tpot p95 is 91 ms at any load, limit 80 ms"},
        ],
        "pruned": 20,
        "evaluated": 32,
        "columns": 12,
        "rounds": 1,
        "cuts": [],
        "solver": {"status": "OPTIMAL"},
    },
    "runners_up": [
        {
            "summary": "1 x h100 tp2",
            "usd_per_hour": 27.52,
            "gpus": 4,
            "metrics": {"ttft_p95_s": 0.044},
            "reason": "costs twice as much",
        }
    ],
    "warnings": ["l40s: collectives are extrapolated"],
}
