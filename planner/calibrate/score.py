"""How far predictions lie from measurements: relative errors, reduced inside each group first, then over the groups.

Not a fit. A group is `source|model|gpu` of the measured table (or the row itself), so that no large source decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from planner.calibrate.rows import METRICS

# The mean where it was measured, else the median.
ANY = {"ttft_any_ms": ("ttft_mean_ms", "ttft_p50_ms"), "tpot_any_ms": ("tpot_mean_ms", "tpot_p50_ms")}
SCORED = (*ANY, *METRICS)
DIMENSIONS = ("engine", "gpu", "model", "arch", "mode", "load_kind")


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of one metric in one slice, in percent; `inside` is None when no interval was given."""

    metric: str
    slice: str
    groups: int
    rows: int
    median_ape: float
    mean_ape: float
    bias: float
    within10: float
    within20: float
    inside: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """One scored value: signed relative error, and whether the truth lies in the interval."""

    group: str
    signed: float
    inside: bool | None


def scores(
    truth: Sequence[Mapping[str, str]], predictions: Iterable[Mapping[str, str]], dimensions: Sequence[str] = DIMENSIONS
) -> list[Score]:
    """Scores of every metric over all rows and over each value of each dimension; only rows with status ok count."""
    index = {p["id"]: p for p in predictions if p.get("status") == "ok"}
    found: dict[tuple[str, str], list[Point]] = {}
    for row in truth:
        predicted = index.get(row["id"])
        for metric in SCORED if predicted else ():
            point = compare(row, predicted or {}, metric)
            for name in _slices(row, dimensions) if point else ():
                found.setdefault((metric, name), []).append(point)  # type: ignore[arg-type]
    return [reduce(metric, name, points) for (metric, name), points in sorted(found.items(), key=_order)]


def compare(truth: Mapping[str, str], predicted: Mapping[str, str], metric: str) -> Point | None:
    """Error of one value, None when it was not measured or not predicted."""
    for column in ANY.get(metric, (metric,)):
        measured, value = number(truth.get(column)), number(predicted.get(column))
        if measured and value is not None:
            low, high = number(predicted.get(column + "_lo")), number(predicted.get(column + "_hi"))
            inside = None if low is None or high is None else low <= measured <= high
            return Point(truth.get("group") or truth["id"], value / measured - 1.0, inside)
        if measured:
            return None
    return None


def reduce(metric: str, name: str, points: Sequence[Point]) -> Score:
    """Group medians and means first, then the median (headline) and mean over groups."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(point.group, []).append(point)
    signed = [np.array([p.signed for p in members]) for members in groups.values()]
    judged = [[p.inside for p in members if p.inside is not None] for members in groups.values()]
    inside = [float(np.mean(members)) for members in judged if members]
    return Score(
        metric, name, len(groups), len(points),
        median_ape=100 * float(np.median([np.median(np.abs(s)) for s in signed])),
        mean_ape=100 * float(np.mean([np.abs(s).mean() for s in signed])),
        bias=100 * float(np.median([np.median(s) for s in signed])),
        within10=100 * float(np.mean([(np.abs(s) <= 0.1).mean() for s in signed])),
        within20=100 * float(np.mean([(np.abs(s) <= 0.2).mean() for s in signed])),
        inside=100 * float(np.mean(inside)) if inside else None,
    )  # fmt: skip


def number(text: str | None) -> float | None:
    """Finite number in a cell, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _slices(row: Mapping[str, str], dimensions: Sequence[str]) -> list[str]:
    return ["all", *(f"{name}={row[name]}" for name in dimensions if row.get(name))]


def _order(item: tuple[tuple[str, str], list[Point]]) -> tuple[int, bool, str]:
    (metric, name), _ = item
    return SCORED.index(metric), name != "all", name
