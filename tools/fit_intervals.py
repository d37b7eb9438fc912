"""Write planner/calibrate/intervals.yaml from predictions of rows that the fit never saw, and say how true they are.

    python tools/fit_intervals.py POINTS.csv.gz PREDICTIONS.csv --left-out closed=FILE [--left-out ...] [--check]

Rows of a kind with a left-out file (tools/left_out.py) count with the answers of that file alone; everything else
comes from PREDICTIONS of `serveplan validate`, and those errors are stretched by IN_SAMPLE (they were seen as a whole,
not fitted one by one). --check writes nothing: it leaves out folds of groups, makes the factors from the others, and
prints the share of measurements inside. Not part of the package.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from planner.calibrate.cases import Refusal, case_of
from planner.calibrate.intervals import bounds, classes_of, family_of_metric
from planner.calibrate.rows import METRICS, parse_row, read_rows
from planner.calibrate.score import number
from planner.catalog import Catalog
from tools.left_out import Cells, LeftOut, add_argument, read

TARGET = Path(__file__).parents[1] / "planner" / "calibrate" / "intervals.yaml"
FEWEST_GROUPS = 5
LOW, HIGH = 0.1, 0.9
UNSEEN = 1.3  # left-GPU-out errors of TPOT over left-group-out ones, 13.9/13.3 to 18.6/14.0 in the calibration study
WIDEST, NARROWEST = 12.0, 0.03
IN_SAMPLE = 1.05
FOLDS = 5

Factors = dict[str, dict[str, tuple[float, float]]]


class Error(NamedTuple):
    """log(measured / predicted) of one value; `classes` narrowest first; `left_out`: no fit saw its group."""

    metric: str
    classes: tuple[str, ...]
    group: str
    value: float
    left_out: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("points", type=Path)
    parser.add_argument("predictions", type=Path)
    add_argument(parser)
    parser.add_argument("--check", action="store_true", help="only print the coverage of groups left out")
    asked = parser.parse_args()
    rows = [cells for _, cells in read_rows(asked.points)]
    errors, seen = collect(rows, LeftOut(asked.left_out), read(asked.predictions))
    for metric, share in coverage([e for e in errors if e.left_out]).items():
        print(f"{metric:24} {share.inside:5.1f} % of {share.values} values in {share.groups} groups inside")
    if not asked.check:
        TARGET.write_text(text_of(factors_of(errors), sorted(seen)), encoding="utf-8")


def collect(rows: Iterable[Cells], held_out: LeftOut, predictions: Iterable[Cells]) -> tuple[list[Error], set[str]]:
    """Errors of all measured values that are answered, and the accelerators that occur."""
    catalog, found, seen = Catalog.open(), list[Error](), set[str]()
    everything = {line["id"]: line for line in predictions if line["status"] == "ok"}
    for cells in rows:
        try:
            case = case_of(parse_row(cells), catalog)
        except (Refusal, ValueError):
            continue
        seen.add(case.accelerator.name)
        for metric in METRICS:
            kind = held_out.kind_for(cells, metric)
            value = _error(cells, metric, held_out.answers[kind] if kind else everything)
            if value is not None:
                stretch = 1.0 if kind else IN_SAMPLE
                known = classes_of(case)
                found.append(Error(family_of_metric(metric), known, cells["group"], stretch * value, bool(kind)))
    return found, seen


def _error(cells: Cells, metric: str, answers: Mapping[str, Cells]) -> float | None:
    if metric.startswith("power") and cells.get("power_scope") == "wall":
        return None
    measured, predicted = number(cells.get(metric)), number(answers.get(cells["id"], {}).get(metric))
    return float(np.log(measured / predicted)) if measured and predicted else None


def factors_of(errors: Iterable[Error]) -> Factors:
    """Factors by metric family and class, of classes with enough groups."""
    by_class: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for error in errors:
        for name in error.classes:
            by_class[error.metric, name][error.group].append(error.value)
    found: Factors = defaultdict(dict)
    for (metric, name), groups in sorted(by_class.items()):
        if len(groups) >= FEWEST_GROUPS or name == "all":
            found[metric][name] = quantiles(groups)
    return found


def quantiles(groups: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """Factors at LOW and HIGH of the errors, every group weighing the same."""
    values = np.concatenate([np.array(v) for v in groups.values()])
    weights = np.concatenate([np.full(len(v), 1.0 / len(v)) for v in groups.values()])
    order = np.argsort(values)
    ranks = (np.cumsum(weights[order]) - 0.5 * weights[order]) / weights.sum()
    spare = (HIGH - 0.5) / len(groups)  # split conformal: the (n + 1) q th of n; ranks are of middles
    low, high = np.interp([LOW - spare, HIGH + spare], ranks, values[order])
    low, high = min(float(low), -NARROWEST), max(float(high), NARROWEST)  # the prediction itself is always inside
    return max(float(np.exp(low)), 1 / WIDEST), min(float(np.exp(high)), WIDEST)


class Share(NamedTuple):
    """Percent of the values inside, every group weighing the same."""

    inside: float
    values: int
    groups: int


def coverage(errors: Sequence[Error]) -> dict[str, Share]:
    """By metric family: how often factors made from the other folds of groups hold the measurements of a fold."""
    names = sorted({error.group for error in errors})
    order = np.random.default_rng(3).permutation(len(names))
    fold_of = {names[i]: place % FOLDS for place, i in enumerate(order)}
    judged: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for fold in range(FOLDS):
        table = factors_of(e for e in errors if fold_of[e.group] != fold)
        for error in (e for e in errors if fold_of[e.group] == fold):
            low, high = bounds(error.metric, error.classes, table)
            judged[error.metric][error.group].append(low <= np.exp(error.value) <= high)
    return {
        metric: Share(100 * float(np.mean([np.mean(v) for v in groups.values()])), sum(map(len, groups.values())),
                      len(groups))
        for metric, groups in judged.items()
    }  # fmt: skip


def text_of(factors: Factors, seen: list[str]) -> str:
    lines = [
        "# Factors between which 80 % of measured values lay around predictions of groups that the fit never saw.",
        "# source: tools/fit_profiles.py and tools/fit_intervals.py on public serving results (docs/accuracy.md)",
        f"unseen: {UNSEEN} # exponent on the factors for an accelerator without any measured row",
        "factors:",
    ]
    for metric, classes in sorted(factors.items()):
        lines.append(f"  {metric}:")
        lines += [f"    {name}: [{low:.3f}, {high:.3f}]" for name, (low, high) in classes.items()]
    lines += ["seen:", *(f"  - {name}" for name in seen)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
