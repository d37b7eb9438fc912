"""Demand: which request classes may share a pool, and how much each group asks for. Not how it is served.

Open classes of one model are evaluated together, in the proportions of the scenario, and each alone; so the solver may
give them one pool or several. A job and a closed loop stand alone. With profiles the busiest step of each class counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from planner import traffic
from planner.catalog import ResolvedScenario
from planner.errors import BadInput, Problem, Where, raise_all
from planner.sim.outside import find
from planner.sim.routers import ROUTERS
from planner.spec.requests import Requests
from planner.spec.scenario import Scenario
from planner.spec.slo import Slo
from planner.spec.workload import RequestClass
from planner.traffic import Offered, Traffic

Kind = Literal["open", "job", "closed"]


@dataclass(frozen=True, slots=True)
class Load:
    """Classes of one model. demand: requests per second, or in flight for a closed loop; None = no rate set.

    cycle: the same traffic with its profiles, which repeat after cycle_s (0 = without profiles).
    """

    name: str
    model: str
    kind: Kind
    classes: tuple[RequestClass, ...]
    offered: tuple[Offered, ...]
    traffic: Traffic
    demand: float | None
    cycle: Traffic
    cycle_s: float

    @property
    def slos(self) -> dict[str, Slo]:
        return {one.name: one.slo for one in self.classes}

    @property
    def output_tokens(self) -> float:
        """Mean per request over the group, weighted by rate."""
        weights = [one.peak_per_s or 1.0 for one in self.offered]
        return sum(w * one.output_tokens for w, one in zip(weights, self.offered, strict=True)) / sum(weights)

    @property
    def input_tokens(self) -> float:
        """Mean per request over the group, weighted by rate."""
        weights = [one.peak_per_s or 1.0 for one in self.offered]
        return sum(w * one.input_tokens for w, one in zip(weights, self.offered, strict=True)) / sum(weights)

    def draw(self, *, seed: int, requests: int | None = None, factor: float = 1.0) -> Requests:
        """The group's requests at `factor` times its demand."""
        return self.traffic.draw(seed=seed, requests=requests, rate_scale=factor)

    def draw_cycle(self, *, seed: int, factor: float = 1.0) -> Requests:
        """All requests of one round of the profiles, as their rates rise and fall."""
        expected = sum(one.rate_per_s or 0.0 for one in self.offered) * factor * self.cycle_s
        drawn = self.cycle.draw(seed=seed, requests=int(expected + 8 * expected**0.5 + 8), rate_scale=factor)
        return drawn.first(int(np.searchsorted(drawn.arrival_s, self.cycle_s)))


Presets = Mapping[str, traffic.Preset]
"""Presets by name that a user's catalog adds to the shipped ones."""


def require_plain(scenario: Scenario | ResolvedScenario) -> None:
    """BadInput, with its place when the file is known, for what cannot be planned.

    Classes with a graph or a session (nothing stands in for simulating them), and routers that nobody knows.
    """
    asked = scenario.scenario if isinstance(scenario, ResolvedScenario) else scenario
    found = list(_unknown_router(scenario, asked.engine.router))
    for index, one in enumerate(asked.classes):
        if one.walks:
            key = "graph" if one.graph is not None else "session"
            where = scenario.where("classes", index, key) if isinstance(scenario, ResolvedScenario) else Where()
            hint = "give the deployment yourself: serveplan simulate SCENARIO --deployment FILE"
            found.append(
                Problem(f"class {one.name!r} has a {key}, which can be simulated but not planned", where, hint)
            )
    raise_all(found)


def _unknown_router(scenario: Scenario | ResolvedScenario, name: str) -> Iterator[Problem]:
    try:
        find(ROUTERS, name)
    except BadInput as error:
        where = scenario.where("engine", "router") if isinstance(scenario, ResolvedScenario) else Where()
        yield from (replace(problem, where=where) for problem in error.problems)


def loads(scenario: Scenario, folder: Path, presets: Presets) -> tuple[Load, ...]:
    """All groups that may share a pool, in the order of the scenario's models and classes."""
    return tuple(load for key in scenario.models for load in _of_model(scenario, key, folder, presets))


def load_of(classes: tuple[RequestClass, ...], folder: Path, presets: Presets) -> Load:
    """One group."""
    cycle = traffic.load(classes, folder, {**traffic.shipped(), **presets})
    drawn = cycle.at_peak()
    offered = cycle.offered()
    kind: Kind = "closed" if offered[0].concurrency else "open" if _is_open(classes[0]) else "job"
    rates = [one.peak_per_s for one in offered if one.peak_per_s]
    demand = float(offered[0].concurrency) if kind == "closed" else sum(rates) if len(rates) == len(offered) else None
    return Load(
        "+".join(one.name for one in classes),
        classes[0].model,
        kind,
        classes,
        offered,
        drawn,
        demand,
        cycle,
        cycle.cycle_s,
    )


def _of_model(scenario: Scenario, key: str, folder: Path, presets: Presets) -> Iterator[Load]:
    mine = tuple(one for one in scenario.classes if one.model == key)
    together = tuple(one for one in mine if _is_open(one))
    if len(together) > 1:
        yield load_of(together, folder, presets)
    yield from (load_of((one,), folder, presets) for one in mine)


def _is_open(one: RequestClass) -> bool:
    """A preset may carry arrivals of its own, which are open; so are the times of a trace."""
    return one.arrivals is None or one.arrivals.rate_per_s is not None
