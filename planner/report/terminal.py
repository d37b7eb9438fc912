"""Terminal: a plan as text that a person reads top-down: what runs, what users get, what it costs, why not else.

It reads Plan only. Text columns fold when the terminal is narrow; numbers are never cut, so nothing is narrower than
80 columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import StringIO
from itertools import chain
from typing import Protocol

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from planner.report.numbers import count, goal_text, interval, money, power, quantity, seconds, share
from planner.spec.deployment import Deployment, Pool
from planner.spec.plan import (
    Beyond,
    Bill,
    ClassPrediction,
    ParetoPoint,
    Plan,
    PoolPlan,
    RunnerUp,
    SloRow,
    Value,
)

NARROWEST = 80
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
Bounds = frozenset[tuple[str, str, str]]
"""(class, metric, statistic) of values that are lower bounds."""
METRIC_NAMES = {"ttft": "TTFT", "tpot": "TPOT", "itl": "ITL", "e2e": "e2e"}


class Outcome(Protocol):
    """What a deployment does: a Plan has it, and so has any simulation."""

    @property
    def deployment(self) -> Deployment: ...
    @property
    def pools(self) -> tuple[PoolPlan, ...]: ...
    @property
    def classes(self) -> tuple[ClassPrediction, ...]: ...
    @property
    def bill(self) -> Bill: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...


def as_text(plan: Plan, width: int = 100, color: bool = False) -> str:
    """The whole report as text, with ANSI colors when asked for, at least 80 columns wide."""
    return _text(_plan(plan), width, color)


def outcome_text(
    outcome: Outcome,
    width: int = 100,
    color: bool = False,
    *,
    bounds: Bounds = frozenset(),
    more: Iterable[RenderableType] = (),
) -> str:
    """Only what runs, what users get and what it costs; `bounds` are shown as "at least", `more` comes last."""
    return _text(chain(_outcome(outcome, _bill(outcome.bill), bounds=bounds), more), width, color)


def _text(parts: Iterable[RenderableType], width: int, color: bool) -> str:
    width = max(NARROWEST, width)
    console = Console(file=StringIO(), width=width, force_terminal=color, no_color=not color, highlight=False)
    with console.capture() as captured:
        console.print(Group(*parts))
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines()) + "\n"


def _plan(plan: Plan) -> Iterator[RenderableType]:
    yield from _head(plan)
    yield from _outcome(plan, _bill(plan.bill), _goals(plan))
    yield from section("Why this", _searched(plan), _refusals(plan))
    if plan.runners_up:
        yield from section("Next best", _runners_up(plan))
    if plan.pareto:
        yield from section("Between the goals", _front(plan.pareto))
    if plan.unconstrained:
        yield from section("Unconstrained, not part of the plan", _beyond(plan.unconstrained))


def _outcome(found: Outcome, *costs: RenderableType, bounds: Bounds = frozenset()) -> Iterator[RenderableType]:
    yield from section("What runs", _pools(found), *_links(found.deployment))
    yield from section("How the pools fare", _load_table(found.pools))
    for one in found.classes:
        yield from section(_class_title(one), _promises(one), _percentiles(one, bounds))
    yield from section("What it costs", *costs)
    if found.warnings:
        yield from section("Mind", *(Text(f"! {warning}", style="yellow") for warning in found.warnings))


def section(title: str | Text, *parts: RenderableType | None) -> Iterator[RenderableType]:
    """A heading, what stands below it, and an empty line; what follows two blanks in the heading is plain."""
    heading = title if isinstance(title, Text) else Text(title)
    heading.stylize("bold cyan", 0, len(heading.plain.split("  ")[0]))
    yield heading
    yield from (Padding(part, (0, 0, 0, 2), expand=False) for part in parts if part is not None)
    yield Text()


def _head(plan: Plan) -> Iterator[RenderableType]:
    name, description = plan.scenario.get("name", "plan"), plan.scenario.get("description", "")
    yield Text.assemble((str(name), "bold"), f"  {description}" if description else "")
    proof = "proven best of the columns" if plan.status == "optimal" else "feasible, not proven best"
    version = f"serveplan {plan.serveplan_version}, catalog {plan.catalog_hash[:8]}, seed {plan.seed}"
    yield Text.assemble((proof, "green" if plan.status == "optimal" else "yellow"), f" - {version}", style="dim")
    yield Text()


def plain_table(*columns: str, numbers: int = 0) -> Table:
    """A table whose last `numbers` columns are numbers: right-aligned and never wrapped or cut."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        numeric = index >= len(columns) - numbers
        table.add_column(column, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    return table


def _pools(found: Outcome) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for pool, told in zip(found.deployment.pools, found.pools, strict=True):
        table.add_row(Text(f"{pool.replicas} x {pool.name}", style="bold"), _replica(pool, told))
    return table


def _replica(pool: Pool, told: PoolPlan) -> Text:
    """The hardware and its cut; the model, its formats and the batch limits; how sure its step times are."""
    role = f"{'+'.join(pool.phases)} only, " if len(pool.phases) == 1 else ""
    hardware = (
        f"{role}{pool.parallelism.gpus} x {pool.accelerator} each ({str(pool.parallelism).upper()}) on {pool.node}"
    )
    limits = f"up to {count(pool.max_seqs)} sequences and {count(pool.max_tokens_per_step)} tokens a step"
    model = f"{pool.model}, {pool.weights} weights, {pool.kv} KV cache, {limits}"
    return Text.assemble(f"{hardware}\n{model}", (f"\nstep times: {told.source}, ±{share(told.rel_error)}", "dim"))


def _links(deployment: Deployment) -> Iterator[Text]:
    decoding = {pool.name for pool in deployment.pools if "decode" in pool.phases}
    for service in deployment.services:
        phases = "+".join(service.phases)
        yield Text(f"{service.replicas} x {service.name}  {phases}, {count(service.servers)} at a time each")
    for edge in deployment.edges:
        moved = "KV cache" if edge.target in decoding else "results"
        yield Text(f"{moved} {edge.source} -> {edge.target} at {edge.bandwidth_bytes_per_s / 1e9:.4g} GB/s per replica")
    for route in deployment.routes:
        split = "" if route.share == 1 else f" ({share(route.share)})"
        yield Text(f"{route.request_class} -> {route.pool}{split}, {deployment.router}", style="dim")


def _load_table(pools: tuple[PoolPlan, ...]) -> Table:
    table = plain_table("pool", "GPUs", "busy", "KV used", "KV tokens", "$/h", "power", numbers=6)
    for p in pools:
        numbers = (count(p.gpus), share(p.utilisation), share(p.kv_occupancy), count(p.kv_tokens))
        table.add_row(Text(p.name), *numbers, money(p.usd_per_hour), power(p.watts))
    return table


def _class_title(one: ClassPrediction) -> Text:
    good = f"{quantity(one.goodput_per_s)} of {quantity(one.offered_per_s)} requests/s within the SLO"
    rates = f"{good}, {quantity(one.output_tokens_per_s)} output tokens/s"
    return Text.assemble(f"What {one.name} gets", ("  " + rates, "default"))


def _promises(one: ClassPrediction) -> Table | None:
    if not one.slo:
        return None
    table = plain_table("promise", "", "limit", "predicted", "80 % interval", "headroom", numbers=4)
    for row in one.slo:
        mark = Text("kept", "green") if row.met else Text("BROKEN", "bold red")
        name = f"{METRIC_NAMES[row.metric]} {row.statistic}" if row.metric in METRIC_NAMES else "within all limits"
        table.add_row(name, mark, *_promise_numbers(one, row))
    return table


def _promise_numbers(one: ClassPrediction, row: SloRow) -> tuple[str, str, str, str]:
    value = one.metrics.get(row.metric, {}).get(row.statistic)
    band = interval(value) if value else ""
    if row.statistic == "attainment":
        points = f"{100 * (row.predicted - row.limit):+.1f} points"
        return share(row.limit), f"{100 * row.predicted:.1f} %", band, points
    return seconds(row.limit), seconds(row.predicted), band, share(1 - row.predicted / row.limit)


def _percentiles(one: ClassPrediction, bounds: Bounds) -> Table:
    table = plain_table("", *STATISTICS, numbers=len(STATISTICS))
    table.columns[0].no_wrap = True
    for metric, values in one.metrics.items():
        cells = [
            _with_interval(values[s], (one.name, metric, s) in bounds) if s in values else Text("") for s in STATISTICS
        ]
        table.add_row(METRIC_NAMES.get(metric, metric), *cells)
    return table


def _with_interval(value: Value, bound: bool) -> Text:
    around = "\n" + interval(value, unit=False) if value.hi > value.lo else ""
    return Text.assemble("≥ " if bound else "", seconds(value.value), (around, "dim"))


def _bill(bill: Bill) -> Text:
    mtok, joules = bill.usd_per_mtok, bill.joules_per_token
    carbon = "" if bill.kgco2_per_hour is None else f", {bill.kgco2_per_hour:.3g} kg CO2/h"
    return Text.assemble(
        (f"{money(bill.usd_per_hour)}/h", "bold"),
        f"   {money(mtok.value)} per million output tokens [{money(mtok.lo)} to {money(mtok.hi)}]\n",
        f"{power(bill.watts)} at the wall, {joules.value:.3g} J per output token ",
        f"[{joules.lo:.3g} to {joules.hi:.3g}], {bill.kwh_per_mtok:.3g} kWh/Mtok{carbon}",
    )


def _goals(plan: Plan) -> Table:
    table = plain_table("goal", "this plan", "proven bound", "gap", numbers=3)
    for goal in plan.objectives:
        values = (goal_text(goal.goal, goal.value), goal_text(goal.goal, goal.bound), share(goal.gap))
        table.add_row(goal.goal, *values)
    return table


def _searched(plan: Plan) -> Text:
    e = plan.evidence
    refused = sum(r.count for r in e.refused)
    rounds = f"{e.rounds} round{'s' if e.rounds != 1 else ''} of choosing and confirming"
    looked = (
        f"{count(e.enumerated)} candidates: {count(refused)} refused by a rule; {count(e.evaluated)} evaluations, "
        f"{count(e.pruned)} of them settled by a bound alone; {count(e.columns)} columns; {rounds}"
    )
    return Text("\n".join([looked, *(f"cut: {cut}" for cut in e.cuts)]))


def _refusals(plan: Plan) -> Table | None:
    if not plan.evidence.refused:
        return None
    table = plain_table("refused by", "number", "for example", "because")
    table.columns[1].justify, table.columns[1].no_wrap = "right", True
    for r in sorted(plan.evidence.refused, key=lambda r: (-r.count, r.rule)):
        table.add_row(Text(r.rule), count(r.count), Text(r.example), Text(r.reason))
    return table


def _runners_up(plan: Plan) -> Table:
    table = plain_table("plan", "why not", "GPUs", "$/h", "vs this", numbers=3)
    for other in plan.runners_up:
        numbers = (count(other.gpus), money(other.usd_per_hour), _delta(plan, other))
        table.add_row(Text(other.summary), Text(other.reason), *numbers)
    return table


def _front(points: tuple[ParetoPoint, ...]) -> Table:
    goals = [one.goal for one in points[0].objectives]
    table = plain_table("plan", *goals, "GPUs", "$/h", numbers=1)
    for point in points:
        values = {one.goal: goal_text(one.goal, one.value) for one in point.objectives}
        table.add_row(
            Text(point.summary), *(values[goal] for goal in goals), count(point.gpus), money(point.usd_per_hour)
        )
    return table


def _beyond(found: Beyond) -> Text:
    """The second result, what is missing for it, and what it would be worth."""
    size = f"{found.summary}; {count(found.gpus)} GPUs, {money(found.usd_per_hour)}/h"
    return Text("\n".join([size, *(f"missing: {words}" for words in found.lacking), found.reason]))


def _delta(plan: Plan, other: RunnerUp) -> str:
    paid = plan.bill.usd_per_hour
    sign = "+" if other.usd_per_hour >= paid else ""
    return f"{sign}{share((other.usd_per_hour - paid) / paid)}" if paid else ""
