"""Ways to price a step, registered by name, one file each.

By operator: `roofline`, `analytic`, `fitted` (the default), `table`. By whole step: `silicon`.
"""

from planner.perf.estimators import analytic, fitted, roofline, silicon, table
from planner.perf.estimators.base import ESTIMATORS, WHOLE_STEPS, Estimator, StepSource

__all__ = ["ESTIMATORS", "WHOLE_STEPS", "Estimator", "StepSource", "analytic", "fitted", "roofline", "silicon", "table"]
