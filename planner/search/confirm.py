"""Confirm: a whole deployment under the scenario's own traffic, class by class. It chooses nothing, it prices nothing.

Pools that share no class and no edge cannot disturb each other, so each such part is simulated by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from planner.perf.encoder import build_encoder
from planner.perf.replica import build_replica
from planner.search.demand import Load, load_of
from planner.search.setting import Setting
from planner.sim import simulate as sim
from planner.sim.backlog import saturated
from planner.sim.metrics import ClassSummary, summarise
from planner.sim.periods import room
from planner.spec.deployment import Deployment, Pool
from planner.spec.requests import Requests
from planner.spec.step import Replica, StepCost

WARMUP = 0.1
REQUESTS_PER_REPLICA = 300
TURNOVERS = 5
MOST_REQUESTS = 100_000
Onlooker = Callable[[int, int, str], bool]
"""Told (requests finished, requests, what is simulated) every now and then; False ends the run there."""


@dataclass(frozen=True, slots=True)
class View:
    """What is special about watching. draw: number of the draw, each with a seed of its own.

    cycle: whole rounds of the profiles instead of their busiest step. log: flights written down. onlooker: see there.
    """

    draw: int = 0
    cycle: bool = False
    log: int = 0
    onlooker: Onlooker | None = None


PLAIN = View()


@dataclass(frozen=True, slots=True)
class Part:
    """Pools that depend on each other, and the classes that they serve."""

    load: Load
    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Seen:
    """A part and what its simulation showed."""

    part: Part
    run: sim.Run
    summaries: Mapping[str, ClassSummary]
    saturated: bool
    factor: float

    @property
    def late(self) -> bool:
        """Whether a job missed its deadline."""
        deadline = self.part.load.offered[0].deadline_s
        return self.part.load.kind == "job" and deadline is not None and self.run.end_s > deadline

    @property
    def failed(self) -> tuple[str, ...]:
        """Classes whose promises broke."""
        everyone = self.late or self.saturated
        return tuple(name for name, found in self.summaries.items() if everyone or not found.met)


def parts(setting: Setting, deployment: Deployment) -> tuple[Part, ...]:
    """The deployment cut into pieces that do not touch, in the order of the scenario's classes."""
    groups = _connected(deployment)
    return tuple(_part(setting, deployment, group) for group in groups)


def _connected(deployment: Deployment) -> list[set[str]]:
    """Sets of pools joined by an edge or by a class routed to both."""
    by_class: dict[str, set[str]] = {}
    for route in deployment.routes:
        by_class.setdefault(route.request_class, set()).add(route.pool)
    groups: list[set[str]] = []
    for joined in [*by_class.values(), *({edge.source, edge.target} for edge in deployment.edges)]:
        touching = [group for group in groups if group & joined]
        groups = [group for group in groups if not group & joined] + [set.union(joined, *touching)]
    return groups


def _part(setting: Setting, deployment: Deployment, pools: set[str]) -> Part:
    routes = tuple(route for route in deployment.routes if route.pool in pools)
    served = {route.request_class for route in routes}
    classes = tuple(one for one in setting.scenario.classes if one.name in served)
    kept = deployment.model_copy(update={
        "pools": tuple(pool for pool in deployment.pools if pool.name in pools),
        "services": tuple(service for service in deployment.services if service.name in pools),
        "edges": tuple(edge for edge in deployment.edges if edge.source in pools),
        "routes": routes,
    })  # fmt: skip
    return Part(load_of(classes, setting.folder, setting.presets), kept)


def replica_of(setting: Setting, pool: Pool) -> Replica:
    model = next(model for model in setting.models.values() if model.name == pool.model)
    hardware = setting.sites[pool.node].hardware
    if pool.encodes:
        return build_encoder(model, pool, hardware)
    return setting.as_set(build_replica(model, pool, hardware, setting.profile, estimator=setting.estimator), pool)


def watch(
    setting: Setting,
    deployment: Deployment,
    *,
    factor: float = 1.0,
    slower: float = 1.0,
    view: View = PLAIN,
) -> tuple[Seen, ...]:
    """Simulate every part at `factor` times its demand, with every step `slower` times as long."""
    return tuple(_watch(setting, part, factor, slower, view) for part in parts(setting, deployment))


def watch_worst(setting: Setting, deployment: Deployment, *, factor: float = 1.0) -> tuple[Seen, ...]:
    """The parts as slow as the scenario asks promises to survive; nothing when they need only hold as expected."""
    slower = setting.slowdown(rel_error_of(setting, deployment))
    return watch(setting, deployment, factor=factor, slower=slower) if slower != 1.0 else ()


def rel_error_of(setting: Setting, deployment: Deployment) -> float:
    """The largest error of a step's price in any pool."""
    return max(replica_of(setting, pool).cost.rel_error for pool in deployment.pools)


def _watch(setting: Setting, part: Part, factor: float, slower: float, view: View) -> Seen:
    replicas = {pool.name: slowed(replica_of(setting, pool), slower) for pool in part.deployment.pools}
    seed = setting.seed + view.draw
    whole = view.cycle and part.load.cycle_s > 0.0
    if whole:
        requests = part.load.draw_cycle(seed=seed, factor=factor)
    else:
        requests = _requests(setting, part, replicas, factor, seed)
    requests = _with_models(setting, requests)
    warmup = WARMUP if part.load.kind == "open" and not view.cycle else 0.0
    what = f"simulating {part.load.name}{'' if slower == 1.0 else f', steps x {slower:.3g}'}"
    look = view.onlooker
    flights = max(view.log, room(len(requests))) if view.cycle else view.log
    run = sim.simulate(
        part.deployment, replicas, requests, seed=seed, warmup=warmup, log=flights,
        go_on=(lambda done, total: look(done, total, what)) if look else None,
    )  # fmt: skip
    return Seen(part, run, summarise(run, part.load.slos), not whole and saturated(run), factor)


def _requests(setting: Setting, part: Part, replicas: Mapping[str, Replica], factor: float, seed: int) -> Requests:
    """Enough requests that every replica fills and turns over; a job whole."""
    if part.load.kind == "job":
        return part.load.draw(seed=seed)
    count = sum(pool.replicas for pool in part.deployment.pools)
    seats = sum(pool.replicas * replicas[pool.name].max_seqs for pool in part.deployment.pools)
    turnover = min(TURNOVERS * seats, MOST_REQUESTS, _by_residence(part.load, factor))
    wanted = max(setting.scenario.search.requests_per_probe, REQUESTS_PER_REPLICA * count, turnover)
    return part.load.draw(seed=seed, requests=wanted, factor=factor)


def _with_models(setting: Setting, requests: Requests) -> Requests:
    """Tasks ask for models by their names in the scenario, pools by those in the catalog."""
    if requests.tasks is None:
        return requests
    known = {key: model.name for key, model in setting.models.items()}
    kinds = tuple(replace(kind, model=known.get(kind.model, "")) for kind in requests.tasks.kinds)
    return replace(requests, tasks=replace(requests.tasks, kinds=kinds))


def _by_residence(load: Load, factor: float) -> int:
    """Turnovers of the requests in flight if each token takes as long as its promise allows (else 0.1 s)."""
    limits = [limit for slo in load.slos.values() for metric, _, limit in slo.targets if metric == "tpot"]
    limits += [slo.per_request["tpot"] for slo in load.slos.values() if "tpot" in slo.per_request]
    residence_s = max(limits, default=0.1) * load.output_tokens
    return int(TURNOVERS * (load.demand or 1.0) * factor * residence_s)


def slowed(replica: Replica, factor: float) -> Replica:
    """The replica with every step `factor` times as long."""
    if factor == 1.0:
        return replica
    cost: StepCost = replica.cost
    scaled = replace(
        cost, decode_s=cost.decode_s * factor, decode_context_s=cost.decode_context_s * factor,
        decode_window_s=cost.decode_window_s * factor, linear_s=np.asarray(cost.linear_s) * factor,
        pair_s=cost.pair_s * factor, window_pair_s=cost.window_pair_s * factor, context_s=cost.context_s * factor,
        chunk_s=cost.chunk_s * factor, prefill_floor_s=cost.prefill_floor_s * factor,
    )  # fmt: skip
    return replace(replica, cost=scaled)


def held(seen: Iterable[Seen]) -> bool:
    return not any(one.failed for one in seen)
