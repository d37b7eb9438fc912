"""Token counts from distributions: inverse CDFs of normal scores. It holds no random state and knows no arrivals.

A count is a monotone function of a standard normal score, so two scores with correlation rho make a Gaussian copula
(Nelsen, An Introduction to Copulas, 2006, section 2.3) whatever the two distributions are.
"""

from __future__ import annotations

import math

import numpy as np

from planner.spec.lengths import Length, Lognormal, Quantiles
from planner.spec.requests import Floats, Ints
from planner.spec.workload import Lengths

MOST_TOKENS = 2.0**31


def correlated(scores: Floats, rho: float) -> tuple[Floats, Floats]:
    """Two standard normal columns [n] with correlation rho from independent ones `scores` [n, 2]."""
    return scores[:, 0], rho * scores[:, 0] + math.sqrt(1.0 - rho * rho) * scores[:, 1]


def token_pairs(lengths: Lengths, scores: Floats) -> tuple[Ints, Ints]:
    """Input and output tokens [n] of n requests from independent standard normals [n, 2]."""
    of_input, of_output = correlated(scores, lengths.correlation)
    return tokens(lengths.input, of_input), tokens(lengths.output, of_output)


def tokens(length: Length, scores: Floats) -> Ints:
    """Whole tokens, from 1 to MOST_TOKENS, at the given standard normal scores [n]."""
    whole: Ints = np.clip(np.rint(_inverse(length, scores)), 1.0, MOST_TOKENS).astype(np.int64)
    return whole


def _inverse(length: Length, scores: Floats) -> Floats:
    if length.fixed is not None:
        return np.full(len(scores), float(length.fixed), dtype=np.float64)
    if length.uniform is not None:
        low, high = length.uniform.low, length.uniform.high
        counts: Floats = np.clip(low + np.floor(levels_of(scores) * (high - low + 1)), low, high)
        return counts
    if length.lognormal is not None:
        mu, sigma = mu_sigma(length.lognormal)
        return np.clip(np.exp(mu + sigma * scores), 0.0, float(length.lognormal.max or np.inf))
    table = _table(length)
    return np.asarray(np.interp(levels_of(scores), table.levels, table.values), dtype=np.float64)


def _table(length: Length) -> Quantiles:
    assert length.quantiles is not None  # Length holds exactly one form
    return length.quantiles


def levels_of(scores: Floats) -> Floats:
    return np.array([normal_cdf(z) for z in scores.tolist()], dtype=np.float64)


def normal_cdf(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def mu_sigma(law: Lognormal) -> tuple[float, float]:
    """Of ln(tokens), from mean and coefficient of variation: sigma^2 = ln(1 + cv^2), mu = ln(mean) - sigma^2/2."""
    variance = math.log1p(law.cv * law.cv)
    return math.log(law.mean) - variance / 2, math.sqrt(variance)


def mean_tokens(length: Length) -> float:
    """Expected tokens, before rounding to whole tokens (which moves it by less than half a token)."""
    if length.fixed is not None:
        return float(length.fixed)
    if length.uniform is not None:
        return (length.uniform.low + length.uniform.high) / 2
    if length.lognormal is not None:
        return _lognormal_mean(length.lognormal)
    table = _table(length)
    return float(np.trapezoid(table.values, table.levels))


def _lognormal_mean(law: Lognormal) -> float:
    """E[min(X, max)] of the lognormal: its mean below the cut plus the cut times the probability above it."""
    if law.max is None:
        return law.mean
    mu, sigma = mu_sigma(law)
    z = (math.log(law.max) - mu) / sigma
    return law.mean * normal_cdf(z - sigma) + law.max * normal_cdf(-z)
