"""The table "reached, wanted, peers" of docs/accuracy.md: every line of accuracy_targets.yaml with its computed value.

It computes no prediction: values come from left-out predictions and from the figures of the scoring tools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

from planner.calibrate.score import scores
from tools.fit_intervals import collect, coverage
from tools.left_out import KINDS, VARIANTS, Cells, LeftOut, contradictory

TARGETS = Path(__file__).with_name("accuracy_targets.yaml")
Target = Mapping[str, Any]
NOT_SCORED = "not scored"


@dataclass(frozen=True)
class Evidence:
    """Everything that a line may be computed from. anchors, runs: the JSON of tools/score_anchors.py, score_runs.py."""

    truth: Sequence[Cells]
    predictions: Sequence[Cells]
    left_out: LeftOut
    anchors: Mapping[str, Any] = field(default_factory=dict)
    runs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reached:
    """Percent. groups: how many of them, runs or configurations are behind the value; bias: median signed error."""

    value: float | None
    groups: int = 0
    bias: float | None = None


def table(evidence: Evidence) -> str:
    """The section, as Markdown."""
    targets: list[Target] = yaml.safe_load(TARGETS.read_text(encoding="utf-8"))
    held = {name: (share.inside, share.groups) for name, share in _coverage(evidence).items()}
    ways: dict[str, Callable[[Target], Reached]] = {
        "anchors": lambda target: _anchors(evidence, target),
        "runs": lambda target: _runs(evidence, target),
        "plans": lambda target: _plans(evidence, target),
        "coverage": lambda target: Reached(*held.get(target["metric"], (None, 0))),
        "answered": lambda target: _answered(evidence),
    }
    lines = [
        "| what, % | reached | bias | n | whole GPU left out | bias | n | wanted | | peer |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    missed = []
    for target in targets:
        way = ways.get(target["from"])
        own = way(target) if way else _left_out(evidence, target, target["from"])
        pairs = target["from"] in KINDS
        unseen = _left_out(evidence, target, target["from"] + "-gpu") if pairs else Reached(None)
        cells = (*_cell(own), *(_cell(unseen) if pairs else ("", "", "")), _wanted(target), _verdict(target, own))
        lines.append(f"| {target['what']} | {' | '.join(cells)} | {_peer(target)} |")
        if "missed" in cells[-1]:
            missed.append(f"- {target['what']}: {target.get('why', 'not known')}.")
    return "\n".join([*lines, "", *_sources(targets), "", "Missed, and why:", "", *missed, ""])


def _left_out(evidence: Evidence, target: Target, kind: str) -> Reached:
    if kind not in evidence.left_out:
        return Reached(None)
    base = next(kind.removesuffix(variant) for variant in reversed(VARIANTS) if kind.endswith(variant))
    holds, arch, gpu = KINDS[base], target.get("arch", "*"), target.get("not_gpu", "")
    rows = [r for r in evidence.truth if holds(r) and fnmatch(r["arch"], arch) and not fnmatch(r["gpu"], gpu)]
    if target.get("coherent"):
        rows = [r for r in rows if not contradictory(r)]
    found = scores(rows, evidence.left_out.of(kind), ())
    return next((Reached(s.median_ape, s.groups, s.bias) for s in found if s.metric == target["metric"]), Reached(None))


def _anchors(evidence: Evidence, target: Target) -> Reached:
    found = evidence.anchors.get("fitted", {}).get(target["metric"])
    return Reached(found, evidence.anchors.get("configurations", 0))


def _runs(evidence: Evidence, target: Target) -> Reached:
    """The median over runs on one GPU; without a GPU the worst run of the set."""
    mine = [
        f for f in evidence.runs.get("medians", ())
        if f["set"] == target["set"] and f["metric"] == target["metric"] and f["gpu"] == target.get("gpu", f["gpu"])
    ]  # fmt: skip
    if not mine:
        return Reached(None)
    values = [f["median"] if "gpu" in target else f["worst"] for f in mine]
    bias = mine[0]["bias"] if "gpu" in target else None
    return Reached(max(values), sum(f["runs"] for f in mine), bias)


def _plans(evidence: Evidence, target: Target) -> Reached:
    cases = evidence.runs.get("plans", ())
    if not cases:
        return Reached(None)
    right = 100 * sum(case["right"] for case in cases) / len(cases)
    worst = 100 * max(case["worst"] for case in cases)
    return Reached(right if target["metric"] == "right" else worst, len(cases))


def _answered(evidence: Evidence) -> Reached:
    """Of the rows that can be read and whose model and GPU are known; every row of the table did run."""
    strangers = ("unknown model", "unknown accelerator")
    asked = [a for a in evidence.predictions if a["status"] != "error" and not a["reason"].startswith(strangers)]
    answered = sum(line["status"] == "ok" for line in asked)
    return Reached(100 * answered / len(asked) if asked else None, len(asked))


def _coverage(evidence: Evidence) -> Mapping[str, Any]:
    errors, _ = collect(evidence.truth, evidence.left_out, evidence.predictions)
    left_out = [error for error in errors if error.left_out]
    return coverage(left_out) if left_out else {}


def _cell(reached: Reached) -> tuple[str, str, str]:
    if reached.value is None:
        return (NOT_SCORED, "", "")
    return (f"{reached.value:.1f}", "" if reached.bias is None else f"{reached.bias:+.1f}", str(reached.groups))


def _wanted(target: Target) -> str:
    if "between" in target:
        return "{}-{}".format(*target["between"])
    return f"<= {target['at_most']}" if "at_most" in target else f">= {target['at_least']}"


def _verdict(target: Target, reached: Reached) -> str:
    if reached.value is None:
        return ""
    low, high = target.get("between", (target.get("at_least", 0.0), target.get("at_most", float("inf"))))
    if low <= round(reached.value, 1) <= high:
        return "met"
    return f"missed by {max(low - reached.value, reached.value - high):.1f}"


def _peer(target: Target) -> str:
    return str(target.get("peer", ""))


def _sources(targets: Sequence[Target]) -> list[str]:
    """Whose the peers' figures are."""
    known = dict.fromkeys(f"{target['peer']}: {target['source']}" for target in targets if "source" in target)
    return ["Peers: " + "; ".join(known) + "."]
