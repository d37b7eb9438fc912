"""Measurements of a simulation as tables that a person reads: by class, pool and period. Not their values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from planner.report.numbers import count, interval, quantity, seconds, share
from planner.report.terminal import METRIC_NAMES, STATISTICS, plain_table, section
from planner.spec.plan import Value

SHARES = ("utilisation", "utilisation by prefill", "MFU", "MBU", "KV occupancy", "attainment")
TIMES = ("queue", "transfer")
PERIOD_COLUMNS = (
    ("requests", "count"), ("finished", "count"), ("ttft", "p50"), ("ttft", "p99"), ("tpot", "p90"), ("e2e", "p99"),
    ("attainment", "share"), ("output tokens", "mean"),
)  # fmt: skip
POOL_PERIOD_COLUMNS = (
    ("utilisation", "mean"), ("utilisation by prefill", "mean"), ("batch", "mean"), ("waiting", "peak"),
)  # fmt: skip


class Row(Protocol):
    """One measurement, see `planner.search.measurements`."""

    @property
    def scope(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def statistic(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def at_least(self) -> bool: ...
    @property
    def period(self) -> int: ...
    @property
    def lo(self) -> float: ...
    @property
    def hi(self) -> float: ...


def sections(rows: Sequence[Row], draws: int, period_s: float | None) -> Iterator[RenderableType]:
    """What the rows say that the prediction does not; with one draw the percentiles stand there already."""
    title = "Measured" if draws == 1 else f"Measured  mean of {draws} draws and its 90 % interval"
    times = [row for row in rows if row.scope == "class" and row.unit == "s" and (draws > 1 or row.metric in TIMES)]
    times += [row for row in rows if row.scope == "node" and row.unit == "s"]
    counts = [row for row in rows if row.scope == "class" and row.unit != "s"]
    whole = [row for row in rows if row.scope == "pool" and row.period < 0]
    yield from section(title, _times(times), _list(counts), _list(whole))
    by_period = [row for row in rows if row.period >= 0]
    for scope, name in dict.fromkeys((row.scope, row.name) for row in by_period):
        mine = [row for row in by_period if (row.scope, row.name) == (scope, name)]
        columns = PERIOD_COLUMNS if scope == "period" else POOL_PERIOD_COLUMNS
        yield from section(f"By period  {name}, each {seconds(period_s or 0.0)}", _periods(mine, columns))


def _times(rows: Sequence[Row]) -> Table | None:
    """A line for each class and metric, a column for each statistic."""
    by_place = {(row.name, row.metric, row.statistic): row for row in rows}
    found = plain_table("class", "", *STATISTICS, numbers=len(STATISTICS))
    for name, metric in dict.fromkeys((row.name, row.metric) for row in rows):
        cells = [by_place.get((name, metric, statistic)) for statistic in STATISTICS]
        found.add_row(Text(name), METRIC_NAMES.get(metric, metric), *("" if c is None else _cell(c) for c in cells))
    return found if rows else None


def _cell(row: Row) -> Text:
    around = Value(value=row.value, lo=row.lo, hi=row.hi)
    below = "\n" + interval(around, unit=False) if row.hi > row.lo else ""
    return Text.assemble("≥ " if row.at_least else "", seconds(row.value), (below, "dim"))


def _list(rows: Sequence[Row]) -> Table | None:
    """A line for each number."""
    if not rows:
        return None
    found = plain_table(rows[0].scope, "", "", "90 % interval", numbers=2)
    for row in rows:
        which = "" if row.statistic in ("mean", "count", "share", "sum") else f" {row.statistic}"
        around = f"{_plain(row, row.lo)} to {_plain(row, row.hi)}" if row.hi > row.lo else ""
        found.add_row(Text(row.name), f"{row.metric}{which}", f"{_plain(row, row.value)} {row.unit}".rstrip(), around)
    return found


def _plain(row: Row, value: float) -> str:
    if row.unit == "s":
        return seconds(value)
    if row.metric in SHARES or row.statistic == "share":
        return share(value)
    return count(value) if row.unit == "" else quantity(value)


def _periods(rows: Sequence[Row], columns: Sequence[tuple[str, str]]) -> Table:
    by_place = {(row.period, row.metric, row.statistic): row for row in rows}
    titles = [
        f"{METRIC_NAMES.get(metric, metric)} {stat if metric in METRIC_NAMES or stat == 'peak' else ''}".strip()
        for metric, stat in columns
    ]
    found = plain_table("period", *titles, numbers=len(titles))
    found.columns[0].no_wrap = True
    for period in sorted({place[0] for place in by_place}):
        cells = [by_place.get((period, *column)) for column in columns]
        found.add_row(str(period), *("" if row is None else _short(row) for row in cells))
    return found


def _short(row: Row) -> str:
    return f"{'≥ ' if row.at_least else ''}{_plain(row, row.value)}"
