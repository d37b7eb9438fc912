"""How much three measured points of a configuration tell about its others, on the development set. Not a test.

    python tools/score_anchors.py POINTS.csv.gz [--anchors 3] [--seed 0] [--configurations 90] [--json FILE]

A configuration is one engine, model, weight format, GPU, source, quarter and plan. Repeats at one load and length are
reduced to their median first. Anchors are drawn by the seed; errors are those of the configuration's other points,
reduced by group (source|model|gpu) as `planner.calibrate.score` does. `ratio` is the rival: the median measured over
predicted of the anchors, applied to the others.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from planner.calibrate.anchors import Anchor, anchor_of, check_agreement
from planner.calibrate.fit import errors, fit, held_out
from planner.calibrate.overlay import width_of
from planner.calibrate.readers.base import Measured
from planner.calibrate.rows import read_rows
from planner.catalog import Catalog
from planner.errors import BadInput, Where
from planner.spec.correction import Factors

ENGINES = ("vllm", "sglang", "trtllm", "atom")
MEASURED = ("ttft_mean_ms", "ttft_p50_ms", "tpot_mean_ms", "tpot_p50_ms")
PLAN = ("engine", "model", "weight_dtype", "gpu", "num_gpus", "tp", "pp", "ep", "dp")
LEAST, MOST = 5, 13  # points of a configuration: too few say nothing, many of one say the same
PER_GROUP = 3

Cells = dict[str, str]


def configurations(path: Path) -> dict[tuple[str, ...], list[Cells]]:
    """Plain closed loops on a stated plan, repeats reduced, by configuration."""
    repeats: dict[tuple[str, ...], dict[tuple[str, ...], list[Cells]]] = defaultdict(lambda: defaultdict(list))
    for _, cells in read_rows(path):
        plain = cells["load_kind"] == "concurrency" and cells["mode"] == "agg" and not cells["spec_decode"]
        if plain and cells["tp"] and cells["engine"] in ENGINES and _has(cells, "ttft") and _has(cells, "tpot"):
            key = (*(cells[name] for name in PLAN), cells["group"].partition("|")[0], _quarter(cells["source_date"]))
            repeats[key][tuple(cells[n] for n in ("isl_mean", "osl_mean", "load_value", "num_requests"))].append(cells)
    return {key: [_median(same) for same in loads.values()] for key, loads in repeats.items() if len(loads) >= LEAST}


def _has(cells: Cells, metric: str) -> bool:
    return bool(cells[f"{metric}_mean_ms"] or cells[f"{metric}_p50_ms"])


def _quarter(date: str) -> str:
    return f"{date[:4]}Q{(int(date[5:7]) + 2) // 3}" if len(date) >= 7 else date


def _median(same: list[Cells]) -> Cells:
    found = dict(same[0])
    for name in MEASURED:
        values = [float(cells[name]) for cells in same if cells[name]]
        found[name] = repr(float(np.median(values))) if values else ""
    return found


def chosen(found: dict[tuple[str, ...], list[Cells]], most: int) -> Iterator[list[Cells]]:
    """A few configurations of every group, at most MOST points of each, in a fixed random order."""
    keys, seen = sorted(found), Counter[str]()
    random.Random(5).shuffle(keys)
    for key in keys:
        group = found[key][0]["group"]
        seen[group] += 1
        if seen[group] <= PER_GROUP and most > 0:
            most -= 1
            points = list(found[key])
            random.Random(str(key)).shuffle(points)
            yield points[:MOST]


def anchors_of(points: Iterable[Cells], catalog: Catalog, refused: Counter[str]) -> list[Anchor]:
    found = []
    for cells in points:
        try:
            found.append(anchor_of(Measured(cells, Where(cells["id"])), catalog))
        except BadInput as error:
            refused[str(error.problems[0].what)[:90]] += 1
    return found


class Tally:
    """Signed errors by metric and group."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, metric: str, group: str, values: Iterable[float]) -> None:
        self.found[metric][group] += [float(np.expm1(value)) for value in values]

    def percent(self, metric: str) -> tuple[float, float]:
        """Median over groups of the group's median error, and mean of their means."""
        groups = [np.abs(values) for values in self.found[metric].values()]
        medians, means = [np.median(g) for g in groups], [np.mean(g) for g in groups]
        return 100 * float(np.median(medians)), 100 * float(np.mean(means))

    def line(self, name: str) -> str:
        shown = {metric: self.percent(metric) for metric in ("tpot", "ttft")}
        parts = [f"{metric} {median:5.1f} % (mean of means {mean:5.1f} %)" for metric, (median, mean) in shown.items()]
        return f"{name:26} " + "   ".join(parts)


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("points", type=Path)
    arguments.add_argument("--anchors", type=int, default=3)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--configurations", type=int, default=90)
    arguments.add_argument("--json", type=Path, help="write the figures here too, for tools/write_accuracy.py")
    asked = arguments.parse_args()
    catalog, refused, started_s = Catalog.open(), Counter[str](), time.monotonic()
    raw, ratio, fitted = Tally(), Tally(), Tally()
    inside, widths, tried, disagreeing = [], [], 0, 0
    for cells in chosen(configurations(asked.points), asked.configurations):
        points = anchors_of(cells, catalog, refused)
        if len(points) < LEAST:
            continue
        random.Random(f"{asked.seed}").shuffle(points)
        anchors, others, group = points[: asked.anchors], points[asked.anchors :], cells[0]["group"]
        tried, disagreeing = tried + 1, disagreeing + bool(check_agreement(anchors))
        before, base = errors(others, Factors()), errors(anchors, Factors())
        after = errors(others, fit(anchors))
        for metric in ("tpot", "ttft"):
            raw.add(metric, group, before.by_metric[metric])
            shift = float(np.median(base.by_metric[metric]))
            ratio.add(metric, group, [value - shift for value in before.by_metric[metric]])
            fitted.add(metric, group, after.by_metric[metric])
        width = width_of(anchors[0].case.profile.rel_error, held_out(anchors))
        widths.append(width)
        inside.append(np.mean([abs(value) <= np.log1p(width) for value in after.by_metric["tpot"]]))
    print(f"{tried} configurations, {asked.anchors} anchors each, {time.monotonic() - started_s:.0f} s")
    print(f"{disagreeing} with anchors that contradict each other; points refused: {dict(refused)}")
    for name, tally in (("no anchors", raw), ("median ratio of anchors", ratio), ("factors fitted to anchors", fitted)):
        print(tally.line(name))
    band = {"half_width": 100 * float(np.median(widths)), "inside": 100 * float(np.mean(inside))}
    print(f"80 % band of TPOT: median half-width {band['half_width']:.0f} %, holds {band['inside']:.0f} %")
    if asked.json:
        found = {"configurations": tried, "anchors": asked.anchors, "seed": asked.seed, "band": band}
        for name, tally in (("before", raw), ("ratio", ratio), ("fitted", fitted)):
            found[name] = {metric: tally.percent(metric)[0] for metric in ("tpot", "ttft")}
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
