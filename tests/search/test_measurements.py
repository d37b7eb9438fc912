"""Measurements: bounded shares, identities between rows, intervals over draws, saturation and refusals said."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from planner.catalog import Catalog, load_scenario
from planner.search.measurements import Measurement, over_draws
from planner.search.predict import Asked, Prediction, simulate
from planner.spec.deployment import Deployment
from planner.testing import TINY_YAML

SCENARIO = TINY_YAML.replace("rate: 2/s", "rate: 8/s%s").replace("requests_per_probe: 200", "requests_per_probe: 300")
POOL = {
    "name": "chat", "model": "llama-3.1-8b", "node": "h100", "accelerator": "h100-sxm5-80gb", "weights": "fp8",
    "kv": "fp8",
}  # fmt: skip
Run = Callable[..., Prediction]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Simulate one replica under eight requests per second, times a factor, with further words on the arrivals."""

    def simulated(asked: Asked | None = None, factor: float = 1.0, arrivals: str = "") -> Prediction:
        (tmp_path / "tiny.yaml").write_text(SCENARIO % arrivals)
        deployment = Deployment.model_validate({"pools": [POOL], "routes": [{"request_class": "chat", "pool": "chat"}]})
        scenario = load_scenario(tmp_path / "tiny.yaml", Catalog.open())
        return simulate(scenario, deployment, factor=factor, asked=asked)

    return simulated


def value(found: Prediction, metric: str, statistic: str, period: int = -1) -> float:
    (row,) = [r for r in found.measurements if (r.metric, r.statistic, r.period) == (metric, statistic, period)]
    return row.value


@pytest.mark.parametrize("factor", [1.0, 20.0])
def test_shares_are_shares(run: Run, factor: float) -> None:
    found = run(factor=factor)
    for metric in ("MFU", "MBU", "utilisation", "utilisation by prefill", "KV occupancy"):
        assert 0 < value(found, metric, "mean") <= 1, metric
    assert value(found, "utilisation by prefill", "mean") < value(found, "utilisation", "mean")
    assert value(found, "KV occupancy", "mean") < value(found, "KV occupancy", "peak")


def test_mfu_is_the_models_work_over_the_peak(run: Run) -> None:
    """2 flops per parameter and token; attention adds a few percent at these lengths, the vocabulary is not multiplied
    for every prompt token."""
    found = run(factor=4.0)
    (one,) = found.seen
    work = one.run.pools["chat"].work
    flop = 2 * 7.5e9 * (work.prefill_tokens + work.decode_tokens)
    assert value(found, "MFU", "mean") == pytest.approx(flop / (1979e12 * work.span_s), rel=0.15)


def test_a_saturated_deployment_shows_no_smooth_waiting_time(run: Run) -> None:
    found = run(factor=30.0)
    bounded = {(r.metric, r.statistic) for r in found.measurements if r.at_least}
    assert {("ttft", "p50"), ("ttft", "p99"), ("e2e", "p50"), ("queue", "mean")} <= bounded
    assert any("saturated at" in warning and "req/s of 240" in warning for warning in found.warnings)
    assert not any(r.at_least for r in run().measurements)


def test_periods_add_up_to_the_day(run: Run) -> None:
    """A day shape of four steps: every request is in one period, and the busy ones are the busy ones."""
    found = run(Asked(period_s=30.0), arrivals=", profile: [0.2, 1, 0.5, 0.1], profile_step: 30 s")
    requests = [value(found, "requests", "count", k) for k in range(4)]
    assert sum(requests) == value(found, "requests", "count")
    assert np.allclose(requests, [48, 240, 120, 24], rtol=0.35)
    assert value(found, "ttft", "p50", 1) > value(found, "ttft", "p50", 3)
    assert sum(value(found, "output tokens", "mean", k) for k in range(4)) * 30 == pytest.approx(64 * sum(requests))
    (one,) = found.seen
    assert one.run.arrival_s.max() < 120


def test_draws_give_an_interval_and_the_same_one_again(run: Run) -> None:
    one, two = run(Asked(draws=4)), run(Asked(draws=4))
    assert one.measurements == two.measurements
    (ttft,) = [r for r in one.measurements if (r.metric, r.statistic) == ("ttft", "mean")]
    assert ttft.lo < ttft.value < ttft.hi
    assert (ttft.hi - ttft.lo) / ttft.value < 0.2


def test_the_interval_is_students() -> None:
    """Four values 1, 2, 3, 4: mean 2.5, deviation sqrt(5/3), t(0.95, 3) = 2.353."""
    rows = [[Measurement("class", "chat", "ttft", "p50", "s", float(v), at_least=v == 3)] for v in (1, 2, 3, 4)]
    (found,) = over_draws(rows)
    half = 2.353 * math.sqrt(5 / 3) / 2
    assert (found.value, found.at_least) == (2.5, True)
    assert (found.lo, found.hi) == pytest.approx((2.5 - half, 2.5 + half))


def test_the_interval_holds_the_truth_nine_times_in_ten() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(2000):
        draws = [[Measurement("class", "chat", "x", "mean", "s", float(v))] for v in random.normal(5, 2, 5)]
        (found,) = over_draws(draws)
        hits += found.lo <= 5 <= found.hi
    assert hits / 2000 == pytest.approx(0.9, abs=0.02)
