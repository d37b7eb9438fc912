"""The replay on steps that one can add up by hand, and the arithmetic of errors and ranks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planner.calibrate.runs.experiment import CLASS, POOL, Experiment, Part, Settings, one_pool, requests_of
from planner.calibrate.runs.replay import METRICS, Seen, predicted
from planner.calibrate.runs.score import Point, median_ape, median_bias, order, points_of, ratios, select
from planner.spec.deployment import Pool
from planner.spec.step import Replica, StepCost

STEP_S, REQUEST_S = 0.01, 0.004


def replica(**changes: Any) -> Replica:
    """Every step takes 10 ms; requests reach the queue after 4 ms."""
    nothing = np.zeros(9)
    cost = StepCost(
        decode_s=np.full(9, STEP_S), decode_context_s=nothing, decode_window_s=nothing, linear_s=np.zeros(9),
        linear_stride=512, pair_s=0.0, window_pair_s=0.0, context_s=0.0, chunk_s=0.0, prefill_floor_s=0.0,
        window_tokens=0, source="by hand", rel_error=0.0,
    )  # fmt: skip
    given = Replica(cost=cost, scheduler="vllm_v1", max_seqs=8, max_tokens_per_step=512, kv_blocks=100, block_tokens=16,
                    request_s=REQUEST_S)  # fmt: skip
    return replace(given, **changes)


def experiment(*metrics: str, engine_clock: bool = False) -> Experiment:
    """Two phases of one request each, 5 and 3 tokens long."""
    pool = Pool(name=POOL, model="m", node="n", accelerator="a")
    phases = tuple(requests_of(np.zeros(1), np.array([32]), np.array([n])) for n in (5, 3))
    measured = dict.fromkeys(metrics, 1.0)
    parts = (Part("all", np.arange(2), measured), Part("1", np.array([1]), measured))
    return Experiment("x", one_pool(pool), Settings("vllm", "0.15.1"), phases, parts, engine_clock)


def test_phases_meet_an_empty_server_and_parts_pick_their_requests() -> None:
    found = predicted(experiment("ttft_mean_ms", "e2e_mean_ms", "tpot_mean_ms"), replica())
    assert found["all"] == pytest.approx({"ttft_mean_ms": 14.0, "e2e_mean_ms": 44.0, "tpot_mean_ms": 10.0})
    assert found["1"] == pytest.approx({"ttft_mean_ms": 14.0, "e2e_mean_ms": 34.0, "tpot_mean_ms": 10.0})


def test_times_of_the_engine_leave_out_what_comes_before_the_queue() -> None:
    found = predicted(experiment("ttft_mean_ms", "e2e_mean_ms", engine_clock=True), replica())
    assert found["all"] == pytest.approx({"ttft_mean_ms": 10.0, "e2e_mean_ms": 40.0})


def test_pace_and_pooled_tpot_are_what_their_sources_print() -> None:
    found = predicted(experiment("pace_mean_ms", "tpot_pooled_ms"), replica())
    assert found["all"] == pytest.approx({"pace_mean_ms": (54 / 5 + 34 / 3) / 2, "tpot_pooled_ms": (40 + 20) / 8})


def test_a_request_that_never_fits_counts_nowhere() -> None:
    tight = replica(kv_blocks=2, block_tokens=16)
    run = experiment("ttft_mean_ms")
    small = requests_of(np.zeros(2), np.array([16, 500]), np.array([2, 2]))
    run = replace(run, phases=(small,), parts=(Part("all", np.arange(2), {"ttft_mean_ms": 1.0}),))
    assert predicted(run, tight)["all"]["ttft_mean_ms"] == pytest.approx(14.0)


def test_every_metric_of_identical_requests_is_that_request() -> None:
    same = Seen(np.full(7, 0.1), np.full(7, 1.1), np.full(7, 0.05), np.full(7, 21.0))
    expected = {"ttft": 0.1, "e2e": 1.1, "tpot": 0.05, "pace": 1.1 / 21}
    for name, metric in METRICS.items():
        kind = name.split("_")[0]
        assert metric(same) == pytest.approx(1.0 / 21 if name == "tpot_pooled_ms" else expected[kind])


def test_arrivals_are_sorted_with_their_lengths_and_their_cached_tokens() -> None:
    made = requests_of(np.array([2.0, 1.0]), np.array([20, 10]), np.array([4, 3]), np.array([16, 0]))
    assert (made.input_tokens.tolist(), made.output_tokens.tolist()) == ([10, 20], [3, 4])
    assert made.cached_tokens is not None
    assert made.cached_tokens.tolist() == [0, 16]
    assert made.class_names == (CLASS,)


def point(measured: float, guess: float, part: str = "all") -> Point:
    return Point("x", "gpu", part, "e2e_mean_ms", measured, guess)


def test_errors_are_relative_to_the_measurement() -> None:
    points = [point(10, 11), point(10, 8), point(10, 10)]
    assert median_ape(points) == pytest.approx(0.1)
    assert median_bias(points) == pytest.approx(0.0)
    assert np.isnan(median_ape([]))


def test_stages_are_the_parts_that_are_not_the_whole() -> None:
    points = [point(1, 1), point(1, 1, "0"), point(1, 1, "1")]
    assert [p.part for p in select(points, part="stages")] == ["0", "1"]
    assert select(points, metric="ttft_mean_ms") == []


def test_points_pair_what_was_measured_with_what_was_predicted() -> None:
    run = experiment("e2e_mean_ms")
    (whole, last) = points_of(run, {"all": {"e2e_mean_ms": 2.0}, "1": {"e2e_mean_ms": 0.5}})
    assert (whole.part, whole.error, last.part, last.error) == ("all", 1.0, "1", -0.5)


def test_plans_rank_by_time_and_compare_with_the_base() -> None:
    times = {"tp8": 2.0, "dp4tp2": 5.0, "dp2tp4": 3.0}
    assert order(times) == ("tp8", "dp2tp4", "dp4tp2")
    assert ratios(times, "tp8") == {"dp4tp2": 2.5, "dp2tp4": 1.5}
