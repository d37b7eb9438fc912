"""Markdown: a difference of plans as one comment for a pull request. Not the comparison itself."""

from __future__ import annotations

from collections.abc import Iterator

from planner.review.difference import Change, Diff, Shown, shown
from planner.spec.plan import Plan


def as_markdown(before: Plan, after: Plan, found: Diff, title: str = "Plan") -> str:
    """The figures people ask for from base to head, then every change and note, folded."""
    verdict = f"{len(found.changes)} changes beyond tolerance" if found else "no change beyond tolerance"
    lines = [f"### {_cell(title)}: {verdict}", "", "| | base | head | change |", "| --- | ---: | ---: | ---: |"]
    lines += [_row(change) for change in _headline(before, after)]
    if found.changes or found.notes:
        lines += ["", "<details><summary>details</summary>", ""]
        lines += [f"- `{change}`" for change in found.changes]
        lines += [f"- note: {_cell(note)}" for note in found.notes]
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _headline(before: Plan, after: Plan) -> Iterator[Change]:
    old, new = dict(_figures(before)), dict(_figures(after))
    for name in [*old, *(n for n in new if n not in old)]:
        yield Change(name, old.get(name, "-"), new.get(name, "-"))


def _figures(plan: Plan) -> Iterator[tuple[str, Shown]]:
    yield "USD/h", plan.bill.usd_per_hour
    yield "USD/Mtok", plan.bill.usd_per_mtok.value
    yield "GPUs", sum(pool.gpus for pool in plan.pools)
    yield "W at the wall", plan.bill.watts
    yield "J/token", plan.bill.joules_per_token.value
    for one in plan.classes:
        for metric in ("ttft", "tpot"):
            if value := one.metrics.get(metric, {}).get("p99"):
                yield f"{one.name}: {metric} p99, ms", 1e3 * value.value


def _row(change: Change) -> str:
    moved = "" if not change.relative else f"{change.relative:+.1%}"
    return f"| {_cell(change.path)} | {_cell(shown(change.before))} | {_cell(shown(change.after))} | {moved} |"


def _cell(text: str) -> str:
    """Text that cannot end a table cell or start a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
