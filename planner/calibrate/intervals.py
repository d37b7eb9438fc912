"""80 % intervals of predicted metrics from the errors of rows that the fit never saw. Not the prediction itself."""

from __future__ import annotations

from planner.calibrate.cases import Case
from planner.calibrate.predict import Prediction


def with_interval(case: Case, prediction: Prediction) -> dict[str, float]:
    """The metric columns and, for each, `_lo` and `_hi`."""
    found = dict(prediction.metrics)
    width = 1.0 + case.profile.rel_error
    for name, value in prediction.metrics.items():
        factor = width * width if name.startswith("ttft") else width
        found[f"{name}_lo"], found[f"{name}_hi"] = value / factor, value * factor
    return found
