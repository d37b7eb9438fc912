"""Write planner/calibrate/intervals.yaml from predictions of rows that the fit never saw.

    python tools/fit_intervals.py POINTS.csv.gz HELD_OUT.csv PREDICTIONS.csv

HELD_OUT comes from tools/fit_profiles.py --closed --out-of-fold and is all that counts for closed loops of the large
engines. Everything else comes from PREDICTIONS of `serveplan validate`; those errors are stretched by IN_SAMPLE
(they were seen as a whole, not fitted one by one). Not part of the package.
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
WIDEST, NARROWEST = 12.0, 0.03

IN_SAMPLE = 1.05
STUDY = ("inferencex", "aic-silicon", "nebius")
HOLDABLE = ("vllm", "sglang", "trtllm")

Errors = dict[tuple[str, str], dict[str, list[float]]]


def main(table: Path, held_out: Path, everything: Path) -> None:
    errors, seen = collect(table, answers(held_out), answers(everything))
    factors: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for (metric, name), groups in sorted(errors.items()):
        if len(groups) >= FEWEST_GROUPS or name == "all":
            factors[metric][name] = quantiles(groups)
    TARGET.write_text(text_of(factors, sorted(seen)), encoding="utf-8")


def answers(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {line["id"]: line for line in csv.DictReader(file) if line["status"] == "ok"}


def collect(
    table: Path, held_out: dict[str, dict[str, str]], everything: dict[str, dict[str, str]]
) -> tuple[Errors, set[str]]:
    """log(measured / predicted) by (metric family, class) and group; accelerators that occur."""
    catalog, errors, seen = Catalog.open(), defaultdict(lambda: defaultdict(list)), set()
    for _, cells in read_rows(table):
        try:
            case = case_of(parse_row(cells), catalog)
        except (Refusal, ValueError):
            continue
        seen.add(case.accelerator.name)
        source = held_out if holdable(cells) else everything
        stretch = 1.0 if holdable(cells) else IN_SAMPLE
        for metric in METRICS if cells["id"] in source else ():
            known = source[cells["id"]].get(metric) or everything.get(cells["id"], {}).get(metric)
            measured, predicted = number(cells.get(metric)), number(known)
            if measured and predicted and not (metric.startswith("power") and cells.get("power_scope") == "wall"):
                error = stretch * float(np.log(measured / predicted))
                for name in classes_of(case):
                    errors[family_of_metric(metric), name][cells["group"]].append(error)
    return errors, seen


def holdable(cells: dict[str, str]) -> bool:
    """Rows of the kind that HELD_OUT covers (a sample of them)."""
    plain = cells["mode"] == "agg" and cells["load_kind"] == "concurrency" and not cells["spec_decode"]
    source = cells["group"].split("|")[0]
    return plain and bool(cells["tp"]) and cells["engine"] in HOLDABLE and source in STUDY


def quantiles(groups: dict[str, list[float]]) -> tuple[float, float]:
    """Factors at LOW and HIGH of the errors, every group weighing the same."""
    values = np.concatenate([np.array(v) for v in groups.values()])
    weights = np.concatenate([np.full(len(v), 1.0 / len(v)) for v in groups.values()])
    order = np.argsort(values)
    ranks = (np.cumsum(weights[order]) - 0.5 * weights[order]) / weights.sum()
    low, high = np.interp([LOW, HIGH], ranks, values[order])
    low, high = min(float(low), -NARROWEST), max(float(high), NARROWEST)  # the prediction itself is always inside
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
    main(*map(Path, sys.argv[1:4]))
