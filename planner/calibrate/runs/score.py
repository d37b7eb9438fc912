"""How far replays lie from recorded runs: errors by part and metric, and how plans rank. It simulates nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from planner.calibrate.runs.experiment import Experiment

Predicted = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Point:
    """One metric of one part of one experiment, milliseconds."""

    experiment: str
    gpu: str
    part: str
    metric: str
    measured: float
    predicted: float

    @property
    def error(self) -> float:
        """Signed, relative to the measurement."""
        return self.predicted / self.measured - 1.0


def points_of(experiment: Experiment, predicted: Predicted) -> list[Point]:
    """Every measured metric beside its prediction."""
    return [
        Point(experiment.id, experiment.pool.accelerator, part.name, metric, value, predicted[part.name][metric])
        for part in experiment.parts
        for metric, value in part.measured.items()
    ]


def median_ape(points: Iterable[Point]) -> float:
    """Median of absolute relative errors; nan for none."""
    errors = [abs(point.error) for point in points]
    return float(np.median(errors)) if errors else float("nan")


def median_bias(points: Iterable[Point]) -> float:
    errors = [point.error for point in points]
    return float(np.median(errors)) if errors else float("nan")


def order(milliseconds: Mapping[str, float]) -> tuple[str, ...]:
    """Plans from the fastest to the slowest."""
    return tuple(sorted(milliseconds, key=lambda plan: milliseconds[plan]))


def ratios(milliseconds: Mapping[str, float], base: str) -> dict[str, float]:
    """How many times slower than `base` each other plan is."""
    return {plan: value / milliseconds[base] for plan, value in milliseconds.items() if plan != base}


def select(points: Sequence[Point], *, metric: str = "", part: str = "", gpu: str = "") -> list[Point]:
    """Points with these values; "" = any; part "stages" = every part but "all"."""
    return [
        p
        for p in points
        if (not metric or p.metric == metric)
        and (not gpu or p.gpu == gpu)
        and (not part or p.part == part or (part == "stages" and p.part != "all"))
    ]
