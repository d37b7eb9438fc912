"""Ways to price a step, registered by name, one file each.

By operator: `roofline`, `analytic`, `fitted`, `default`. By whole step: `silicon`.
"""

from planner.perf.estimators import analytic, blend, fitted, roofline, silicon
from planner.perf.estimators.base import ESTIMATORS, WHOLE_STEPS, Estimator, StepSource

__all__ = ["ESTIMATORS", "WHOLE_STEPS", "Estimator", "StepSource", "analytic", "blend", "fitted", "roofline", "silicon"]
