"""Ways to price the work of a stage: `roofline`, `analytic`, `fitted`, `default`. Registered by name; one file each."""

from planner.perf.estimators import analytic, blend, fitted, roofline
from planner.perf.estimators.base import ESTIMATORS, Estimator

__all__ = ["ESTIMATORS", "Estimator", "analytic", "blend", "fitted", "roofline"]
