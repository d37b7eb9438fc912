"""Flights: when each of the steps that are taken together ends. An arithmetic series; nothing is scheduled here."""

from __future__ import annotations

import math
from typing import Any


def after(flight: Any, steps: int) -> float:
    """Time at which the first `steps` steps of a flight have run: an arithmetic series."""
    return float(flight.start_s + (steps * flight.first_s + flight.slope_s * (steps * (steps - 1) / 2)))


def steps_until(flight: Any, now: float) -> int:
    """The first step of a flight that ends at `now` or later; the root of a quadratic, then exact by comparison."""
    elapsed = now - flight.start_s
    b = flight.first_s - flight.slope_s / 2
    root = b + math.sqrt(b * b + 2 * flight.slope_s * elapsed)
    j = flight.steps
    if root > 0.0 and 2 * elapsed / root < j:
        j = max(int(2 * elapsed / root), 1)
    while j > 1 and after(flight, j - 1) >= now:
        j -= 1
    while j < flight.steps and after(flight, j) < now:
        j += 1
    return int(j)
