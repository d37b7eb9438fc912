"""fit: anchors -> the factors that bring their predictions nearest, shrunk towards 1. Reads and writes no files.

Least squares in logarithms over all anchors at once, through the simulator: TPOT and TTFT of every point together say
what a decode step, a prefill, a launch floor and the time outside the engine cost, because each moves them in another
proportion at another load and length. A factor nobody can see in the points stays where its prior is: at 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.calibrate.anchors import Anchor, experiments, predicted
from planner.spec.correction import Factors

Floats = NDArray[np.float64]

# In the order in which points can tell them apart. Width of the prior: standard deviation of the logarithm. The best of
# five settings on the development points, 3 anchors of a configuration against its others (TPOT / TTFT): these 5.8 /
# 18.0 %; a quarter narrower with noise .06 and .25 6.3 / 21.0 %; without floor and lag 6.7 / 21.7; a ratio 7.0 / 26.6.
# A robust loss (Huber at 2 sigma) gains on the worst configurations and loses on the median one: 5.3 / 24.0 against
# 5.0 / 19.2 % on a later profile.
PRIOR = {"decode": 0.4, "prefill": 0.6, "request": 1.5, "batch": 0.4, "prefill_floor": 1.0, "admission_lag": 1.0}
NOISE = {"tpot": 0.05, "ttft": 0.15, "e2e": 0.05}
"""Standard deviation of the logarithm that a repeated measurement of the same configuration shows, and model error."""
FACTORS_PER_POINT = 2
ROUNDS, NUDGE, LONGEST_STEP, ENOUGH = 3, 0.1, 1.5, 0.05
MOST_FOLDS = 8


@dataclass(frozen=True, slots=True)
class Errors:
    """Logarithms of predicted over measured by metric (tpot, ttft, e2e), one per anchor that measured it."""

    by_metric: dict[str, tuple[float, ...]]

    def median(self, metric: str) -> float | None:
        """Median absolute relative error."""
        found = self.by_metric.get(metric)
        return float(np.median([abs(math.expm1(value)) for value in found])) if found else None


def free_factors(anchors: Sequence[Anchor]) -> tuple[str, ...]:
    """The factors that so many different points may set: at most two for each."""
    return tuple(PRIOR)[: FACTORS_PER_POINT * len(experiments(anchors))]


def fit(anchors: Sequence[Anchor]) -> Factors:
    """Gauss-Newton on the anchors' errors and the prior; a step that does not help is halved twice, then it ends."""
    names = free_factors(anchors)
    at = np.zeros(len(names))
    residuals = _residuals(anchors, names, at)
    for _ in range(ROUNDS):
        step = _step(anchors, names, at, residuals)
        better = _line_search(anchors, names, at, step, float(residuals @ residuals))
        if better is None:
            break
        gain = float(residuals @ residuals - better[1] @ better[1])
        at, residuals = better
        if gain < ENOUGH:
            break
    return _factors(names, at)


def errors(anchors: Sequence[Anchor], factors: Factors) -> Errors:
    """How far predictions with these factors lie from the anchors."""
    found: dict[str, list[float]] = {}
    for anchor in anchors:
        for metric, value in _logarithms(anchor, factors).items():
            found.setdefault(metric, []).append(value)
    return Errors({metric: tuple(values) for metric, values in found.items()})


def held_out(anchors: Sequence[Anchor]) -> Errors:
    """Errors of each anchor when it had no part in the fit: one left out at a time, by eighths when there are many.

    Repeats are left out together.
    """
    different = experiments(anchors)
    folds = min(len(different), MOST_FOLDS)
    found: dict[str, list[float]] = {}
    for fold in range(folds):
        left_out = [a for i, same in enumerate(different) if i % folds == fold for a in same]
        kept = [a for i, same in enumerate(different) if i % folds != fold for a in same]
        for metric, values in errors(left_out, fit(kept)).by_metric.items():
            found.setdefault(metric, []).extend(values)
    return Errors({metric: tuple(values) for metric, values in found.items()})


def _step(anchors: Sequence[Anchor], names: tuple[str, ...], at: Floats, residuals: Floats) -> Floats:
    slopes = [(_residuals(anchors, names, at + NUDGE * unit) - residuals) / NUDGE for unit in np.eye(len(names))]
    step = -np.linalg.lstsq(np.array(slopes).T, residuals, rcond=None)[0]
    return np.asarray(np.clip(step, -LONGEST_STEP, LONGEST_STEP))


def _line_search(
    anchors: Sequence[Anchor], names: tuple[str, ...], at: Floats, step: Floats, before: float
) -> tuple[Floats, Floats] | None:
    for share in (1.0, 0.5, 0.25):
        there = at + share * step
        residuals = _residuals(anchors, names, there)
        if residuals @ residuals < before:
            return there, residuals
    return None


def _residuals(anchors: Sequence[Anchor], names: tuple[str, ...], at: Floats) -> Floats:
    """Errors in units of their noise, then distances from 1 in units of the prior."""
    factors = _factors(names, at)
    found = [value / NOISE[metric] for a in anchors for metric, value in _logarithms(a, factors).items()]
    return np.array([*found, *(value / PRIOR[name] for name, value in zip(names, at, strict=True))])


def _factors(names: tuple[str, ...], at: Floats) -> Factors:
    return Factors(**{name: math.exp(value) for name, value in zip(names, at, strict=True)})


def _logarithms(anchor: Anchor, factors: Factors) -> dict[str, float]:
    """tpot and ttft where measured; the whole request only where tpot was not."""
    values = predicted(anchor, factors)
    metrics = ("tpot", "ttft") if anchor.column("tpot") else ("e2e", "ttft")
    columns = {metric: anchor.column(metric) for metric in metrics}
    return {m: math.log(values[name] / anchor.measured[name]) for m, name in columns.items() if name in values}
