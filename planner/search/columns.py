"""Columns: evaluated candidates -> the solver's problem, and its selection -> a deployment. Numbers and names only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from planner.perf.memory import kv_bytes_per_token
from planner.search.demand import Load
from planner.search.evaluated import Evaluated
from planner.search.place import Link, cluster_graph, home_link, network, pair_bandwidth, seats, whole_nodes
from planner.search.problem import Barred, Bounds, Column, Group, Inventory, Path, Problem, Quota, Selection
from planner.search.setting import Setting, Site
from planner.search.space import Candidate
from planner.search.watts import watts_of
from planner.spec.deployment import Deployment, Edge, Pool, Route
from planner.spec.precision import BYTES_PER_KV, BYTES_PER_WEIGHT
from planner.spec.scenario import Limits
from planner.spec.workload import Precision
from planner.tco import electricity_usd_per_hour, node_idle_w, node_usd_per_hour, wall_w
from planner.units import render


def problem_of(setting: Setting, columns: tuple[Evaluated, ...]) -> Problem:
    """What the solver chooses from."""
    paths = tuple(_paths(setting, columns))
    return Problem(
        columns=tuple(_column(setting, one) for one in columns),
        groups=tuple(_group(load, columns) for load in setting.loads),
        paths=paths,
        inventory=tuple(_inventory(site) for site in setting.sites.values()),
        bounds=_bounds(setting.scenario.limits),
        goals=setting.scenario.objective,
        barred=tuple(barred(setting, columns, paths)),
    )


def _bounds(limits: Limits) -> Bounds:
    return Bounds(
        limits.usd_per_hour, limits.power_w, limits.gpus, limits.min_replicas, limits.max_pools, limits.headroom,
        limits.max_replicas, limits.survive.nodes, limits.survive.zones,
        tuple(Quota(" + ".join(quota.nodes), quota.nodes, quota.gpus) for quota in limits.quotas),
    )  # fmt: skip


def barred(setting: Setting, columns: tuple[Evaluated, ...], paths: tuple[Path, ...]) -> Iterator[Barred]:
    """Paths that a class may not take: in other regions, or in formats too narrow for it."""
    for one in setting.scenario.classes:
        mine = [(p, [columns[i].candidate for i in path.columns]) for p, path in enumerate(paths)
                if one.name in _classes(setting, path.group)]  # fmt: skip
        if one.regions:
            away = (p for p, used in mine if any(_region(setting, c.site) not in one.regions for c in used))
            yield Barred("regions", one.name, tuple(away))
        if one.precision.weights or one.precision.kv:
            narrow = (p for p, used in mine if any(_narrow(c, one.precision) for c in used))
            yield Barred("precision", one.name, tuple(narrow))


def _classes(setting: Setting, group: str) -> tuple[str, ...]:
    return tuple(one.name for load in setting.loads if load.name == group for one in load.classes)


def _region(setting: Setting, site: str) -> str:
    return setting.sites[site].entry.region


def _narrow(candidate: Candidate, floor: Precision) -> bool:
    """Whether weights or cache have fewer bits than the floor."""
    weights = floor.weights is not None and BYTES_PER_WEIGHT[candidate.weights] < BYTES_PER_WEIGHT[floor.weights]
    return weights or (floor.kv is not None and BYTES_PER_KV[candidate.kv] < BYTES_PER_KV[floor.kv])


def _column(setting: Setting, one: Evaluated) -> Column:
    c, per_node = one.candidate, setting.sites[one.candidate.site].per_node
    idle_w, busy_w = watts_of(setting, one)
    return Column(
        key=f"{one.load}/{c.key}", shape=c.shape, node=c.site, gpus=c.gpus,
        span=c.gpus // per_node if c.gpus > per_node else 0, group=one.load, capacity=one.capacity,
        idle_w=idle_w, busy_w=busy_w,
    )  # fmt: skip


def _group(load: Load, columns: Iterable[Evaluated]) -> Group:
    """Without a rate of its own a load asks for one replica of anything."""
    least = min((one.capacity for one in columns if one.load == load.name), default=1.0)
    return Group(load.name, tuple(one.name for one in load.classes), load.demand or least)


def _inventory(site: Site) -> Inventory:
    return Inventory(
        node=site.name, count=site.entry.count, gpus=site.per_node, usd_per_hour=node_usd_per_hour(site.entry),
        idle_w=wall_w(site.entry, node_idle_w(site.node, site.accelerator)),
        usd_per_wh=electricity_usd_per_hour(site.entry, 1.0), zone=site.entry.zone,
    )  # fmt: skip


def _paths(setting: Setting, columns: tuple[Evaluated, ...]) -> Iterator[Path]:
    """Aggregated columns by themselves; prefill columns with the decode columns that go on with their caches."""
    inputs = {load.name: load.input_tokens for load in setting.loads}
    for i, one in enumerate(columns):
        if one.candidate.role == "aggregated":
            yield Path(one.load, (i,))
        if one.candidate.role == "prefill":
            for j, other in enumerate(columns):
                if other.load == one.load and _goes_on(setting, one.candidate, other.candidate):
                    yield Path(one.load, (i, j), _link_s(setting, one, other, inputs[one.load]))


def _goes_on(setting: Setting, source: Candidate, target: Candidate) -> bool:
    """Both sides have one cache format; and one weight format, so that an answer comes from one model throughout."""
    same = source.weights == target.weights or setting.scenario.search.mixed_weights
    return target.role == "decode" and target.kv == source.kv and same


def _link_s(setting: Setting, source: Evaluated, target: Evaluated, input_tokens: float) -> float:
    """Link time of an accelerator that the cache of a mean prompt takes."""
    ends = setting.sites[source.candidate.site], setting.sites[target.candidate.site]
    link: Link = home_link(ends[0]) if ends[0].name == ends[1].name else network(setting, *ends)
    model = setting.models[source.candidate.model]
    return input_tokens * kv_bytes_per_token(model, source.candidate.pool(setting)) / link.bandwidth_bytes_per_s


def deployment_of(setting: Setting, columns: tuple[Evaluated, ...], problem: Problem, chosen: Selection) -> Deployment:
    """Pools of the used columns, edges at the bandwidth of their real paths, routes by the share of slices."""
    names = _names(columns, chosen.used)
    pools = {i: columns[i].candidate.pool(setting, names[i], chosen.replicas[i]) for i in chosen.used}
    nodes = spread_nodes(setting, pools.values(), chosen.nodes) if chosen.spread else {}
    return Deployment(
        pools=tuple(pools.values()),
        edges=tuple(_edges(setting, pools, nodes, problem, chosen)),
        routes=tuple(_routes(names, problem, chosen)),
        router=setting.scenario.engine.router,
        nodes=nodes,
    )


def spread_nodes(setting: Setting, pools: Iterable[Pool], bought: Mapping[str, int]) -> dict[str, int]:
    """Types of which more nodes are bought than the pools fill, so that replicas stand apart."""
    listed = list(pools)
    fewest = {name: whole_nodes(site, [p for p in listed if p.node == name]) for name, site in setting.sites.items()}
    return {name: count for name, count in bought.items() if count > fewest[name]}


def _names(columns: tuple[Evaluated, ...], used: Iterable[int]) -> dict[int, str]:
    """`chat-h100-tp4`; pools that would share a name are told apart by their formats, then by number."""
    names: dict[int, str] = {}
    for i in used:
        c = columns[i].candidate
        short = "-".join(part for part in (columns[i].load, c.site, c.cut, c.role) if part != "aggregated")
        for name in (short, f"{short}-{c.weights}", *(f"{short}-{n}" for n in range(2, 100))):
            if name not in names.values():
                names[i] = name
                break
    return names


def _edges(
    setting: Setting, pools: Mapping[int, Pool], nodes: Mapping[str, int], problem: Problem, chosen: Selection
) -> Iterator[Edge]:
    split = [problem.paths[p].columns for p in sorted(chosen.slices) if len(problem.paths[p].columns) == 2]
    if not split:
        return
    linked = {pools[i].name for ends in split for i in ends}
    graph, seated = cluster_graph(setting), seats(setting, pools.values(), nodes, linked)
    for source, target in split:
        link = pair_bandwidth(setting, graph, seated, pools[source], pools[target])
        yield Edge.model_validate({
            "source": pools[source].name, "target": pools[target].name,
            "bandwidth": render(link.bandwidth_bytes_per_s, "bandwidth"), "latency": render(link.latency_s, "time"),
            "streamed": setting.scenario.engine.kv_transfer == "layers",
        })  # fmt: skip


def _routes(names: Mapping[int, str], problem: Problem, chosen: Selection) -> Iterator[Route]:
    """Each class enters the first column of its paths, in proportion to its slices there."""
    for name in problem.classes:
        entering: dict[int, int] = {}
        for p, slices in sorted(chosen.slices.items()):
            path = problem.paths[p]
            if name in problem.group(path.group).classes:
                entering[path.columns[0]] = entering.get(path.columns[0], 0) + slices
        total = sum(entering.values())
        for i, slices in sorted(entering.items()):
            yield Route(request_class=name, pool=names[i], share=slices / total)
