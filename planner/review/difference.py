"""Difference: what changed between two plans, topology and counts exactly, metrics by tolerance. No verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from planner.spec.plan import ClassPrediction, Plan, PoolPlan
from planner.spec.scenario import Tolerances

Facts = dict[str, Any]
Shown = str | int | float | bool | list[Any] | None
ABSENT = "absent"
COUNTS = ("gpus", "nodes")
MONEY = ("usd_per_hour",)
POOL_METRICS = ("utilisation", "kv_occupancy", "kv_tokens", "weights_bytes_per_gpu", "kv_bytes_per_gpu", "watts")
CLASS_METRICS = ("offered_per_s", "completed_per_s", "goodput_per_s", "output_tokens_per_s")


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs; tolerance is the relative difference that was allowed, None = must be equal."""

    path: str
    before: Any
    after: Any
    tolerance: float | None = None

    @property
    def relative(self) -> float | None:
        """(after - before) / |before|, None when that has no meaning."""
        if not _is_number(self.before) or not _is_number(self.after) or self.before == 0:
            return None
        return float((self.after - self.before) / abs(self.before))

    def __str__(self) -> str:
        text = f"{self.path}: {shown(self.before)} -> {shown(self.after)}"
        if self.relative is None:
            return text
        allowed = "" if self.tolerance is None else f", tolerance {self.tolerance:.3g}"
        return f"{text} ({self.relative:+.1%}{allowed})"


@dataclass(frozen=True, slots=True)
class Diff:
    """Changes beyond tolerance, and notes on what may explain them (versions, catalog, seed)."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.changes), *(f"note: {note}" for note in self.notes)])

    def as_dict(self) -> dict[str, Any]:
        """For --json: every change with its relative size."""
        rows = [{**asdict(change), "relative": change.relative} for change in self.changes]
        return {"equal": not self, "changes": rows, "notes": list(self.notes)}


def diff(before: Plan, after: Plan, tolerances: Tolerances | None = None) -> Diff:
    """What changed from one plan to another; an empty Diff is false."""
    allowed = tolerances or Tolerances()
    changes = [
        *_compare(_topology(before), _topology(after), None),
        *_compare(_money(before), _money(after), allowed.usd_per_hour),
        *_compare(_metrics(before), _metrics(after), allowed.metrics),
    ]
    return Diff(tuple(changes), tuple(_notes(before, after)))


def _compare(before: Facts, after: Facts, tolerance: float | None) -> Iterator[Change]:
    for path in [*before, *(p for p in after if p not in before)]:
        old, new = before.get(path, ABSENT), after.get(path, ABSENT)
        if not _same(old, new, tolerance):
            yield Change(path, old, new, tolerance)


def _same(old: Any, new: Any, tolerance: float | None) -> bool:
    if tolerance is None or not _is_number(old) or not _is_number(new):
        return bool(old == new)
    return bool(abs(new - old) <= tolerance * max(abs(old), abs(new)))


def _topology(plan: Plan) -> Facts:
    """All that must be equal: the deployment, the counts and which promises are kept."""
    facts: Facts = {"deployment.router": plan.deployment.router}
    for pool in plan.deployment.pools:
        facts |= _flat(f"pools.{pool.name}", pool.model_dump(exclude={"name"}, by_alias=False))
    facts |= {f"pools.{pool.name}.{name}": getattr(pool, name) for pool in plan.pools for name in COUNTS}
    facts |= {f"edges.{edge.source}->{edge.target}": "present" for edge in plan.deployment.edges}
    facts |= {f"routes.{route.request_class}->{route.pool}": "present" for route in plan.deployment.routes}
    for one in plan.classes:
        facts |= {f"classes.{one.name}.slo.{r.metric}.{r.statistic}.met": r.met for r in one.slo}
    return facts


def _money(plan: Plan) -> Facts:
    facts: Facts = {"bill.usd_per_hour": plan.bill.usd_per_hour, "bill.usd_per_mtok": plan.bill.usd_per_mtok.value}
    return facts | _fields("pools", plan.pools, MONEY)


def _metrics(plan: Plan) -> Facts:
    facts: Facts = {"bill.watts": plan.bill.watts, "bill.joules_per_token": plan.bill.joules_per_token.value}
    if plan.bill.kgco2_per_hour is not None:
        facts["bill.kgco2_per_hour"] = plan.bill.kgco2_per_hour
    facts |= {f"objectives.{goal.goal}": goal.value for goal in plan.objectives}
    facts |= {f"routes.{r.request_class}->{r.pool}.share": r.share for r in plan.deployment.routes}
    facts |= _fields("pools", plan.pools, POOL_METRICS) | _fields("classes", plan.classes, CLASS_METRICS)
    for one in plan.classes:
        facts |= _statistics(one)
    return facts


def _statistics(one: ClassPrediction) -> Facts:
    prefix = f"classes.{one.name}"
    return {f"{prefix}.{m}.{s}": v.value for m, values in one.metrics.items() for s, v in values.items()}


def _fields(prefix: str, parts: Iterable[PoolPlan | ClassPrediction], names: tuple[str, ...]) -> Facts:
    return {f"{prefix}.{part.name}.{name}": getattr(part, name) for part in parts for name in names}


def _notes(before: Plan, after: Plan) -> Iterator[str]:
    for name in ("serveplan_version", "catalog_hash", "seed", "status"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield f"{name} {old} -> {new}"
    for change in _compare(dict(before.packages), dict(after.packages), None):
        yield f"package {change.path} {change.before} -> {change.after}"
    for change in _compare(_flat("scenario", before.scenario), _flat("scenario", after.scenario), None):
        yield str(change)


def _flat(prefix: str, value: Any) -> Facts:
    """A tree as dotted path -> leaf."""
    if isinstance(value, dict):
        return {path: leaf for key, child in value.items() for path, leaf in _flat(f"{prefix}.{key}", child).items()}
    if isinstance(value, (list, tuple)) and any(isinstance(child, dict) for child in value):
        return {path: leaf for i, child in enumerate(value) for path, leaf in _flat(f"{prefix}.{i}", child).items()}
    return {prefix: list(value) if isinstance(value, tuple) else value}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def shown(value: Shown) -> str:
    """A value as differences print it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
