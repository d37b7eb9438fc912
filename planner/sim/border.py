"""Border: the load at which promises begin to break, found with few probes. Not what a probe is.

What holds and what breaks is only what probes have shown; where to probe next is read from how nearly they held: near
the border the slack of a run (limit over value) is about linear in load. When that does not help, the bracket is
halved, so that the worst is bisection.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from planner.sim.simulate import Run
from planner.sim.verdict import AMPLE

REACH = 2.0**40
"""Loads this many times above or below the first guess are not looked for."""
STRIDE = 4.0
"""Most by which one probe goes beyond what holds when nothing has broken yet; its square, downwards."""
BEHIND = 0.85
"""What is finished at a load that breaks is mostly more than could be with the promises kept."""
NEAR = 4.0
"""An expected border closer to a known end than this many tolerances is taken in between two probes."""
PATIENCE = 4
"""Probes in which the bracket must halve."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a probe has shown. run: when the load holds, else None.

    slack: limit over value; 1 = the border, nan = not known. whole: the run was not ended early, so that the slack is
    measured; else it is the share of requests that it took to break. served: rate of finished requests over the rate
    offered.
    """

    run: Run | None
    slack: float = math.nan
    whole: bool = True
    served: float = 1.0


@dataclass(slots=True)
class Search:
    """What is known of a border. low: largest load seen to hold. high: smallest seen to break, else `limit`.

    rest: slack without load, nan = not known. least: smallest load that is looked for.
    """

    guess: float
    tolerance: float
    limit: float
    least: float
    rest: float = math.nan
    low: float = 0.0
    high: float = math.inf
    probes: int = 0
    run: Run | None = None
    broken: list[Outcome] = field(default_factory=list)
    held: list[tuple[float, float]] = field(default_factory=list)
    """(load, slack) where known, `rest` first, in order of load."""
    whole: list[tuple[float, float]] = field(default_factory=list)
    """The same of all runs that were not ended early."""
    widths: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.high = self.limit
        if not math.isnan(self.rest):
            self._measured(0.0, self.rest)

    @property
    def over(self) -> bool:
        if self.low:
            return self.high <= self.low * (1 + self.tolerance) or self.low >= self.guess * REACH
        return self.high <= self.least

    def saw(self, load: float, found: Outcome) -> None:
        """Learn from a probe."""
        self.probes += 1
        if found.run is None:
            self.high = load
            self.broken.append(found)
        else:
            self.low, self.run = load, found.run
        if found.whole and not math.isnan(found.slack):
            self._measured(load, found.slack, found.run is not None)
        self.widths.append(self.high / self.low if self.low else math.inf)

    def _measured(self, load: float, slack: float, held: bool = True) -> None:
        if held != (slack >= 1):  # something that slack does not tell decided, as a refused request
            slack = 1.0 if held else 0.99
        self.whole.append((load, slack))
        if held:
            self.held.append((load, slack))

    def next(self) -> float:
        """The next load to probe."""
        if not self.probes:
            return self.guess
        if not self.low:
            return self._lower()
        if not self.broken:
            return self._higher()
        step = 1 + 0.99 * self.tolerance
        if self.high <= self.low * step**2 or self._stuck():
            return math.sqrt(self.low * self.high)
        return self._close(self._expected(), step)

    def _stuck(self) -> bool:
        """Whether the last probes have not narrowed the bracket as they should."""
        narrowing = ((2, 0.9), (PATIENCE - 1, 0.5))
        return any(self._width(0) > share * self._width(ago) for ago, share in narrowing)

    def _width(self, ago: int) -> float:
        """Of the bracket so many probes ago, as a logarithm."""
        return math.log(self.widths[-1 - ago]) if len(self.widths) > ago else math.inf

    def _lower(self) -> float:
        """Nothing has held yet."""
        last = self.broken[-1]
        load = self._secant()
        if load is None or not last.whole:
            slack = 0.5 if math.isnan(last.slack) else last.slack
            load = self.high * min(BEHIND * last.served, math.cbrt(slack), 0.5 ** (len(self.broken) - 2))
        load = max(min(load, self.high / 1.01), self.high / STRIDE**2)
        return load if load > 1.5 * self.least else self.least

    def _higher(self) -> float:
        """Nothing has broken yet."""
        nearly = self.limit / (1 + 0.99 * self.tolerance)
        slack = self.held[-1][1] if self.held else math.inf
        load = self._extrapolated()
        if self.probes == 1 or math.isinf(load):
            load = min(load, self.low * slack**2)
        load = min(load, self.low * STRIDE)
        return nearly if load >= nearly else max(load, self.low * (1 + self.tolerance))

    def _close(self, load: float, step: float) -> float:
        """Where to probe when the border is expected at `load`, so that two probes enclose it within the tolerance."""
        up, down = math.log(load / self.low), math.log(self.high / load)
        unit = math.log(step)
        if min(up, down) < 0.8 * unit:
            return self.low * step if up < down else self.high / step
        if min(up, down) < NEAR * unit:
            load *= step**-0.5 if up < down else step**0.5
        return min(max(load, self.low * step), self.high / step)

    def _expected(self) -> float:
        """Where the border seems to be, between what holds and what breaks."""
        last = self.broken[-1]
        middle, between = math.sqrt(self.low * self.high), self._secant()
        if self.held and self.held[-1] == (self.low, AMPLE):
            return middle
        if between is not None and last.whole and self.low < between:
            return between
        load = self._extrapolated()
        if load >= self.high:
            load = line(self.held[-1], (self.high, last.slack)) if self.held and last.slack < 1 else middle
        served = last.served * self.high
        if not last.whole and self.low < served < load:
            load = math.sqrt(served * load)
        return load if self.low < load < self.high else middle

    def _extrapolated(self) -> float:
        """Where the slack of what held runs out."""
        if not self.held or self.held[-1][0] != self.low:
            return math.inf
        last = self.held[-1]
        return next((line(one, last) for one in reversed(self.held[:-1]) if one[1] > last[1]), math.inf)

    def _secant(self) -> float | None:
        """Through the two whole runs nearest to the border."""
        by_nearness = sorted(self.whole, key=lambda one: abs(math.log(max(one[1], 1e-9))))
        nearest = sorted(by_nearness[:2])
        if len(nearest) < 2 or nearest[0][1] <= nearest[1][1]:
            return None
        load = line(*nearest)
        return load if 0 < load < self.high else None


def line(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The load where the line through two (load, slack) reaches a slack of 1; the slacks differ."""
    return other[0] + (other[1] - 1) * (other[0] - one[0]) / (one[1] - other[1])


def border(attempt: Callable[[float], Outcome], search: Search) -> Search:
    """Probe until the search is over."""
    while not search.over:
        load = search.next()
        search.saw(load, attempt(load))
    return search
