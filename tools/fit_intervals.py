"""Write planner/calibrate/intervals.yaml from predictions of rows that the fit never saw.

    python tools/fit_intervals.py POINTS.csv.gz OUT_OF_FOLD.csv

The predictions come from tools/fit_profiles.py --out-of-fold. Not part of the package.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from planner.calibrate.cases import Refusal, case_of
from planner.calibrate.intervals import classes_of, family_of_metric
from planner.calibrate.rows import METRICS, parse_row, read_rows
from planner.calibrate.score import number
from planner.catalog import Catalog

TARGET = Path(__file__).parents[1] / "planner" / "calibrate" / "intervals.yaml"
FEWEST_GROUPS = 5
LOW, HIGH = 0.1, 0.9
UNSEEN = 1.3  # left-GPU-out errors of TPOT over left-group-out ones, 13.9/13.3 to 18.6/14.0 in the calibration study
WIDEST = 12.0

Errors = dict[tuple[str, str], dict[str, list[float]]]


def main(table: Path, predictions: Path) -> None:
    with predictions.open(encoding="utf-8", newline="") as file:
        known = {line["id"]: line for line in csv.DictReader(file) if line["status"] == "ok"}
    errors, seen = collect(table, known)
    factors: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for (metric, name), groups in sorted(errors.items()):
        if len(groups) >= FEWEST_GROUPS or name == "all":
            factors[metric][name] = quantiles(groups)
    TARGET.write_text(text_of(factors, sorted(seen)), encoding="utf-8")


def collect(table: Path, known: dict[str, dict[str, str]]) -> tuple[Errors, set[str]]:
    """log(measured / predicted) by (metric family, class) and group; accelerators that occur."""
    catalog, errors, seen = Catalog.open(), defaultdict(lambda: defaultdict(list)), set()
    for _, cells in read_rows(table):
        try:
            case = case_of(parse_row(cells), catalog)
        except (Refusal, ValueError):
            continue
        seen.add(case.accelerator.name)
        for metric in METRICS if cells["id"] in known else ():
            measured, predicted = number(cells.get(metric)), number(known[cells["id"]].get(metric))
            if measured and predicted and not (metric.startswith("power") and cells.get("power_scope") == "wall"):
                for name in classes_of(case):
                    errors[family_of_metric(metric), name][cells["group"]].append(float(np.log(measured / predicted)))
    return errors, seen


def quantiles(groups: dict[str, list[float]]) -> tuple[float, float]:
    """Factors at LOW and HIGH of the errors, every group weighing the same."""
    values = np.concatenate([np.array(v) for v in groups.values()])
    weights = np.concatenate([np.full(len(v), 1.0 / len(v)) for v in groups.values()])
    order = np.argsort(values)
    ranks = (np.cumsum(weights[order]) - 0.5 * weights[order]) / weights.sum()
    low, high = np.interp([LOW, HIGH], ranks, values[order])
    return max(float(np.exp(low)), 1 / WIDEST), min(float(np.exp(high)), WIDEST)


def text_of(factors: dict[str, dict[str, tuple[float, float]]], seen: list[str]) -> str:
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
    main(Path(sys.argv[1]), Path(sys.argv[2]))
