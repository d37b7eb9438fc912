"""Times from distributions: inverse CDFs of normal scores, as for token counts. It holds no random state."""

from __future__ import annotations

import math

import numpy as np

from planner.spec.graph import Duration, LognormalTime
from planner.spec.requests import Floats
from planner.traffic.lengths import levels_of, normal_cdf


def seconds(duration: Duration, scores: Floats) -> Floats:
    """Seconds at the given standard normal scores [n]."""
    if duration.fixed_s is not None:
        return np.full(len(scores), duration.fixed_s)
    if duration.uniform is not None:
        low, high = duration.uniform.low_s, duration.uniform.high_s
        return np.asarray(low + levels_of(scores) * (high - low))
    if duration.exponential_s is not None:
        survivors = np.array([normal_cdf(-z) for z in scores.tolist()])
        return np.asarray(-duration.exponential_s * np.log(survivors))
    mu, sigma = _mu_sigma(_lognormal(duration))
    return np.asarray(np.minimum(np.exp(mu + sigma * scores), _lognormal(duration).max_s or np.inf))


def _lognormal(duration: Duration) -> LognormalTime:
    assert duration.lognormal is not None  # Duration holds exactly one form
    return duration.lognormal


def _mu_sigma(law: LognormalTime) -> tuple[float, float]:
    variance = math.log1p(law.cv * law.cv)
    return math.log(law.mean_s) - variance / 2, math.sqrt(variance)
