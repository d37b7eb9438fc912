"""Arrival processes against what they should count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from planner.spec.workload import Arrivals
from planner.traffic.arrivals import mean_rate_per_s, open_loop, peak_rate_per_s, unit_gaps

N = 200_000


def gaps(cv: float, n: int = N, seed: int = 3) -> np.ndarray:
    return unit_gaps(np.random.default_rng(seed), cv, n)


def at_rate(rate: float, **fields: object) -> Arrivals:
    return Arrivals.model_validate({"rate": f"{rate}/s", **fields})


@pytest.mark.parametrize("cv", [0.25, 0.5, 1.0, 2.0, 3.0])
def test_gaps_have_mean_one_and_their_cv_within_two_percent(cv: float) -> None:
    drawn = gaps(cv)
    assert drawn.mean() == pytest.approx(1.0, abs=4 * cv / np.sqrt(N))
    assert drawn.std() / drawn.mean() == pytest.approx(cv, rel=0.02)


def test_cv_one_is_poisson() -> None:
    assert stats.kstest(gaps(1.0, 20_000), "expon").pvalue > 0.01
    times = open_loop(at_rate(50.0), gaps(1.0), 1.0)
    counts = np.histogram(times, np.arange(0, int(times[-1])))[0]
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.1)


def test_gamma_gaps_are_gamma() -> None:
    assert stats.kstest(gaps(2.0, 20_000), stats.gamma(0.25, scale=4.0).cdf).pvalue > 0.01


def test_profile_multiplies_the_rate_step_by_step_and_repeats() -> None:
    arrivals = at_rate(40.0, profile=(0.5, 2.0, 0.0, 1.5), profile_step="60 s")
    times = open_loop(arrivals, gaps(1.0), 1.0)
    counts = np.histogram(times, np.arange(0, times[-1] - 60, 60))[0]
    by_step = [counts[step::4] for step in range(4)]
    for measured, factor in zip(by_step, (0.5, 2.0, 0.0, 1.5), strict=True):
        expected = 40.0 * factor * 60
        assert measured.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / len(measured)) + 1e-9)
    assert mean_rate_per_s(arrivals) == 40.0
    assert peak_rate_per_s(arrivals) == 80.0


def test_flat_profile_is_no_profile() -> None:
    plain = open_loop(at_rate(7.0), gaps(1.0, 1000), 1.0)
    flat = open_loop(at_rate(7.0, profile=(1.0, 1.0, 1.0), profile_step="10 s"), gaps(1.0, 1000), 1.0)
    assert flat == pytest.approx(plain, rel=1e-12)


def test_gaps_that_end_exactly_on_an_edge_find_the_next_busy_step() -> None:
    arrivals = at_rate(1.0, profile=(1.0, 0.0, 1.0, 0.0), profile_step="10 s")
    times = open_loop(arrivals, np.full(6, 5.0), 1.0)
    assert times.tolist() == pytest.approx([5.0, 20.0, 25.0, 40.0, 45.0, 60.0])


@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=6).filter(lambda p: max(p) > 0.01),
    st.floats(0.01, 100),
    st.floats(0.1, 10),
)
@settings(deadline=None)
def test_times_rise_and_invert_the_integral_of_the_rate(profile: list[float], rate: float, scale: float) -> None:
    work = gaps(1.0, 200)
    times = open_loop(at_rate(rate, profile=profile, profile_step="30 s"), work, scale)
    assert (np.diff(times) >= 0).all()
    edges = np.concatenate(([0.0], np.cumsum(np.array(profile) * rate * scale * 30.0)))
    rounds, rest = np.divmod(times, 30.0 * len(profile))
    integral = rounds * edges[-1] + np.interp(rest, 30.0 * np.arange(len(profile) + 1), edges)
    assert integral == pytest.approx(np.cumsum(work), rel=1e-6, abs=1e-6 * edges[-1])
