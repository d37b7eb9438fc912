"""Explain: why a plan is what it is, from plan.json alone: what binds, how sure the choice is, what came next.

Nothing is planned again: what a promise costs in money, `what_if` says with fresh plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from planner.spec.plan import ClassPrediction, Plan, RunnerUp, SloRow
from planner.spec.scenario import Limits

UNITS = {
    "usd_per_hour": "USD/h",
    "usd_per_mtok": "USD/Mtok",
    "joules_per_token": "J/token",
    "gpus": "accelerators",
    "goodput": "requests/s",
}
LOWER_IS_BETTER = frozenset(UNITS) - {"goodput"}


@dataclass(frozen=True, slots=True)
class Promise:
    """headroom: share of the limit that the expected value leaves. slow_end: value at the slow end of the interval.

    An attainment has no interval; its headroom is in points of requests.
    """

    request_class: str
    metric: str
    statistic: str
    limit: float
    predicted: float
    headroom: float
    slow_end: float | None

    @property
    def fragile(self) -> bool:
        """Whether it breaks at the slow end."""
        return self.slow_end is not None and self.slow_end > self.limit

    def __str__(self) -> str:
        if self.metric == "attainment":
            return (
                f"{self.request_class} within all limits: {self.predicted:.1%} of requests, promised {self.limit:.1%}"
            )
        left = f"{self.headroom:.0%} left"
        if self.slow_end is not None:
            left += f"; at the slow end {time_text(self.slow_end)}{', which breaks it' if self.fragile else ''}"
        name = f"{self.request_class} {self.metric} {self.statistic}"
        return f"{name}: {time_text(self.predicted)} of {time_text(self.limit)} ({left})"


@dataclass(frozen=True, slots=True)
class LimitUse:
    """A limit of the scenario on the whole plan and how much of it the plan uses."""

    limit: str
    allowed: float
    used: float

    @property
    def share(self) -> float:
        return self.used / self.allowed if self.allowed else 1.0

    def __str__(self) -> str:
        return f"{self.limit}: {self.used:,.4g} of {self.allowed:,.4g} ({self.share:.0%})"


@dataclass(frozen=True, slots=True)
class Why:
    """Promises and limits, the tightest first; the rest in words."""

    runs: str
    promises: tuple[Promise, ...]
    limits: tuple[LimitUse, ...]
    proof: tuple[str, ...]
    refusals: tuple[str, ...]
    next_best: tuple[str, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        sections = (
            ("Promises, the tightest first", self.promises),
            ("Limits, the tightest first", self.limits),
            ("How sure the choice is", self.proof),
            ("Refused before any simulation", self.refusals),
            ("Next best", self.next_best),
            ("Mind", self.warnings),
        )
        told = (f"\n{title}\n" + "\n".join(f"  {row}" for row in rows) for title, rows in sections if rows)
        return "\n".join([self.runs, *told])


def why(plan: Plan) -> Why:
    """Why the plan is what it is."""
    return Why(
        runs=runs(plan),
        promises=tuple(sorted(_promises(plan.classes), key=lambda one: one.headroom)),
        limits=tuple(sorted(_limits(plan), key=lambda one: -one.share)),
        proof=tuple(_proof(plan)),
        refusals=tuple(f"{one.count} by `{one.rule}`, like {one.example}: {one.reason}" for one in _refused(plan)),
        next_best=tuple(_next_best(plan, other) for other in plan.runners_up),
        warnings=plan.warnings,
    )


def runs(plan: Plan) -> str:
    """`2 x chat-l40s-tp1: 3.722 USD/h`."""
    pools = " + ".join(f"{pool.replicas} x {pool.name}" for pool in plan.deployment.pools)
    first = plan.objectives[0]
    return f"{pools}: {in_unit(first.goal, first.value)}"


def in_unit(goal: str, value: float) -> str:
    return f"{value:.4g} {UNITS.get(goal, goal)}"


def _promises(classes: Iterable[ClassPrediction]) -> Iterator[Promise]:
    for one in classes:
        for row in one.slo:
            value = one.metrics.get(row.metric, {}).get(row.statistic)
            slow = value.hi if value else None
            yield Promise(one.name, row.metric, row.statistic, row.limit, row.predicted, _headroom(row), slow)


def _headroom(row: SloRow) -> float:
    return row.predicted - row.limit if row.metric == "attainment" else 1 - row.predicted / row.limit


def _limits(plan: Plan) -> Iterator[LimitUse]:
    """Those that the scenario states, and the nodes it has of each type in use."""
    used = {
        "usd_per_hour": plan.bill.usd_per_hour,
        "power_w": plan.bill.watts,
        "gpus": sum(pool.gpus for pool in plan.pools),
        "max_pools": len(plan.pools),
    }
    limits = Limits.model_validate(plan.scenario.get("limits", {}), extra="ignore")
    stated = {name: getattr(limits, name) for name in used}
    yield from (LimitUse(f"limits.{name}", limit, used[name]) for name, limit in stated.items() if limit is not None)
    for node in plan.scenario["fleet"]["nodes"]:
        name = node.get("name") or node["node"]
        pairs = zip(plan.deployment.pools, plan.pools, strict=True)
        nodes = sum(told.nodes for pool, told in pairs if pool.node == name)
        if nodes:
            yield LimitUse(f"nodes of {name}", node["count"], nodes)


def _proof(plan: Plan) -> Iterator[str]:
    """Bound and gap of each goal; how often the choice had to be corrected; what promises were tested against."""
    for one in plan.objectives:
        side = "below" if one.goal in LOWER_IS_BETTER else "above"
        bound = f"no mix of the simulated columns is {side} {in_unit(one.goal, one.bound)}"
        yield f"{one.goal}: {in_unit(one.goal, one.value)}; {bound} (gap {one.gap:.1%})"
    e = plan.evidence
    yield f"{e.columns} columns of {e.evaluated} evaluations; the whole plan was simulated in {e.rounds} round(s)"
    yield from (f"cut: {cut}" for cut in e.cuts)
    if plan.scenario.get("limits", {}).get("hold_at") == "pessimistic":
        yield "every promise was tested with each step slower by its error (limits.hold_at: pessimistic)"


def _refused(plan: Plan) -> list[Any]:
    return sorted(plan.evidence.refused, key=lambda one: (-one.count, one.rule))


def _next_best(plan: Plan, other: RunnerUp) -> str:
    return f"{other.summary} ({other.gpus} accelerators, {other.usd_per_hour:.4g} USD/h) - {other.reason}"


def time_text(value_s: float) -> str:
    return f"{value_s:.3g} s" if value_s >= 1 else f"{1e3 * value_s:.3g} ms"
