"""Experiment -> the metrics that a simulation of it shows, under the names the experiment measured. Not an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.calibrate.runs.experiment import Experiment, Part
from planner.calibrate.runs.setting import replica_of
from planner.catalog import Catalog
from planner.sim.metrics import e2e_s, tpot_s, ttft_s
from planner.sim.simulate import Run, simulate
from planner.spec.step import Replica

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Seen:
    """Seconds of every request of an experiment: first token, whole request, mean time per later token; and its length.

    nan = not observed (rejected).
    """

    ttft: Floats
    e2e: Floats
    tpot: Floats
    output: Floats

    def of(self, part: Part) -> Seen:
        members = part.members
        return Seen(self.ttft[members], self.e2e[members], self.tpot[members], self.output[members])


def _statistics(kind: str, values: Callable[[Seen], Floats]) -> dict[str, Callable[[Seen], float]]:
    def at(level: float) -> Callable[[Seen], float]:
        return lambda seen: float(np.nanpercentile(values(seen), level))

    mean = {f"{kind}_mean_ms": lambda seen: float(np.nanmean(values(seen)))}
    return mean | {f"{kind}_p{level}_ms": at(level) for level in (50, 90, 99)}


METRICS: dict[str, Callable[[Seen], float]] = {
    **_statistics("ttft", lambda seen: seen.ttft),
    **_statistics("e2e", lambda seen: seen.e2e),
    **_statistics("tpot", lambda seen: seen.tpot),
    **_statistics("pace", lambda seen: seen.e2e / seen.output),
    "tpot_pooled_ms": lambda seen: float(np.nansum(seen.e2e - seen.ttft) / np.nansum(seen.output)),
}
"""Seconds by metric. pace: e2e over output tokens, by request; tpot_pooled: time after first tokens over all tokens."""


def replay(experiment: Experiment, catalog: Catalog, *, estimator: str | None = None) -> Mapping[str, dict[str, float]]:
    """Predicted milliseconds by part and metric, for the metrics that were measured."""
    return predicted(experiment, replica_of(experiment, catalog, estimator=estimator))


def predicted(experiment: Experiment, replica: Replica) -> Mapping[str, dict[str, float]]:
    """The same for a replica that is given."""
    seen = observed(experiment, replica)
    return {
        part.name: {name: 1e3 * METRICS[name](seen.of(part)) for name in part.measured} for part in experiment.parts
    }


def observed(experiment: Experiment, replica: Replica) -> Seen:
    """Every request of all phases."""
    spared = replica.request_s if experiment.engine_clock else 0.0
    replicas = {experiment.pool.name: replica}
    runs = [simulate(experiment.deployment, replicas, requests) for requests in experiment.phases]
    return Seen(
        ttft=_all(runs, ttft_s) - spared,
        e2e=_all(runs, e2e_s) - spared,
        tpot=_all(runs, tpot_s),
        output=_all(runs, lambda run: run.output_tokens.astype(np.float64)),
    )


def _all(runs: list[Run], values: Callable[[Run], Floats]) -> Floats:
    return np.concatenate([np.where(run.rejected, np.nan, values(run)) for run in runs])
