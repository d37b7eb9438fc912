"""Probe: one pool on trial - the deployment, replicas and promises with which a candidate is simulated alone.

Not a measurement. A prefill pool is tried on requests of one output token, so that it never decodes; a decode pool
behind a prefill pool that takes no time, so that only its own speed and the KV link count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.perf.hardware import Hardware
from planner.perf.memory import memory_of
from planner.perf.replica import build_replica
from planner.search.confirm import slowed
from planner.search.demand import Load
from planner.search.place import home_link
from planner.search.setting import Setting
from planner.search.space import Candidate
from planner.spec.deployment import Deployment, Edge, Pool, Route
from planner.spec.model import Model
from planner.spec.requests import Requests
from planner.spec.slo import Slo
from planner.spec.step import Replica, StepCost
from planner.units import render

POOL, SOURCE = "pool", "source"
MANY = 10**7
"""Tokens and blocks of the prefill pool that takes no time: more than any request has."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate alone under one load. slos: the promises this pool alone can break.

    replica: as slow as promises must survive; priced: as its steps are priced.
    """

    candidate: Candidate
    load: Load
    model: Model
    hardware: Hardware
    replica: Replica
    slos: Mapping[str, Slo]
    router: str
    link_bytes_per_s: float
    priced: Replica

    @property
    def as_priced(self) -> Trial:
        """The same trial at the expected speed, for what is no promise (power)."""
        return replace(self, replica=self.priced)

    def pool(self, replicas: int) -> Pool:
        return _pool(self, POOL, replicas)

    def deployment(self, replicas: int = 1) -> Deployment:
        """`replicas` of the pool, behind as many sources when it only decodes."""
        decodes_only = self.candidate.role == "decode"
        entry = SOURCE if decodes_only else POOL
        routes = tuple(Route(request_class=one.name, pool=entry) for one in self.load.classes)
        pools, edges = (self.pool(replicas),), ()
        if decodes_only:
            source = _pool(self, SOURCE, replicas).model_copy(update={"phases": ("prefill",)})
            edge = Edge.model_validate(
                {"source": SOURCE, "target": POOL, "bandwidth": render(self.link_bytes_per_s, "bandwidth")}
            )
            return Deployment(pools=(source, *pools), edges=(edge,), routes=routes, router=self.router)
        return Deployment(pools=pools, edges=edges, routes=routes, router=self.router)

    @property
    def replicas(self) -> dict[str, Replica]:
        given = {POOL: self.replica}
        return {**given, SOURCE: instant(self.replica)} if self.candidate.role == "decode" else given

    def requests(self, drawn: Requests) -> Requests:
        """The load as this pool sees it."""
        return (
            replace(drawn, output_tokens=np.ones_like(drawn.output_tokens))
            if self.candidate.role == "prefill"
            else drawn
        )


def trials(setting: Setting, candidates: Sequence[Candidate], load: Load, kin: Sequence[Candidate] = ()) -> list[Trial]:
    """Trials of candidates under one load; they and their `kin` that differ in the token budget share a price table."""
    widest: dict[tuple[object, ...], int] = {}
    for c in (*kin, *candidates):
        widest[_priced(c)] = max(widest.get(_priced(c), 0), c.max_tokens_per_step)
    built: dict[tuple[object, ...], Replica] = {}
    for c in candidates:
        if _priced(c) not in built:
            built[_priced(c)] = _replica(setting, replace(c, max_tokens_per_step=widest[_priced(c)]))
    return [_trial(setting, c, load, built[_priced(c)]) for c in candidates]


def _priced(c: Candidate) -> tuple[object, ...]:
    """What the price table depends on."""
    return (c.model, c.site, c.tp, c.pp, c.dp, c.ep, c.cp, c.dcp, c.weights, c.kv, c.max_seqs)


def _replica(setting: Setting, c: Candidate) -> Replica:
    hardware, pool = setting.sites[c.site].hardware, c.pool(setting)
    built = build_replica(setting.models[c.model], pool, hardware, setting.profile, estimator=setting.estimator)
    return setting.as_set(built, pool)


def _trial(setting: Setting, candidate: Candidate, load: Load, like: Replica) -> Trial:
    """`like` was priced for a token budget at least as large; the budget changes memory, not prices."""
    model, site = setting.models[candidate.model], setting.sites[candidate.site]
    blocks = memory_of(model, candidate.pool(setting), site.hardware, setting.profile).kv_blocks
    replica = replace(like, max_tokens_per_step=candidate.max_tokens_per_step, kv_blocks=blocks)
    slos = {name: promises_of(slo, candidate.role) for name, slo in load.slos.items()}
    link = home_link(site).bandwidth_bytes_per_s * candidate.gpus
    tried = slowed(replica, setting.slowdown(replica.cost.rel_error))
    return Trial(candidate, load, model, site.hardware, tried, slos, setting.scenario.engine.router, link, replica)


def promises_of(slo: Slo, role: str) -> Slo:
    """The part of an SLO that a pool can keep or break alone: TTFT is prefill's, TPOT and gaps are decode's."""
    if role == "prefill":
        return slo.model_copy(update={"tpot": None, "itl": None, "e2e": None})
    return slo.model_copy(update={"ttft": None, "e2e": None}) if role == "decode" else slo


def _pool(trial: Trial, name: str, replicas: int) -> Pool:
    c = trial.candidate
    phases = {"aggregated": ("prefill", "decode"), "prefill": ("prefill", "decode"), "decode": ("decode",)}[c.role]
    return Pool(
        name=name, model=trial.model.name, node=c.site, accelerator=trial.hardware.accelerator.name, phases=phases,
        parallelism=c.parallelism, replicas=replicas, weights=c.weights, kv=c.kv, max_seqs=c.max_seqs,
        max_tokens_per_step=c.max_tokens_per_step,
    )  # fmt: skip


def instant(like: Replica) -> Replica:
    """A prefill replica that takes no time and has room for everything; it sends what `like` would."""
    nothing = np.zeros(3)
    cost = StepCost(nothing, nothing, nothing, nothing, MANY, 0.0, 0.0, 0.0, 0.0, 0.0, 0, "instant", 0.0)
    return replace(
        like, cost=cost, max_tokens_per_step=MANY, kv_blocks=MANY, watermark=0.0, stages=1, hop_s=0.0, dp=1,
        request_s=0.0, admission_lag_steps=0.0, swap_bytes_per_s=0.0,
    )  # fmt: skip
