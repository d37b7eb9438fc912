"""Backlog: who waits while requests arrive, and whether ever more do. Not how long they wait, which is in `metrics`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.sim.simulate import Run


@dataclass(frozen=True, slots=True)
class Backlog:
    """Time-averaged number of waiting requests in the last three quarters of the time in which requests arrive.

    few: so many may wait in the last quarter, however it came.
    """

    second: float
    third: float
    last: float
    few: float

    @property
    def grew(self) -> bool:
        """More than `few` in the last quarter, and 1.5 times the third, or 1.2 times the third and that 1.2 times the
        second: growth by equal amounts, 1 : 3 : 5 : 7, never reaches 1.5."""
        steadily = self.last > 1.2 * self.third and self.third > 1.2 * self.second
        return self.last > self.few and (self.last > 1.5 * self.third or steadily)

    @property
    def slack(self) -> float:
        """By what factor it misses growing; below 1 when it grew."""
        third, last = max(self.third, 1e-9), max(self.last, 1e-9)
        return max(self.few / last, min(1.5 * third / last, max(1.2 * third / last, 1.2 * self.second / third)))


def saturated(run: Run) -> bool:
    """Whether the backlog grew until the end of an open-loop run, so that its latencies say nothing."""
    found = backlog(run)
    return found is not None and found.grew


def backlog(run: Run) -> Backlog | None:
    """Who waited in an open-loop run; None with fewer than 20 requests. Few: 2 % of the requests, at least 8."""
    here = ~run.rejected & (run.arrival_s <= run.end_s)
    came = run.arrival_s[here & run.entries]
    if not run.open_loop or len(came) < 20:
        return None
    begin, end = came.min(), came.max()
    if end <= begin:
        return None
    edges = begin + (end - begin) * np.array([0.25, 0.5, 0.75, 1.0])
    second, third, last = (_mean_backlog(run, here, a, b) for a, b in zip(edges, edges[1:], strict=False))
    return Backlog(second, third, last, max(8.0, 0.02 * float(run.entries.sum())))


def _mean_backlog(run: Run, here: NDArray[np.bool_], start_s: float, end_s: float) -> float:
    """Time-averaged number of requests that have arrived and are not admitted."""
    begin = np.clip(run.arrival_s[here], start_s, end_s)
    admitted = np.clip(np.minimum(run.admitted_s[here], run.end_s), start_s, end_s)
    return float((admitted - begin).sum() / (end_s - start_s))
