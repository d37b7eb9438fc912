"""Explain: why there is no plan, in the user's words and with the numbers that would do. It decides nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from planner.errors import Problem
from planner.search.admit import Refused
from planner.search.bounds import Floor, tpot_floor, ttft_floor
from planner.search.demand import Load
from planner.search.evaluate import Evaluation
from planner.search.evaluated import Evaluated
from planner.search.problem import Conflict, Need
from planner.search.setting import Setting, Site
from planner.spec.counting import total_parameters
from planner.spec.precision import BYTES_PER_WEIGHT

UNLOADED = "even without load"
USABLE = 0.85
"""Share of device memory that weights can take when room is left for buffers and some cache; for words only."""
WORDS: dict[str, tuple[str, str, float]] = {
    "inventory": ("the {:g} nodes of {subject}", "{:g} nodes of {subject}", 1.0),
    "gpus": ("the limit of {:g} accelerators", "{:g} accelerators", 1.0),
    "usd_per_hour": ("the budget of {:g} USD/h", "{:.2f} USD/h", 1.0),
    "power_w": ("the power limit of {:g} kW", "{:.2f} kW", 1e3),
    "max_pools": ("at most {:g} pools", "{:g} pools", 1.0),
    "max_replicas": ("at most {:g} replicas per pool", "", 1.0),
    "survive": ("surviving the failure of {:g} {subject}", "", 1.0),
    "quota": ("the quota of {:g} accelerators on {subject}", "{:g} accelerators on {subject}", 1.0),
    "regions": ("the regions of {subject}", "", 1.0),
    "precision": ("the precision of {subject}", "", 1.0),
    "cap": ("the level of {subject}", "", 1.0),
    "min_replicas": ("at least {:g} replicas per pool", "", 1.0),
    "class": ("the demand of {subject}", "", 1.0),
}
"""Requirements by kind: as they stand, as they would have to be, and how many of the plan's units make one of words."""


def no_columns(setting: Setting, evaluation: Evaluation) -> list[Problem]:
    """Classes that no pool configuration can serve, each with the nearest reason; empty when every class has one."""
    served = {name for load in setting.loads for name in _names(load) if _is_served(evaluation, load)}
    problems: list[Problem] = []
    for one in setting.scenario.classes:
        if one.name not in served:
            load = next(load for load in setting.loads if _names(load) == (one.name,))
            problems += _unserved(setting, evaluation, load)
    return problems


def insured(setting: Setting) -> Iterator[Problem]:
    """That the scenario asks for more than the expected; the numbers of other reasons include it."""
    if setting.scenario.limits.hold_at == "pessimistic":
        what = "limits.hold_at: pessimistic - every step is taken to last longer by the error of its price"
        yield Problem(what, hint="plan with `hold_at: expected` to see what holds without that insurance")


def _names(load: Load) -> tuple[str, ...]:
    return tuple(one.name for one in load.classes)


def _is_served(evaluation: Evaluation, load: Load) -> bool:
    mine = [one.candidate for one in evaluation.columns if one.load == load.name]
    roles = {c.role for c in mine}
    pairs = {c.kv for c in mine if c.role == "prefill"} & {c.kv for c in mine if c.role == "decode"}
    return "aggregated" in roles or bool(pairs)


def _unserved(setting: Setting, evaluation: Evaluation, load: Load) -> Iterator[Problem]:
    found = [one for one in evaluation.found if one.load == load.name]
    if not found:
        yield from _nothing_legal(setting, evaluation, load)
        return
    yield Problem(f"no pool keeps the promises of {load.name}, whatever the load", hint=_nearest(found))
    yield from _floors(setting, found, load)


def _nothing_legal(setting: Setting, evaluation: Evaluation, load: Load) -> Iterator[Problem]:
    """Every candidate was refused by a rule: say which; when it is memory, say what would hold the model."""
    refused = [one for one in evaluation.refused if one.candidate.model == load.model]
    if not refused:
        yield _nothing_meant(setting, load)
    counts = Counter(one.rule for one in refused)
    for rule, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        reason = _mildest(refused, rule).verdict.reason
        yield Problem(f"{load.name}: {count} of {len(refused)} configurations refused by `{rule}`: {reason}")
    if "weights-fit" in counts or "kv-fits" in counts:
        yield from (_fewest(setting, load, site) for site in setting.sites.values())


def _nothing_meant(setting: Setting, load: Load) -> Problem:
    """The scenario's own `search` leaves no configuration to judge."""
    if load.kind != "open" and "aggregated" not in setting.scenario.search.roles:
        what = f"{load.name}: prefill apart from decode is planned for open arrivals only"
        return Problem(what, hint="allow the role `aggregated`")
    most = max(site.gpus for site in setting.sites.values())
    what = f"{load.name}: what `search` allows has no replica that a fleet of {most} like accelerators could hold"
    return Problem(what, hint="allow smaller tp, pp or dp")


def _mildest(refused: list[Refused], rule: str) -> Refused:
    """The refusal that came nearest to passing."""
    mine = [one for one in refused if one.rule == rule]
    return min(mine, key=lambda one: (one.verdict.numbers.get("missing_bytes", 0.0), one.candidate.key))


def _fewest(setting: Setting, load: Load, site: Site) -> Problem:
    """The fewest accelerators of a type that hold the weights in the smallest format allowed."""
    model, served = setting.models[load.model], setting.scenario.models[load.model]
    formats = served.weights or (model.native_dtype,)
    smallest = min(formats, key=lambda name: BYTES_PER_WEIGHT[name])
    size = total_parameters(model) * BYTES_PER_WEIGHT[smallest]
    needed = math.ceil(size / (site.accelerator.memory_bytes * USABLE))
    what = (
        f"{model.name} has {size / 1e9:,.0f} GB of {smallest} weights: at least {needed} x {site.accelerator.name} "
        f"({site.accelerator.memory_bytes / 1e9:.0f} GB each) could hold it, the fleet has {site.gpus}"
    )
    more = math.ceil(needed / site.per_node) - site.entry.count
    return Problem(what, hint=f"{more} more nodes of {site.name}, or a narrower weight format" if more > 0 else "")


def _nearest(found: list[Evaluated]) -> str:
    """The commonest broken promise; what lost to another candidate says nothing here."""
    reasons = Counter(one.reason for one in found if UNLOADED in one.reason)
    return reasons.most_common(1)[0][0] if reasons else ""


def _floors(setting: Setting, found: list[Evaluated], load: Load) -> Iterator[Problem]:
    """Promises below what the fleet's hardware can do, or that break without load; with the floor and its term."""
    nearest = _nearest(found)
    for name, slo in load.slos.items():
        limits = {metric: limit for metric, _, limit in slo.targets} | dict(slo.per_request)
        for metric in ("ttft", "tpot"):
            if metric not in limits:
                continue
            best = min((_floor(setting, one, load, metric) for one in found), key=lambda floor: floor.seconds)
            if best.seconds > limits[metric] or nearest.startswith(metric):
                yield Problem(_floor_in_words(metric, name, best, limits[metric]))


def _floor_in_words(metric: str, name: str, best: Floor, limit: float) -> str:
    floor = f"{metric} of {name}: the physical floor of the fleet is {best.seconds * 1e3:.3g} ms ({best.term})"
    if best.seconds > limit:
        return f"{floor}, above the limit of {limit * 1e3:.6g} ms"
    return f"{floor}; the limit of {limit * 1e3:.6g} ms leaves no room for the engine's own time per step"


def _floor(setting: Setting, one: Evaluated, load: Load, metric: str) -> Floor:
    model, hardware = setting.models[one.candidate.model], setting.sites[one.candidate.site].hardware
    if metric == "tpot":
        return tpot_floor(model, one.candidate, hardware)
    return ttft_floor(model, one.candidate, hardware, load.input_tokens)


def no_mix(setting: Setting, evaluation: Evaluation, conflict: Conflict) -> list[Problem]:
    """Requirements that cannot hold together, each with what would do."""
    together = " and ".join(_subject(need) for need in conflict.needs)
    head = Problem(f"no mix of pools meets {together}" if together else "no mix of pools meets the limits")
    return [
        head,
        *(_need(need) for need in conflict.needs if need.kind != "class"),
        *_demands(setting, evaluation, conflict),
    ]


def _subject(need: Need) -> str:
    phrase, _, unit = WORDS[need.kind]
    return phrase.format((need.limit or 0.0) / unit, subject=need.subject)


def _need(need: Need) -> Problem:
    if need.needed is None:
        return Problem(f"{_subject(need)}: easing this alone does not help")
    _, amount, unit = WORDS[need.kind]
    return Problem(f"{_subject(need)} would have to be {amount.format(need.needed / unit, subject=need.subject)}")


def _demands(setting: Setting, evaluation: Evaluation, conflict: Conflict) -> Iterator[Problem]:
    """What the best replica of each class carries, so that the reader can redo the sum."""
    classes = {need.subject for need in conflict.needs if need.kind == "class"}
    for load in setting.loads:
        mine = [one for one in evaluation.columns if one.load == load.name and one.candidate.role == "aggregated"]
        if mine and set(_names(load)) <= classes:
            best = max(mine, key=lambda one: one.capacity / one.candidate.gpus)
            unit = "in flight" if load.kind == "closed" else "requests/s"
            yield Problem(
                f"{load.name} asks for {load.demand or 0:.4g} {unit}; a replica of {best.candidate.shape} "
                f"({best.candidate.gpus} accelerators) carries {best.capacity:.4g}"
            )


def no_rounds(rounds: int, cuts: tuple[str, ...]) -> list[Problem]:
    """The loop ended without a plan that holds."""
    return [Problem(f"no selection held in {rounds} rounds of simulation"), *(Problem(cut) for cut in cuts[-3:])]
