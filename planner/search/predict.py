"""Predict: what a simulated deployment means for people - classes, pools, bill - with intervals. No choice.

Intervals come from two more simulations, every step slower and faster by the relative error of its price: near
saturation a small error of a step is a large one of a wait, and no formula says how large.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from planner.catalog import Catalog, ResolvedScenario
from planner.errors import Interrupted, Problem, raise_all
from planner.perf.encoder import encoder_memory
from planner.perf.energy import joules
from planner.perf.memory import memory_of
from planner.search.confirm import PLAIN, Onlooker, Seen, View, replica_of, watch
from planner.search.legality import REJECT, require_legal
from planner.search.measurements import Measurement, measurements, over_draws
from planner.search.place import whole_nodes
from planner.search.setting import Setting, Site, resolve
from planner.search.too_long import TooLong, too_long
from planner.sim.metrics import ClassSummary, Statistics
from planner.spec.deployment import Deployment, Pool
from planner.spec.plan import Bill, ClassPrediction, PoolPlan, SloRow, Value
from planner.spec.scenario import Scenario
from planner.spec.slo import METRICS, Slo
from planner.spec.step import Replica
from planner.tco import Share, bill, usd_per_hour, watts

POWER_ERROR = 0.15
"""Relative half-width of board power: the spread of the measured mixes (ML.ENERGY v3, median +- 0.15 TDP)."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a deployment does under a scenario."""

    deployment: Deployment
    classes: tuple[ClassPrediction, ...]
    pools: tuple[PoolPlan, ...]
    bill: Bill
    warnings: tuple[str, ...]
    interrupted: bool = False
    measurements: tuple[Measurement, ...] = ()
    seen: tuple[Seen, ...] = ()
    too_long: tuple[TooLong, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a simulation shall tell beyond one prediction: over how many draws, by which period, with how long a log."""

    draws: int = 1
    period_s: float | None = None
    log: int = 0


@dataclass(frozen=True, slots=True)
class Band:
    """The same deployment simulated as priced, with faster and with slower steps; cut: these two were not finished."""

    middle: tuple[Seen, ...]
    fast: tuple[Seen, ...]
    slow: tuple[Seen, ...]
    cut: bool = False

    @property
    def interrupted(self) -> bool:
        return self.cut or _interrupted(self.middle)


def simulate(
    scenario: Scenario | ResolvedScenario,
    deployment: Deployment,
    *,
    catalog: Catalog | None = None,
    folder: Path | None = None,
    factor: float = 1.0,
    seed: int | None = None,
    asked: Asked | None = None,
    onlooker: Onlooker | None = None,
) -> Prediction:
    """What `deployment` does under the traffic of `scenario`, times `factor`; BadInput when it cannot run there.

    Draws beyond the first only add to `measurements`. With a period the profiles of the traffic are run through once;
    otherwise their busiest step is simulated. An `onlooker` that ends a run gets what was done until then, marked as
    interrupted, or Interrupted when nothing was.
    """
    setting, asked = setting_of(scenario, catalog, folder, seed), asked or Asked()
    require_legal(setting, deployment)
    view = View(cycle=asked.period_s is not None, log=asked.log, onlooker=onlooker)
    seen = watch(setting, deployment, factor=factor, view=view)
    nothing = not any(np.isfinite(one.run.finish_s).any() for one in seen)
    if nothing or setting.scenario.engine.too_long == "refuse":
        _refuse(setting, deployment, seen)
    if nothing:
        raise Interrupted(Problem("interrupted before any request had finished"))
    found = predict(setting, deployment, seen, view=view)
    rows, cut = [measurements(setting, seen, asked.period_s)], found.interrupted
    for number in range(1, asked.draws):
        more = () if cut else watch(setting, deployment, factor=factor, view=replace(view, draw=number, log=0))
        cut = cut or _interrupted(more)
        rows += [] if cut else [measurements(setting, more, asked.period_s)]
    return replace(found, interrupted=cut, measurements=over_draws(rows), seen=seen)


def _refuse(setting: Setting, deployment: Deployment, seen: tuple[Seen, ...]) -> None:
    """BadInput for requests that are too long, if there are any."""
    replicas = {pool.name: replica_of(setting, pool) for pool in deployment.pools}
    raise_all([Problem(str(one), hint=REJECT) for one in too_long(seen, replicas)])


def setting_of(
    scenario: Scenario | ResolvedScenario, catalog: Catalog | None, folder: Path | None, seed: int | None = None
) -> Setting:
    """The scenario with its catalog entries; a resolved one brings its folder. `seed` replaces the scenario's own."""
    if isinstance(scenario, ResolvedScenario):
        return setting_of(scenario.scenario, catalog or scenario.catalog, folder or scenario.folder, seed)
    if seed is not None:
        scenario = scenario.model_copy(update={"search": scenario.search.model_copy(update={"seed": seed})})
    return resolve(scenario, catalog or Catalog.open(), folder or Path())


def predict(
    setting: Setting,
    deployment: Deployment,
    seen: tuple[Seen, ...],
    *,
    spread: bool = True,
    view: View = PLAIN,
) -> Prediction:
    """Words and numbers for a deployment that has been simulated (`seen`); without `spread` no intervals."""
    replicas = {pool.name: replica_of(setting, pool) for pool in deployment.pools}
    error = max(replica.cost.rel_error for replica in replicas.values())
    spread = spread and not _interrupted(seen)
    band = _band(setting, deployment, seen, error, view) if spread else Band(seen, seen, seen)
    classes = tuple(_class(setting, one.name, band) for one in setting.scenario.classes)
    shares, refused = _shares(setting, deployment, seen), too_long(band.middle, replicas)
    return Prediction(
        deployment=deployment,
        classes=classes,
        pools=tuple(_pool(setting, pool, replicas[pool.name], seen, shares) for pool in deployment.pools),
        bill=_bill(tuple(shares.values()), classes, band),
        warnings=(*map(str, refused), *_warnings(setting, band, error), *_doubts(replicas)),
        interrupted=band.interrupted,
        too_long=refused,
    )


def _band(setting: Setting, deployment: Deployment, seen: tuple[Seen, ...], error: float, view: View) -> Band:
    fast, slow = (
        watch(setting, deployment, factor=seen[0].factor, slower=times, view=replace(view, log=0))
        for times in (1 / (1 + error), 1 + error)
    )
    if _interrupted(fast + slow):
        return Band(seen, seen, seen, cut=True)
    return Band(seen, fast, slow)


def _interrupted(seen: Iterable[Seen]) -> bool:
    return any(one.run.interrupted for one in seen)


def _class(setting: Setting, name: str, band: Band) -> ClassPrediction:
    seen, found = _of_class(band.middle, name)
    fast, slow = _of_class(band.fast, name)[1], _of_class(band.slow, name)[1]
    one = next(one for one in setting.scenario.classes if one.name == name)
    offered = next(o for o in seen.part.load.offered if o.name == name)
    rate = (offered.peak_per_s or found.requests_per_s) * (seen.factor if offered.peak_per_s else 1.0)
    good = found.goodput_per_s if found.goodput_per_s is not None else (found.requests_per_s if found.met else 0.0)
    completed = _completed(seen, found, rate)
    scale = completed / found.requests_per_s if found.requests_per_s else 0.0
    return ClassPrediction(
        name=name,
        model=setting.models[one.model].name,
        offered_per_s=rate,
        completed_per_s=completed,
        goodput_per_s=good * scale,
        output_tokens_per_s=found.output_tokens_per_s * scale,
        requests=found.requests,
        metrics={
            metric: _values(found.metrics[metric], fast.metrics[metric], slow.metrics[metric]) for metric in METRICS
        },
        slo=tuple(_rows(one.slo, found)),
    )


def _of_class(seen: Iterable[Seen], name: str) -> tuple[Seen, ClassSummary]:
    return next((one, one.summaries[name]) for one in seen if name in one.summaries)


def _completed(seen: Seen, found: ClassSummary, rate: float) -> float:
    """Requests per second in the steady state: an open class that keeps up completes what is offered.

    The window of a finite run ends with a drain, so its own rate is a little low.
    """
    keeps_up = seen.part.load.kind == "open" and not seen.saturated and not found.rejected
    return rate if keeps_up else found.requests_per_s


def _values(middle: Statistics, fast: Statistics, slow: Statistics) -> dict[str, Value]:
    found = {}
    for name, value in middle.values_s.items():
        around = [value, fast.values_s.get(name, value), slow.values_s.get(name, value)]
        found[name] = Value(value=value, lo=min(around), hi=max(around))
    return found


def _rows(slo: Slo, found: ClassSummary) -> Iterable[SloRow]:
    for metric, statistic, limit in slo.targets:
        statistics = found.metrics[metric]
        predicted = statistics.values_s.get(statistic, 0.0)
        met = predicted <= limit and statistic not in statistics.bounded and found.requests > 0
        yield SloRow(metric=metric, statistic=statistic, limit=limit, predicted=predicted, met=met)
    if found.attainment is not None:
        met = found.attainment >= slo.attainment
        yield SloRow(
            metric="attainment", statistic="attainment", limit=slo.attainment, predicted=found.attainment, met=met
        )


def _shares(setting: Setting, deployment: Deployment, seen: tuple[Seen, ...]) -> dict[str, Share]:
    """What the plan uses of each node type, whole nodes paid."""
    shares = {}
    for site in setting.sites.values():
        pools = [pool for pool in deployment.pools if pool.node == site.name]
        if pools:
            nodes = deployment.nodes.get(site.name) or whole_nodes(site, pools)
            shares[site.name] = _share(setting, site, nodes, pools, seen)
    return shares


def _share(setting: Setting, site: Site, nodes: int, pools: Sequence[Pool], seen: tuple[Seen, ...]) -> Share:
    used = sum(pool.gpus for pool in pools)
    energies = [_energy(setting, pool, seen) for pool in pools]
    busy = sum(b * pool.gpus for (_, b), pool in zip(energies, pools, strict=True)) / used
    return Share(
        node_type=site.entry, node=site.node, accelerator=site.accelerator, nodes=float(nodes),
        used=float(used), accelerators_w=sum(w for w, _ in energies), busy=busy,
    )  # fmt: skip


def _energy(setting: Setting, pool: Pool, seen: tuple[Seen, ...]) -> tuple[float, float]:
    """(watts of the pool's accelerators, share of time busy)."""
    run = next(one.run for one in seen if pool.name in one.run.pools)
    work = run.pools[pool.name].work
    model = next(model for model in setting.models.values() if model.name == pool.model)
    busy = work.busy_s / (work.span_s * pool.replicas) if work.span_s else 0.0
    return joules(work, model, pool, setting.sites[pool.node].hardware).gpu_w, min(1.0, busy)


def _pool(
    setting: Setting, pool: Pool, replica: Replica, seen: tuple[Seen, ...], shares: Mapping[str, Share]
) -> PoolPlan:
    site, share = setting.sites[pool.node], shares[pool.node]
    model = next(model for model in setting.models.values() if model.name == pool.model)
    if pool.encodes:
        found = encoder_memory(model, pool, site.hardware)
    else:
        found = memory_of(model, pool, site.hardware, setting.profile)
    run = next(one.run.pools[pool.name] for one in seen if pool.name in one.run.pools)
    _, busy = _energy(setting, pool, seen)
    part = pool.gpus / share.used
    return PoolPlan(
        name=pool.name, gpus=pool.gpus, nodes=share.nodes * part, weights_bytes_per_gpu=found.weights_bytes,
        kv_bytes_per_gpu=found.kv_bytes, kv_tokens=found.kv_tokens, utilisation=busy,
        kv_occupancy=run.mean_blocks_share,
        usd_per_hour=usd_per_hour(share) * part, watts=watts(share) * part, source=replica.cost.source,
        rel_error=replica.cost.rel_error, checkpoint=model.hf_id,
    )  # fmt: skip


def _bill(shares: tuple[Share, ...], classes: tuple[ClassPrediction, ...], band: Band) -> Bill:
    tokens = sum(one.output_tokens_per_s for one in classes)
    rates = [_tokens_per_s(seen, classes) for seen in (band.middle, band.fast, band.slow)]
    middle = rates[0] or 1.0
    rate = Value(value=tokens, lo=tokens * min(rates) / middle, hi=tokens * max(rates) / middle)
    return bill(shares, rate, watts_rel_error=POWER_ERROR)


def _tokens_per_s(seen: tuple[Seen, ...], classes: tuple[ClassPrediction, ...]) -> float:
    """Output tokens per second of all classes: what an open class is offered, else what the run made."""
    total = 0.0
    for one in classes:
        part, found = _of_class(seen, one.name)
        keeps_up = part.part.load.kind == "open" and not part.saturated
        total += one.output_tokens_per_s if keeps_up else found.output_tokens_per_s
    return total


def _warnings(setting: Setting, band: Band, error: float) -> Iterable[str]:
    if band.cut:
        yield "interrupted before the runs with faster and slower steps had ended: intervals are missing"
    for one in band.middle:
        if one.run.interrupted:
            yield _how_far(one)
        if one.saturated:
            yield _saturation(one)
        yield from _served(one)
    fragile = sorted(
        {name for one in band.slow for name in one.failed} - {name for one in band.middle for name in one.failed}
    )
    if fragile:
        end = f"if every step takes {error:.0%} longer (the pessimistic end of the 80 % interval)"
        yield f"{end}, promises to {', '.join(fragile)} break"
    yield from _confidence(setting, {pool.node for one in band.middle for pool in one.part.deployment.pools})


def _saturation(one: Seen) -> str:
    done = sum(found.requests_per_s for found in one.summaries.values())
    offered = sum(o.peak_per_s or 0.0 for o in one.part.load.offered) * one.factor
    load = f"saturated at {done:.4g} req/s of {offered:.4g}" if offered else f"saturated at {done:.4g} req/s"
    return f"{one.part.load.name}: {load}, the backlog grows: waiting times are lower bounds"


def _served(one: Seen) -> Iterable[str]:
    """How busy services are, and which nodes nobody runs."""
    deployment, tasks = one.part.deployment, one.run.tasks
    for service in deployment.services:
        work, waiting = one.run.pools[service.name].work, one.run.pools[service.name].mean_waiting
        busy = work.busy_s / (work.span_s * service.replicas) if work.span_s else 0.0
        yield f"service {service.name}: {busy:.0%} busy, {waiting:.3g} tasks waiting on average"
    for kind in tasks.kinds if tasks is not None else ():
        name = one.run.class_names[kind.class_index]
        if not deployment.routes_of(name, kind.name, kind.phase, kind.model):
            yield f"{name}: no service runs node {kind.name} ({kind.phase}); it is a delay in which nobody queues"


def _how_far(one: Seen) -> str:
    run = one.run
    ended, all_of_them = int(np.isfinite(run.finish_s).sum()), len(run) - int(run.rejected.sum())
    return (
        f"{one.part.load.name}: interrupted after {ended:,} of {all_of_them:,} requests, {run.end_s:,.1f} s into the "
        "traffic; requests still under way count with their time so far"
    )


def _doubts(replicas: Mapping[str, Replica]) -> Iterable[str]:
    """Step times outside what their source was made from."""
    found = dict.fromkeys(doubt for replica in replicas.values() for doubt in replica.cost.doubts)
    for doubt in found:
        pools = [name for name, replica in replicas.items() if doubt in replica.cost.doubts]
        error = max(replicas[name].cost.rel_error for name in pools)
        yield f"extrapolated: {doubt} ({', '.join(pools)}; ±{error:.0%})"


def _confidence(setting: Setting, nodes: Iterable[str]) -> Iterable[str]:
    """Catalog entries that the catalog itself does not trust."""
    for name in sorted(nodes):
        site = setting.sites[name]
        for entry in (site.accelerator, site.node):
            if entry.confidence == "low":
                yield f"figures of {entry.name} have low confidence ({entry.source})"
