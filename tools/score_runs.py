"""Replay recorded runs of real servers and print how far the predictions lie from what was measured.

    python tools/score_runs.py [FOLDER] [--estimator NAME] [--catalog DIR] [--detail] [--json FILE]

FOLDER holds the files of the runs (default: shared/truth/runs_dev beside the repository). A catalog DIR with other
engine profiles shows what other constants would do.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from planner.calibrate.runs import apex, blis, lss
from planner.calibrate.runs.replay import replay
from planner.calibrate.runs.score import Point, median_ape, median_bias, order, points_of, ratios, select
from planner.catalog import Catalog

DEFAULT = Path(__file__).parents[2] / "shared" / "truth" / "runs_dev"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT)
    parser.add_argument("--estimator")
    parser.add_argument("--detail", action="store_true", help="every experiment, not only medians")
    parser.add_argument("--catalog", action="append", default=[], type=Path, help="laid over the shipped one")
    parser.add_argument("--json", type=Path, help="write the figures here too, for tools/write_accuracy.py")
    given = parser.parse_args()
    catalog = Catalog.open(given.catalog)
    figures: dict[str, Any] = {"medians": [], "plans": []}
    for title, reader in (("BLIS", blis), ("LLMServingSim", lss), ("APEX", apex)):
        points: list[Point] = []
        for experiment in reader.read(given.folder, catalog):
            points += points_of(experiment, replay(experiment, catalog, estimator=given.estimator))
        print(f"\n{title}: {len({p.experiment for p in points})} runs")
        medians(points)
        figures["medians"] += as_figures(title, points)
        if given.detail or title == "LLMServingSim":
            details(points)
        if title == "APEX":
            figures["plans"] = plans(points)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def as_figures(title: str, points: list[Point]) -> list[dict[str, Any]]:
    """Errors of whole runs in percent, by GPU and metric: median of all, and of each run where there are few."""
    found = []
    for gpu, metric in dict.fromkeys((p.gpu, p.metric) for p in points):
        mine = select(points, metric=metric, part="all", gpu=gpu)
        worst = max((abs(p.error) for p in mine), default=float("nan"))
        error = {"median": 100 * median_ape(mine), "bias": 100 * median_bias(mine), "worst": 100 * worst}
        found.append({"set": title, "gpu": gpu, "metric": metric, "runs": len(mine), **error})
    return found


def medians(points: list[Point]) -> None:
    """Median absolute and signed error by GPU, part and metric."""
    metrics = list(dict.fromkeys(p.metric for p in points))
    print(f"{'median % (bias)':32s}" + "".join(f"{m.removesuffix('_ms'):>16s}" for m in metrics))
    for gpu in dict.fromkeys(p.gpu for p in points):
        for part in ("all", "stages"):
            row = [select(points, metric=m, part=part, gpu=gpu) for m in metrics]
            if any(row):
                cells = (f"{100 * median_ape(r):8.1f} ({100 * median_bias(r):+5.1f})" for r in row)
                print(f"{gpu + ' ' + part:32s}" + "".join(f"{c:>16s}" for c in cells))


def details(points: list[Point]) -> None:
    """Measured and predicted values of every part."""
    for name in dict.fromkeys((p.experiment, p.part) for p in points):
        mine = [p for p in points if (p.experiment, p.part) == name]
        print(f"{name[0]:24s} {name[1]:4s} " + "  ".join(map(cell, mine)))


def cell(p: Point) -> str:
    return f"{p.metric.removesuffix('_ms')} {p.predicted:.4g}/{p.measured:.4g} {100 * p.error:+.0f}%"


def plans(points: list[Point]) -> list[dict[str, Any]]:
    """Order and ratios of the plans of each trace and rate."""
    found = []
    cases: dict[str, dict[str, Point]] = defaultdict(dict)
    for p in select(points, metric="e2e_mean_ms"):
        trace, _, rate, plan = p.experiment.split()
        cases[f"{trace} {rate}"][plan] = p
    for name, case in cases.items():
        if len(case) < 3 or name.startswith("creation"):
            continue
        real = {plan: p.measured for plan, p in case.items()}
        ours = {plan: p.predicted for plan, p in case.items()}
        wanted, got = ratios(real, "tp8"), ratios(ours, "tp8")
        pairs = (f"{plan}/tp8 {got[plan]:.2f} for {wanted[plan]:.2f}" for plan in wanted)
        right = order(real) == order(ours)
        print(f"{name:22s} order {'right' if right else 'WRONG'}  {'  '.join(pairs)}")
        found.append({"case": name, "right": right, "worst": max(abs(got[p] / wanted[p] - 1) for p in wanted)})
    return found


if __name__ == "__main__":
    main()
