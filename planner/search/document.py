"""Document: everything that the search found, as one Plan. It computes nothing that others have not found."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from planner import __version__
from planner.search.admit import Refused
from planner.search.choose import Choice, settle, shapes_of
from planner.search.evaluate import Evaluation, Progress
from planner.search.front import front
from planner.search.layout import placement, split_domains
from planner.search.predict import Prediction, predict
from planner.search.problem import Conflict, Reached, Selection
from planner.search.select import parameters
from planner.search.setting import Setting
from planner.spec.plan import ClassPrediction, Evidence, Objective, ParetoPoint, Plan, Refusal, RunnerUp
from planner.tco import usd_per_mtok

PACKAGES = ("numpy", "numba", "ortools", "networkx", "pydantic")
MOST_RUNNERS_UP = 3
NOTICED = 0.05
"""Relative difference of a goal from the bill that the plan explains."""
UNITS = {
    "usd_per_hour": "USD/h",
    "usd_per_mtok": "USD/Mtok",
    "joules_per_token": "J/token",
    "gpus": "accelerators",
    "goodput": "requests/s",
}


def document(setting: Setting, evaluation: Evaluation, choice: Choice, progress: Progress) -> Plan:
    """The plan of a choice, with its runners-up."""
    found = predict(setting, choice.deployment, choice.seen)
    objectives = objectives_of(setting, choice.selection, found)
    proven = choice.selection.proven and not evaluation.left_out
    return Plan(
        serveplan_version=__version__,
        packages={"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        catalog_hash=setting.catalog_hash,
        seed=setting.seed,
        scenario=setting.scenario.model_dump(mode="json"),
        status="optimal" if proven else "feasible",
        deployment=choice.deployment,
        pools=found.pools,
        classes=found.classes,
        bill=found.bill,
        objectives=objectives,
        evidence=_evidence(evaluation, choice),
        runners_up=tuple(_runners_up(setting, evaluation, choice, found, progress)),
        pareto=tuple(_points(setting, evaluation, choice, progress)),
        placement=placement(setting, choice.deployment),
        warnings=(
            *_unfinished(evaluation),
            *split_domains(setting, choice.deployment),
            *found.warnings,
            *_off_the_bill(objectives, found),
        ),
    )


def _unfinished(evaluation: Evaluation) -> Iterable[str]:
    if evaluation.left_out:
        yield f"stopped at the time limit: {evaluation.left_out} candidates were not evaluated, a better plan may exist"


def _off_the_bill(objectives: Iterable[Objective], found: Prediction) -> Iterable[str]:
    """Why a goal and the bill may tell two numbers for one thing."""
    for one in objectives:
        billed = _value(found, one.goal)
        if one.goal != "goodput" and abs(one.value - billed) > NOTICED * abs(billed):
            yield (
                f"{one.goal}: chosen by {one.value:.4g} {UNITS[one.goal]}, with power as a straight line from rest "
                f"to full load; the bill's {billed:.4g} is what the simulated plan draws"
            )


def objectives_of(setting: Setting, selection: Selection, found: Prediction) -> tuple[Objective, ...]:
    return tuple(_objective(setting, reached, found) for reached in selection.reached)


def better(ours: Iterable[Objective], theirs: Iterable[Objective]) -> str:
    """By how much the first differs from the second, in the first goal that tells them apart."""
    for one, other in zip(ours, theirs, strict=True):
        if abs(one.value - other.value) > 1e-6 * max(abs(one.value), abs(other.value)):
            change = (one.value - other.value) / other.value
            return f"{one.goal}: {one.value:.4g} {UNITS[one.goal]} against {other.value:.4g} ({change:+.0%})"
    return "equal in every goal"


def _objective(setting: Setting, reached: Reached, found: Prediction) -> Objective:
    """The goal in the unit that people use; the solver counts USD/h, watts and shares of the demand."""
    tokens = sum(one.output_tokens_per_s for one in found.classes)
    demand = sum(load.demand or 0.0 for load in setting.loads if len(load.classes) == 1)
    scale = {"usd_per_mtok": usd_per_mtok(1.0, tokens), "joules_per_token": 1 / tokens, "goodput": demand}.get(
        reached.goal, 1.0
    )
    return Objective(goal=reached.goal, value=reached.value * scale, bound=reached.bound * scale, gap=reached.gap)


def _evidence(evaluation: Evaluation, choice: Choice) -> Evidence:
    return Evidence(
        enumerated=evaluation.enumerated,
        refused=tuple(_refusals(evaluation.refused)),
        pruned=evaluation.pruned,
        evaluated=len(evaluation.found),
        columns=len(evaluation.columns),
        rounds=choice.rounds,
        cuts=choice.cuts,
        solver=_solver(choice.selection),
    )


def _solver(selection: Selection) -> dict[str, Any]:
    """How the choice was made: the grain of shares, and whether it is the only one of its rank."""
    return {**parameters(), "slices_per_class": selection.slices_per_class, "unique": selection.unique}


def _refusals(refused: Iterable[Refused]) -> Iterable[Refusal]:
    listed = list(refused)
    for rule, count in sorted(Counter(one.rule for one in listed).items()):
        example = next(one for one in listed if one.rule == rule)
        yield Refusal(rule=rule, count=count, example=example.candidate.key, reason=example.verdict.reason)


def _runners_up(
    setting: Setting, evaluation: Evaluation, choice: Choice, best: Prediction, progress: Progress
) -> Iterable[RunnerUp]:
    """The best plan that does not use these shapes together; then the best that also avoids that one's; and so on."""
    columns, problem = evaluation.columns, choice.problem
    for _ in range(MOST_RUNNERS_UP):
        problem = replace(problem, forbidden=(*problem.forbidden, shapes_of(problem, choice.selection)))
        other = settle(setting, columns, problem, progress)
        if isinstance(other, Conflict):
            return
        choice, problem = other, other.problem
        yield _runner_up(other, predict(setting, other.deployment, other.seen, spread=False), best)


def _points(setting: Setting, evaluation: Evaluation, choice: Choice, progress: Progress) -> Iterable[ParetoPoint]:
    for one in front(setting, evaluation.columns, choice.problem, progress):
        found = predict(setting, one.deployment, one.seen, spread=False)
        yield ParetoPoint(
            summary=_summary(one), objectives=objectives_of(setting, one.selection, found),
            usd_per_hour=found.bill.usd_per_hour, gpus=sum(pool.gpus for pool in found.pools),
            metrics={name: value for each in found.classes for name, value in _metrics(each)},
            deployment=one.deployment,
        )  # fmt: skip


def _summary(choice: Choice) -> str:
    return " + ".join(f"{pool.replicas} x {pool.name}" for pool in choice.deployment.pools)


def _runner_up(other: Choice, found: Prediction, best: Prediction) -> RunnerUp:
    return RunnerUp(
        summary=_summary(other),
        usd_per_hour=found.bill.usd_per_hour,
        gpus=sum(pool.gpus for pool in found.pools),
        metrics={name: value for one in found.classes for name, value in _metrics(one)},
        reason=_why_not(other, found, best),
    )


def _metrics(one: ClassPrediction) -> Iterable[tuple[str, float]]:
    for metric in ("ttft", "tpot"):
        for statistic in ("p50", "p95"):
            if statistic in one.metrics[metric]:
                yield f"{one.name}.{metric}.{statistic}", one.metrics[metric][statistic].value


def _why_not(other: Choice, found: Prediction, best: Prediction) -> str:
    """By how much it loses, in the first goal that tells them apart."""
    for reached in other.selection.reached:
        value, ours = _value(found, reached.goal), _value(best, reached.goal)
        if abs(value - ours) > 1e-6 * max(abs(ours), 1e-12):
            return (
                f"{reached.goal}: {value:.4g} {UNITS[reached.goal]} against {ours:.4g} ({(value - ours) / ours:+.0%})"
            )
    return "equal in every goal; it uses more pools or accelerators"


def _value(found: Prediction, goal: str) -> float:
    values = {
        "usd_per_hour": found.bill.usd_per_hour,
        "usd_per_mtok": found.bill.usd_per_mtok.value,
        "joules_per_token": found.bill.joules_per_token.value,
        "gpus": float(sum(pool.gpus for pool in found.pools)),
        "goodput": sum(one.offered_per_s for one in found.classes),
    }
    return values[goal]
