"""Write docs/accuracy.md: how far predictions lie from a measured table, on groups left out of the fit and in sample.

    serveplan validate POINTS.csv.gz -o predictions.csv
    python tools/fit_profiles.py POINTS.csv.gz --closed --out-of-fold closed.csv --out-of-gpu closed-gpu.csv
    python tools/score_anchors.py POINTS.csv.gz --json anchors.json
    python tools/score_runs.py RUNS --json runs.json
    python tools/write_accuracy.py POINTS.csv.gz predictions.csv --left-out closed=closed.csv \\
        --left-out closed-gpu=closed-gpu.csv --anchors anchors.json --runs runs.json --peer NAME=PEER.csv

tools/left_out.py says what a left-out file is; what is not given is "not scored". The measured table is not part of
this project. Not part of the package.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
from planner.calibrate.rows import read_rows
from planner.calibrate.score import Score, scores
from tools.accuracy_table import Evidence, table
from tools.left_out import KINDS, Cells, LeftOut, add_argument, closed_loop, disaggregated, read

TARGET = Path(__file__).parents[1] / "docs" / "accuracy.md"
CAUSES = Path(__file__).with_name("accuracy_causes.yaml")
HEADLINES = ("tpot_any_ms", "ttft_any_ms", "out_tok_s", "e2e_mean_ms", "power_w_per_gpu", "energy_j_per_out_tok")
# What the tail of each kind is judged by.
TAILS = {
    "closed": ("tpot_any_ms", "ttft_any_ms"),
    "batches": ("out_tok_s",),
    "disagg": ("tpot_any_ms", "out_tok_s"),
    "energy": ("energy_j_per_out_tok",),
}
TAIL = 30.0

INTRO = """# Accuracy

How far `serveplan validate` lies from {rows} published measurements in {groups} groups (source, model, GPU).
Written by `tools/write_accuracy.py`; the measured table is not part of this project.

Errors are relative. They are reduced inside a group first (median absolute error), then over the groups: *median* is
the median of the group medians, *mean* the mean of the group means, which a few broken groups set. *bias* is the median
signed error, *in band* the share of measurements inside the 80 % interval. `ttft_any` and `tpot_any` are the mean
where it was measured, else the median.

Answered: {answered}.

## Reached, wanted, and what other tools reach

*Reached* is on groups that the fit never saw: whole (model, GPU) pairs left out, and beside it whole GPUs left out; n
counts groups, runs or configurations. Intervals are made from other groups than those they are judged on.

"""
NOTES = """## How to read this

- *In sample* figures come from scalars that saw these rows. The table *Left out* comes from scalars that never saw the
  (model, GPU) pair of the row: fitted on the other pairs in five folds. Where the two agree, few scalars were fitted.
- What was fitted by hand on a source as a whole: start values of the lesser engines (static batches, llama.cpp), vLLM
  before 0.6, the host cost of the ML.ENERGY client. Structure was chosen with all rows in sight.
- The same configuration measured with another engine version differs by 6-8 % in TPOT and 10-15 % in TTFT; inside one
  harness 5-7 % is honest. Runs out of disaggregated images served aggregated (7 groups of 1-20 rows) contradict their
  own neighbours: they are scored and not fitted.
- Left-out figures of closed loops come from at most 12 configurations of each group, fitted on at most 7.
- *Images of disaggregated servers*: rows of one source measured aggregated under Dynamo images; lines without them say
  so.
- Joules per token left out: the three scalars of the power model never saw the group; tokens per second are those of
  the shipped profiles, of which only the rows of the closed loops were fitted.
- Known weak spots: first tokens of SGLang with a cold start inside the measured run, attention-data-parallel
  TensorRT-LLM, MI300X, accelerators known from their data sheet only, runs that do not publish prompt lengths.
"""


def main(evidence: Evidence, peers: Sequence[tuple[str, Path]]) -> None:
    truth, known = evidence.truth, evidence.predictions
    statuses = Counter(line["status"] for line in known)
    answered = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
    groups = len({cells["group"] for cells in truth})
    parts = [INTRO.format(rows=len(truth), groups=groups, answered=answered) + table(evidence)]
    parts += [beside(name, truth, known, read(file)) for name, file in peers]
    parts += [tail(evidence), NOTES]
    parts += [left_out_section(evidence)]
    parts += [section("In sample", truth, known)]
    parts += [by_dimension(truth, known, name) for name in ("engine", "load_kind", "gpu")]
    parts += [by_group(truth, known)]
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text("\n".join(part for part in parts if part), encoding="utf-8")


def left_out_section(evidence: Evidence) -> str:
    """Every metric of every kind of left-out predictions."""
    lines = ["## Left out of the fit", "", *head("left out")]
    for kind, answers in evidence.left_out.answers.items():
        holds = KINDS[kind.partition("-")[0]]
        found = scores([cells for cells in evidence.truth if holds(cells)], list(answers.values()), ())
        lines += [line(kind, score) for score in found if score.metric in HEADLINES]
    return "\n".join([*lines, ""]) if evidence.left_out.answers else ""


def section(title: str, truth: Sequence[Cells], known: Sequence[Cells]) -> str:
    lines = [f"## {title}", "", *head("rows of")]
    for name, chosen in SLICES.items():
        found = scores([cells for cells in truth if chosen(cells)], known, ())
        lines += [line(name, score) for score in found if score.metric in HEADLINES]
    return "\n".join([*lines, ""])


def beside(name: str, truth: Sequence[Cells], known: Sequence[Cells], theirs: Sequence[Cells]) -> str:
    """Both tools on the rows that the other one answers."""
    answered = {cells["id"] for cells in theirs if cells["status"] == "ok"}
    rows = [cells for cells in truth if cells["id"] in answered and closed_loop(cells)]
    asked = sum(closed_loop(cells) for cells in truth)
    lines = [
        f"## Beside {name}",
        "",
        f"On the {len(rows)} of {asked} closed-loop rows that it answers; ours in sample.",
        "",
    ]
    lines += head("tool")
    for tool, found in (("serveplan", known), (name, theirs)):
        lines += [line(tool, score) for score in scores(rows, found, ()) if score.metric in HEADLINES[:3]]
    return "\n".join([*lines, ""])


def tail(evidence: Evidence) -> str:
    """Groups missed by more than TAIL, by what left-out predictions say where there are any, and why."""
    causes = yaml.safe_load(CAUSES.read_text(encoding="utf-8"))
    lines = [
        f"## Groups missed by more than {TAIL:.0f} %, and why", "",
        "| rows of | group | metric | rows | median % | bias % | why |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for kind, metrics in TAILS.items():
        answers = evidence.left_out.of(kind) or evidence.predictions
        rows = [cells for cells in evidence.truth if KINDS[kind](cells)]
        found = [s for s in scores(rows, answers, ("group",)) if s.slice != "all" and s.metric in metrics]
        for s in sorted(found, key=lambda s: (metrics.index(s.metric), -s.median_ape)):
            if s.median_ape > TAIL:
                group = s.slice.partition("=")[2]
                figures = f"{s.rows} | {s.median_ape:.0f} | {s.bias:+.0f} | {cause(causes, group, s.metric)}"
                lines.append(f"| {kind} | {group.replace('|', ', ')} | {s.metric} | {figures} |")
    return "\n".join([*lines, ""])


def cause(causes: Sequence[Mapping[str, Any]], group: str, metric: str) -> str:
    """The first known cause whose pattern matches."""
    for known in causes:
        if fnmatchcase(group, known["group"]) and metric.startswith(known.get("metric", "")):
            return str(known["cause"])
    return "not known"


def by_group(truth: Sequence[Cells], known: Sequence[Cells]) -> str:
    lines = ["## By group, in sample", "", *head("group")]
    for score in scores(truth, known, ("group",)):
        if score.slice != "all" and score.metric in HEADLINES[:3]:
            lines.append(line(score.slice.partition("=")[2].replace("|", ", "), score))
    return "\n".join([*lines, ""])


def by_dimension(truth: Sequence[Cells], known: Sequence[Cells], name: str) -> str:
    lines = [f"## By {name}, in sample", "", *head(name)]
    for score in scores(truth, known, (name,)):
        if score.slice != "all" and score.metric in HEADLINES[:3]:
            lines.append(line(score.slice.partition("=")[2], score))
    return "\n".join([*lines, ""])


def head(first: str) -> list[str]:
    return [
        f"| {first} | metric | groups | rows | median % | mean % | bias % | in band % |",
        "|---|---|---|---|---|---|---|---|",
    ]


def line(name: str, score: Score) -> str:
    inside = "" if score.inside is None else f"{score.inside:.0f}"
    figures = f"{score.median_ape:.1f} | {score.mean_ape:.1f} | {score.bias:+.1f} | {inside}"
    return f"| {name} | {score.metric} | {score.groups} | {score.rows} | {figures} |"


SLICES: dict[str, Callable[[Cells], bool]] = {
    "everything": lambda row: True,
    "closed loop": closed_loop,
    "dense": lambda row: closed_loop(row) and row["arch"] == "dense",
    "mixture of experts": lambda row: closed_loop(row) and row["arch"] == "moe",
    "disaggregated": disaggregated,
    "static batch": lambda row: row["load_kind"] == "static_batch",
    "speculative": lambda row: row["spec_decode"] not in ("", "unknown"),
    "offline": lambda row: row["load_kind"] == "offline",
    "open loop": lambda row: row["load_kind"] == "rate",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("points", type=Path)
    parser.add_argument("predictions", type=Path)
    add_argument(parser)
    parser.add_argument("--anchors", type=Path, help="figures of tools/score_anchors.py --json")
    parser.add_argument("--runs", type=Path, help="figures of tools/score_runs.py --json")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=FILE", type=lambda text: text.split("=", 1)
    )
    return parser.parse_args()


def figures(path: Path | None) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path else {}


if __name__ == "__main__":
    asked = arguments()
    measured = [cells for _, cells in read_rows(asked.points)]
    found = Evidence(
        measured, read(asked.predictions), LeftOut(asked.left_out), figures(asked.anchors), figures(asked.runs)
    )
    main(found, [(name, Path(file)) for name, file in asked.peer])
