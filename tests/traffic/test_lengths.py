"""Token counts against the distributions they are drawn from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from planner.spec.lengths import Length, Lognormal, Quantiles, Uniform
from planner.spec.workload import Lengths
from planner.traffic.lengths import mean_tokens, token_pairs, tokens

N = 40_000
FORMS = {
    "fixed": Length(fixed=128),
    "uniform": Length(uniform=Uniform(low=10, high=500)),
    "lognormal": Length(lognormal=Lognormal(mean=800.0, cv=1.5)),
    "cut lognormal": Length(lognormal=Lognormal(mean=800.0, cv=1.5, max=2000)),
    "quantiles": Length(quantiles=Quantiles(levels=(0, 0.5, 0.9, 1), values=(1, 100, 1000, 8000))),
}


def scores(n: int = N, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 2))


@pytest.mark.parametrize("form", FORMS)
def test_sample_mean_is_the_analytic_mean_within_four_standard_errors(form: str) -> None:
    drawn = tokens(FORMS[form], scores()[:, 0])
    assert drawn.dtype == np.int64
    assert abs(drawn.mean() - mean_tokens(FORMS[form])) <= 4 * drawn.std() / np.sqrt(N) + 1e-9


def test_lognormal_has_its_cv() -> None:
    drawn = tokens(Length(lognormal=Lognormal(mean=5000.0, cv=0.5)), scores()[:, 0])
    assert drawn.std() / drawn.mean() == pytest.approx(0.5, rel=0.02)


def test_lognormal_is_lognormal() -> None:
    drawn = tokens(Length(lognormal=Lognormal(mean=5000.0, cv=0.5)), scores()[:, 0])
    sigma = np.sqrt(np.log(1.25))
    law = stats.lognorm(s=sigma, scale=5000.0 / np.sqrt(1.25))
    assert stats.kstest(drawn, law.cdf).pvalue > 0.01


def test_cut_is_never_exceeded_and_holds_the_tail() -> None:
    drawn = tokens(FORMS["cut lognormal"], scores()[:, 0])
    assert drawn.max() == 2000
    sigma = np.sqrt(np.log1p(1.5**2))
    share = stats.lognorm(s=sigma, scale=800.0 / np.sqrt(1 + 1.5**2)).sf(2000)
    assert (drawn == 2000).mean() == pytest.approx(share, abs=4 * np.sqrt(share / N))


def test_uniform_gives_every_count_the_same_chance() -> None:
    drawn = tokens(Length(uniform=Uniform(low=1, high=6)), scores()[:, 0])
    counts = np.bincount(drawn, minlength=7)[1:]
    assert counts.sum() == N
    assert stats.chisquare(counts).pvalue > 0.01


def test_quantile_table_passes_a_kolmogorov_smirnov_test() -> None:
    table = FORMS["quantiles"].quantiles
    assert table is not None
    drawn = tokens(FORMS["quantiles"], scores()[:, 0])
    smooth = drawn + np.random.default_rng(1).uniform(-0.5, 0.5, N)  # undo the rounding to whole tokens
    assert stats.kstest(smooth, lambda x: np.interp(x, table.values, table.levels)).pvalue > 0.01


def test_a_distribution_below_one_token_still_gives_one() -> None:
    assert tokens(Length(lognormal=Lognormal(mean=0.1, cv=1.0)), scores(100)[:, 0]).min() == 1


@pytest.mark.parametrize("rho", [-0.9, -0.4, 0.0, 0.5, 1.0])
def test_copula_gives_the_rank_correlation_of_rho(rho: float) -> None:
    """Spearman of a Gaussian copula is 6/pi asin(rho/2) (Kruskal 1958)."""
    law = Lengths(input=FORMS["lognormal"], output=FORMS["quantiles"], correlation=rho)
    measured = stats.spearmanr(*token_pairs(law, scores())).statistic
    assert measured == pytest.approx(6 / np.pi * np.arcsin(rho / 2), abs=0.015)


def test_correlation_leaves_the_input_as_it_was() -> None:
    free, tied = (
        token_pairs(Lengths(input=FORMS["lognormal"], output=FORMS["uniform"], correlation=rho), scores(500))
        for rho in (0.0, 0.8)
    )
    assert (free[0] == tied[0]).all()
    assert (free[1] != tied[1]).any()


@given(st.floats(-6, 6), st.floats(0, 3), st.sampled_from(sorted(FORMS)))
@settings(max_examples=200, deadline=None)
def test_tokens_never_fall_when_the_score_rises(score: float, step: float, form: str) -> None:
    low, high = tokens(FORMS[form], np.array([score, score + step]))
    assert 1 <= low <= high
