"""What if: a plan's scenario with one promise looser, or with one technique forced, and what the fresh plan then costs.

It makes the questions and compares the answers; somebody else plans them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import isclose
from typing import Any, get_args

from planner.errors import BadInput, Problem, did_you_mean
from planner.review.explain import LOWER_IS_BETTER, in_unit, runs, time_text
from planner.spec.plan import Plan
from planner.spec.precision import Dtype, KvDtype
from planner.spec.scenario import NodeType, Role, Scenario, Survive
from planner.spec.slo import METRICS, Percentiles, Slo

NOTCH = 1.25
"""By how much a promise is loosened."""
NEUTRAL: dict[str, Any] = {
    "usd_per_hour": None, "power_w": None, "gpus": None, "max_pools": None, "min_replicas": 1, "max_replicas": None,
    "headroom": 0.0, "quotas": (), "survive": Survive(),
}  # fmt: skip
"""What a limit is when it is lifted."""
_DEGREE = re.compile(r"(tp|pp|dp|ep)([1-9]\d*)$")
UNDERSTOOD = "tpN, ppN, dpN, epN, aggregated, disaggregated, a weight format like fp8, a cache format like kv-fp8"


@dataclass(frozen=True, slots=True)
class Variant:
    """A question that differs from the plan's own in one thing."""

    what: str
    scenario: Scenario


@dataclass(frozen=True, slots=True)
class Priced:
    """What a variant changes in the first goal that differs. value: None when no plan meets it, for the `reasons`.

    equal: more important goals, which do not differ.
    """

    what: str
    goal: str
    base: float
    value: float | None
    runs: str = ""
    reasons: tuple[str, ...] = ()
    equal: tuple[str, ...] = ()

    @property
    def change(self) -> float | None:
        """Relative; positive = worse than the plan."""
        if self.value is None:
            return None
        worse = self.value - self.base if self.goal in LOWER_IS_BETTER else self.base - self.value
        return worse / self.base if self.base else 0.0

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "change": self.change}

    def __str__(self) -> str:
        if self.value is None or self.change is None:
            return f"{self.what}: no plan\n" + "\n".join(f"  {reason}" for reason in self.reasons)
        return f"{self.what}: {self._verdict(self.change)} - {self.runs}"

    def _verdict(self, change: float) -> str:
        if change == 0:
            return "no difference"
        difference = in_unit(self.goal, abs((self.value or 0.0) - self.base))
        same = f"the same {', '.join(self.equal)}, " if self.equal else ""
        return f"{same}{difference} {'worse' if change > 0 else 'better'} ({abs(change):.1%})"


def priced(what: str, base: Plan, found: Plan) -> Priced:
    """The plan of a variant against the plan itself."""
    pairs = list(zip(base.objectives, found.objectives, strict=True))
    differing = (i for i, (ours, theirs) in enumerate(pairs) if not isclose(ours.value, theirs.value, rel_tol=1e-6))
    if (index := next(differing, None)) is None:
        first = base.objectives[0]
        return Priced(what, first.goal, first.value, first.value, runs(found))
    equal = tuple(ours.goal for ours, _ in pairs[:index])
    ours, theirs = pairs[index]
    return Priced(what, ours.goal, ours.value, theirs.value, runs(found), equal=equal)


def impossible(what: str, base: Plan, problems: Iterable[Problem]) -> Priced:
    """A variant that no plan meets."""
    ours = base.objectives[0]
    return Priced(what, ours.goal, ours.value, None, reasons=tuple(str(problem) for problem in problems))


def relaxations(scenario: Scenario) -> tuple[Variant, ...]:
    """Each promise a notch looser, each limit lifted, and the insurance against slow steps taken or dropped."""
    return (*_looser_promises(scenario), *_lifted_limits(scenario), other_end(scenario))


def _looser_promises(scenario: Scenario) -> Iterator[Variant]:
    for index, one in enumerate(scenario.classes):
        for what, slo in _looser(one.slo):
            classes = list(scenario.classes)
            classes[index] = one.model_copy(update={"slo": slo})
            yield Variant(f"{one.name} {what}", scenario.model_copy(update={"classes": tuple(classes)}))


def _looser(slo: Slo) -> Iterator[tuple[str, Slo]]:
    """(`tpot p95 60 ms -> 75 ms`, the SLO with it)."""
    for metric in METRICS:
        limit = getattr(slo, metric)
        if isinstance(limit, Percentiles):
            for statistic, value in limit.limits.items():
                new = limit.model_copy(update={f"{statistic}_s": value * NOTCH})
                yield _from_to(f"{metric} {statistic}", value), slo.model_copy(update={metric: new})
        elif limit is not None:
            yield _from_to(f"{metric} of each request", limit), slo.model_copy(update={metric: limit * NOTCH})


def _from_to(name: str, value_s: float) -> str:
    return f"{name} {time_text(value_s)} -> {time_text(value_s * NOTCH)}"


def _lifted_limits(scenario: Scenario) -> Iterator[Variant]:
    for name, neutral in NEUTRAL.items():
        value = getattr(scenario.limits, name)
        if value != neutral:
            stated = f" {value:g}" if isinstance(value, int | float) else ""
            yield Variant(f"limits.{name}{stated} lifted", _with_limits(scenario, {name: neutral}))


def other_end(scenario: Scenario) -> Variant:
    """The insurance against slow steps, taken or dropped."""
    other = "expected" if scenario.limits.hold_at == "pessimistic" else "pessimistic"
    return Variant(f"limits.hold_at: {other}", _with_limits(scenario, {"hold_at": other}))


def _with_limits(scenario: Scenario, changes: dict[str, Any]) -> Scenario:
    return scenario.model_copy(update={"limits": scenario.limits.model_copy(update=changes)})


def forced(scenario: Scenario, words: Iterable[str], accelerators: Mapping[str, str]) -> Variant:
    """The scenario in which every pool is as the words say (`h100 tp2`, or `h100-tp2`).

    accelerators: what each node type of the fleet holds, by the name the plan gives the node type.
    """
    asked = tuple(words)
    parts = [part for word in asked for part in _split(word.lower(), scenario, accelerators)]
    degrees = _degrees(parts)
    return Variant(" ".join(asked), scenario.model_copy(update={
        "search": _search(scenario, degrees, [p for p in parts if p in get_args(Role)]),
        "models": _models(scenario, [p for p in parts if p in get_args(Dtype)], [p[3:] for p in parts if _is_kv(p)]),
        "fleet": _fleet(scenario, [p for p in parts if _nodes_called(p, scenario, accelerators)], accelerators),
    }))  # fmt: skip


def _split(word: str, scenario: Scenario, accelerators: Mapping[str, str]) -> list[str]:
    """The word, or its parts between hyphens; BadInput when either means nothing here."""
    if _is_understood(word, scenario, accelerators):
        return [word]
    parts = word.split("-")
    if len(parts) > 1 and all(_is_understood(part, scenario, accelerators) for part in parts):
        return parts
    known = (*get_args(Role), *get_args(Dtype), *accelerators)
    understood = f"understood: {UNDERSTOOD}, the fleet's {', '.join(accelerators)}"
    hint = "; ".join(part for part in (did_you_mean(word, known), understood) if part)
    raise BadInput(Problem(f"nothing of this scenario is called {word!r}", hint=hint))


def _is_understood(word: str, scenario: Scenario, accelerators: Mapping[str, str]) -> bool:
    named = word in get_args(Role) or word in get_args(Dtype) or _is_kv(word)
    return named or bool(_DEGREE.match(word)) or bool(_nodes_called(word, scenario, accelerators))


def _is_kv(word: str) -> bool:
    return word.startswith("kv-") and word[3:] in get_args(KvDtype)


def _nodes_called(word: str, scenario: Scenario, accelerators: Mapping[str, str]) -> list[NodeType]:
    """Node types whose name is the word; else those whose accelerator's name has it (`h100` of H100-SXM5-80GB)."""
    nodes = scenario.fleet.nodes
    exact = [node for node in nodes if word in (node.name.lower(), node.node.lower())]
    return exact or [node for node in nodes if word in re.split(r"[-_ ]", accelerators[node.name or node.node].lower())]


def _degrees(parts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """`tp` -> the degrees asked for."""
    found: dict[str, tuple[int, ...]] = {}
    for part in parts:
        if match := _DEGREE.match(part):
            found[match[1]] = (*found.get(match[1], ()), int(match[2]))
    return found


def _search(scenario: Scenario, degrees: dict[str, tuple[int, ...]], roles: list[str]) -> Any:
    """What is forced replaces what the scenario allows."""
    changes: dict[str, Any] = {**degrees, **({"roles": tuple(roles)} if roles else {})}
    most = scenario.search.max_gpus_per_replica
    if most and any(degree > most for listed in degrees.values() for degree in listed):
        changes["max_gpus_per_replica"] = None
    return scenario.search.model_copy(update=changes)


def _models(scenario: Scenario, weights: list[str], kv: list[str]) -> dict[str, Any]:
    formats = {**({"weights": tuple(weights)} if weights else {}), **({"kv": tuple(kv)} if kv else {})}
    return {key: served.model_copy(update=formats) for key, served in scenario.models.items()}


def _fleet(scenario: Scenario, words: list[str], accelerators: Mapping[str, str]) -> Any:
    if not words:
        return scenario.fleet
    kept = [node for word in words for node in _nodes_called(word, scenario, accelerators)]
    names = {node.name or node.node for node in kept}
    nodes = tuple(node for node in scenario.fleet.nodes if (node.name or node.node) in names)
    networks = tuple(one for one in scenario.fleet.networks if set(one.between) <= names)
    return scenario.fleet.model_copy(update={"nodes": nodes, "networks": networks})
