"""Verdict: whether a run keeps the promises of its classes, and how nearly. Not the metrics, which it asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from planner.sim.backlog import backlog
from planner.sim.metrics import Statistics, gap_statistics, meets, met, seen, statistics_of
from planner.sim.simulate import Run
from planner.sim.turns import turns
from planner.spec.slo import Slo

AMPLE = 10.0
"""Slack of a promise that is kept so easily that nobody needs to know how easily."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """held: every SLO of every class is met, nobody was refused, and the backlog does not grow.

    slack: the least limit over value of all promises, above 1 while all hold and about linear in load near there; for
    reading how far the border is, not for deciding on which side of it a run lies.
    """

    held: bool
    slack: float


@dataclass(frozen=True, slots=True)
class Promise:
    """What one class was promised and what it got: the metrics that its SLO limits, its attainment, whether it is met.

    As in `ClassSummary`, of which only what decides is computed.
    """

    slo: Slo
    metrics: Mapping[str, Statistics]
    attainment: float | None
    met: bool

    @property
    def slack(self) -> float:
        """The least limit over value; of attainment, misses allowed over misses."""
        pairs = [(limit_s, self.metrics[name].values_s.get(level, 0.0)) for name, level, limit_s in self.slo.targets]
        if self.attainment is not None:
            pairs.append((1 - self.slo.attainment, 1 - self.attainment))
        return min((_ratio(limit, value) for limit, value in pairs), default=AMPLE)


def judge(run: Run, slos: Mapping[str, Slo]) -> Verdict:
    """The verdict on a run that ended by itself."""
    kept, waiting = tuple(promises(run, slos)), backlog(run)
    slack = min((one.slack for one in kept), default=AMPLE)
    if waiting is None:
        return Verdict(all(one.met for one in kept), slack)
    held = not waiting.grew and all(one.met for one in kept)
    return Verdict(held, min(slack, waiting.slack, AMPLE))


def holds(run: Run, slos: Mapping[str, Slo]) -> bool:
    """Whether a run keeps every promise; one that a rule ended early does not."""
    return not run.stopped and judge(run, slos).held


def promises(run: Run, slos: Mapping[str, Slo]) -> Iterator[Promise]:
    """One of each class."""
    run = turns(run)
    here = seen(run)
    for c, name in enumerate(run.class_names):
        slo, among = slos.get(name, Slo()), here & (run.class_index == c)
        mine, rejected = run.measured & among, run.rejected & among
        metrics: dict[str, Statistics] = {
            metric: gap_statistics(run, c) if metric == "itl" else statistics_of(run, metric, mine)
            for metric in dict.fromkeys(metric for metric, _, _ in slo.targets)
        }
        asked = int(mine.sum() + rejected.sum())
        attainment = float((meets(run, slo) & mine).sum() / asked) if slo.per_request and asked else None
        yield Promise(slo, metrics, attainment, met(metrics, attainment, slo) and not rejected.any())


def _ratio(limit: float, value: float) -> float:
    return min(limit / value, AMPLE) if value > 0 else AMPLE
