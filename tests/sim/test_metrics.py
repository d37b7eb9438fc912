"""Definitions of the metrics, lower bounds of unfinished requests, gap quantiles, saturation."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from planner.sim.backlog import saturated
from planner.sim.gaps import BINS, bin_end_s, gap_bin, last_in_bin
from planner.sim.metrics import LEVELS, e2e_s, meets, summarise, tpot_s, ttft_s
from planner.sim.simulate import Run, simulate
from planner.spec.slo import Slo


def slo(**limits: Any) -> Slo:
    return Slo.model_validate(limits)


def busy_run(world: Any, n: int = 400, rate: float = 20.0, **options: Any) -> Run:
    random = np.random.default_rng(2)
    requests = world.some_requests(
        np.cumsum(random.exponential(1 / rate, n)), random.integers(1, 900, n), random.integers(1, 200, n),
        classes=random.integers(0, 2, n),
    )  # fmt: skip
    deployment = world.one_pool(classes=("chat", "code"))
    return simulate(deployment, {"all": world.a_replica(max_seqs=16)}, requests, **options)


def test_quantiles_are_numpys(world: Any) -> None:
    run = busy_run(world)
    found = summarise(run)["chat"].metrics
    mine = run.class_index == 0
    for metric, values in (("ttft", ttft_s(run)), ("e2e", e2e_s(run)), ("tpot", tpot_s(run))):
        there = values[mine & ~np.isnan(values)]
        assert found[metric].count == len(there)
        assert found[metric].bounded == ()
        assert found[metric].values_s["mean"] == pytest.approx(there.mean(), rel=1e-12)
        for name, level in LEVELS.items():
            assert found[metric].values_s[name] == pytest.approx(np.quantile(there, level), rel=1e-12)


def test_one_output_token_has_no_tpot(world: Any) -> None:
    run = simulate(world.one_pool(), {"all": world.a_replica()}, world.some_requests(np.zeros(3), 100, [1, 2, 1]))
    assert np.isnan(tpot_s(run)).tolist() == [True, False, True]
    assert summarise(run)["chat"].metrics["tpot"].count == 1


def test_unfinished_requests_count_with_their_lower_bound(world: Any) -> None:
    """Short answers have ended, long ones have not: the survivors alone look fast, all together do not."""
    requests = world.some_requests(np.arange(60) * 0.01, 100, np.where(np.arange(60) % 3, 20, 3000))
    whole, cut = (
        simulate(world.one_pool(), {"all": world.a_replica()}, requests, horizon_s=horizon) for horizon in (None, 2.0)
    )
    full, seen = summarise(whole)["chat"].metrics["e2e"], summarise(cut)["chat"].metrics["e2e"]
    survivors = np.isfinite(cut.finish_s)
    assert survivors.sum() == 40
    assert seen.count == 60
    assert seen.bounded == ("mean", "p90", "p95", "p99")
    assert seen.values_s["p50"] == full.values_s["p50"]
    assert 10 * e2e_s(cut)[survivors].max() < seen.values_s["p90"] <= full.values_s["p90"]
    for limit, met in (({"p50": "1 s"}, True), ({"p90": "1000 s"}, False)):
        assert summarise(cut, {"chat": slo(e2e=limit)})["chat"].met is met


def test_gap_quantiles_against_gaps_written_out(world: Any) -> None:
    """Two equal requests that start together: every gap is one decode step, whose price is known."""
    requests = world.some_requests(np.zeros(2), 600, 400)
    run = simulate(world.one_pool(), {"all": world.a_replica()}, requests)
    gaps = np.repeat([2e-3 + 2e-6 + 1e-9 * 2 * (600 + k) for k in range(1, 400)], 2)
    found = summarise(run)["chat"].metrics["itl"]
    assert found.count == len(gaps)
    assert found.values_s["mean"] == pytest.approx(gaps.mean(), rel=1e-9)
    assert run.largest_gap_s.max() == pytest.approx(gaps.max(), rel=1e-12)
    for name, level in LEVELS.items():
        assert found.values_s[name] == pytest.approx(np.quantile(gaps, level), rel=1 / 256)


@pytest.mark.parametrize("gap", [1e-9, 2.0**-22, 3e-6, 0.0123, 0.5, 1.0, 77.7, 5e3])
def test_bins_hold_their_gaps(gap: float) -> None:
    b = gap_bin(gap)
    if 0 < b < BINS - 1:
        assert bin_end_s(b - 1) <= gap < bin_end_s(b)
        assert bin_end_s(b) - bin_end_s(b - 1) <= gap / 256
    assert 0 <= b < BINS


def test_a_ramp_fills_the_bins_of_its_gaps() -> None:
    for first, slope, steps in ((0.01, 1e-6, 5000), (0.02, 3e-4, 400), (0.0101, 0.0, 77), (1e-3, 1e-9, 10**6)):
        counts = np.zeros(BINS, np.int64)
        j = 1
        while j <= steps:
            b = gap_bin(first + slope * j)
            last = last_in_bin(first, slope, j, steps, b)
            counts[b] += last - j + 1
            j = last + 1
        sample = np.unique(np.linspace(1, steps, 500).astype(np.int64))
        edges = np.cumsum(counts)
        assert counts.sum() == steps
        for k in sample:
            assert int(np.searchsorted(edges, k)) == gap_bin(first + slope * int(k))


def test_attainment_is_joint_and_rejected_requests_miss(world: Any) -> None:
    requests = world.some_requests(np.zeros(4), [100, 100, 100, 10**6], [1, 50, 50, 5])
    run = simulate(world.one_pool(), {"all": world.a_replica(max_tokens_per_step=100)}, requests)
    limit = float(ttft_s(run)[1])
    found = summarise(run, {"chat": slo(ttft=f"{limit!r} s", attainment=0.5)})["chat"]
    assert found.attainment == 0.5
    assert found.rejected == 1
    assert not found.met
    gaps = slo(ttft="100 s", itl=f"{float(run.largest_gap_s[2]) * 0.999!r} s")
    assert meets(run, gaps).tolist() == [True, False, False, False]


def test_warm_up_leaves_out_the_first(world: Any) -> None:
    run = busy_run(world, warmup=0.25)
    counted = summarise(run)
    assert sum(one.requests for one in counted.values()) == 300
    assert run.gap_count.sum() == (run.output_tokens[100:] - 1).sum()


@pytest.mark.parametrize(("rate", "answer"), [(1.0, False), (3.0, False), (8.0, True), (100.0, True), (1e6, True)])
def test_saturation(world: Any, rate: float, answer: bool) -> None:
    """Sixteen seats serve about 5 of these per second."""
    random = np.random.default_rng(4)
    gaps = random.exponential(1 / rate, 2000)
    requests = world.some_requests(np.cumsum(gaps), 500, 300)
    replica = world.a_replica(cost=world.constant_cost(0.01), max_seqs=16)
    run = simulate(world.one_pool(), {"all": replica}, requests)
    assert saturated(run) is answer
    assert not saturated(simulate(world.one_pool(), {"all": replica}, dataclasses.replace(requests, concurrency=99)))
