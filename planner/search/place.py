"""Place: which replica sits on which accelerators of which node, and what the real path between two pools carries.

Not a choice of how many: counts come from the solver. The cluster is a graph of hosts, scale-up domains and fabrics,
with usable bandwidth per accelerator on its edges; a transfer goes at the bottleneck of its widest path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from planner.search.setting import Setting, Site
from planner.spec.deployment import Deployment, Pool

if TYPE_CHECKING:
    import networkx as nx

HOP_S = 20e-6
NO_MORE: Mapping[str, int] = MappingProxyType({})
"""No type of which replicas are spread over more nodes than they need."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One replica: its pool, its number, and per host the first accelerator it takes and how many."""

    pool: str
    replica: int
    spans: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Link:
    """What one accelerator can send over a path, one way."""

    bandwidth_bytes_per_s: float
    latency_s: float


def cluster_graph(setting: Setting) -> nx.Graph[str]:
    """Hosts `type/0`, domains `type/up/0`, fabrics `type/out`; edges carry bytes/s per accelerator and seconds."""
    import networkx as nx

    graph: nx.Graph[str] = nx.Graph()
    for site in setting.sites.values():
        _add_site(graph, site)
    for a, b in _pairs(setting.sites.values()):
        link = network(setting, a, b)
        graph.add_edge(_fabric(a), _fabric(b), bandwidth=link.bandwidth_bytes_per_s, latency=link.latency_s)
    return graph


def _pairs(sites: Iterable[Site]) -> Iterator[tuple[Site, Site]]:
    listed = list(sites)
    yield from ((a, b) for i, a in enumerate(listed) for b in listed[i + 1 :])


def _add_site(graph: nx.Graph[str], site: Site) -> None:
    joined = max(1, site.node.scaleup_domain // site.per_node)
    up, out = _scale_up(site), _scale_out(site)
    for i in range(site.entry.count):
        host = f"{site.name}/{i}"
        graph.add_edge(host, f"{site.name}/up/{i // joined}", bandwidth=up.bandwidth_bytes_per_s, latency=up.latency_s)
        graph.add_edge(host, _fabric(site), bandwidth=out.bandwidth_bytes_per_s, latency=out.latency_s / 2)


def _fabric(site: Site) -> str:
    return f"{site.name}/out"


def _scale_up(site: Site) -> Link:
    fabric = site.hardware.scaleup
    usable = fabric.p2p_bandwidth_bytes_per_s if fabric else 0.0
    return Link(usable or site.hardware.link, fabric.alpha_s if fabric else HOP_S)


def _scale_out(site: Site) -> Link:
    """The accelerator's share of the node's network cards at the share of line rate that the fabric delivers."""
    fabric = site.hardware.scaleout
    if fabric is None or not fabric.peak_bandwidth_bytes_per_s:
        return Link(site.hardware.nic, HOP_S)
    usable = (
        fabric.p2p_bandwidth_bytes_per_s / fabric.peak_bandwidth_bytes_per_s
        if fabric.p2p_bandwidth_bytes_per_s
        else 1.0
    )
    return Link(site.hardware.nic * usable, fabric.alpha_s or HOP_S)


def network(setting: Setting, a: Site, b: Site) -> Link:
    """Between nodes of two types (or of one): as the scenario states, else the slower of the two fabrics."""
    for stated in setting.scenario.fleet.networks:
        if set(stated.between) == {a.name, b.name}:
            return Link(stated.bandwidth_bytes_per_s, stated.latency_s)
    ends = (_scale_out(a), _scale_out(b))
    return Link(min(e.bandwidth_bytes_per_s for e in ends), max(e.latency_s for e in ends))


def seats(setting: Setting, pools: Iterable[Pool], nodes: Mapping[str, int] = NO_MORE) -> tuple[Seat, ...]:
    """Replicas on hosts: sizes that divide each other first, larger before smaller, each on the first host with room.

    Other sizes come last, on hosts of their own, as the solver counted them. On types for which `nodes` says how many
    hosts there are, each goes where the fewest of its pool stand.
    """
    free = {f"{site.name}/{i}": site.per_node for site in setting.sites.values() for i in range(site.entry.count)}
    odd: dict[str, int] = {}
    found: list[Seat] = []
    for pool in sorted(pools, key=lambda p: (_is_odd(p.parallelism.gpus), -p.parallelism.gpus)):
        for replica in range(pool.replicas):
            site = setting.sites[pool.node]
            hosts = [f"{site.name}/{i}" for i in range(nodes.get(site.name, site.entry.count))]
            if site.name in nodes:
                hosts.sort(key=lambda host: sum(seat.pool == pool.name and seat.spans[0][0] == host for seat in found))
            found.append(Seat(pool.name, replica, _sit(site, hosts, pool.parallelism.gpus, free, odd)))
    return tuple(found)


def crowding(seated: Iterable[Seat]) -> dict[str, int]:
    """Most replicas of each pool that stand on one host."""
    counts = Counter((seat.pool, host) for seat in seated for host, _, _ in seat.spans)
    most: dict[str, int] = {}
    for (pool, _), count in counts.items():
        most[pool] = max(most.get(pool, 0), count)
    return most


def _is_odd(gpus: int) -> bool:
    return gpus & (gpus - 1) != 0


def _sit(
    site: Site, hosts: list[str], gpus: int, free: dict[str, int], odd: dict[str, int]
) -> tuple[tuple[str, int, int], ...]:
    """Accelerators for one replica; `odd` remembers which hosts belong to a size that shares with no other."""
    if gpus > site.per_node:
        empty = [h for h in hosts if free[h] == site.per_node][: gpus // site.per_node]
        free.update(dict.fromkeys(empty, 0))
        return tuple((host, 0, site.per_node) for host in empty)
    if _is_odd(gpus):
        host = next(h for h in hosts if free[h] >= gpus and odd.get(h, gpus if free[h] == site.per_node else 0) == gpus)
        odd[host] = gpus
    else:
        host = next(h for h in hosts if free[h] >= gpus)
    first = site.per_node - free[host]
    free[host] -= gpus
    return ((host, first, gpus),)


def whole_nodes(site: Site, pools: Iterable[Pool]) -> int:
    """Nodes that hold the replicas of these pools: those that span several, first fit of the rest, odd sizes apart."""
    spanning, rooms = 0, dict[int, list[int]]()
    for size in sorted((p.parallelism.gpus for p in pools for _ in range(p.replicas)), reverse=True):
        if size > site.per_node:
            spanning += -(-size // site.per_node)
            continue
        shared = rooms.setdefault(size if _is_odd(size) else 0, [])
        place = next((i for i, room in enumerate(shared) if room >= size), None)
        if place is None:
            shared.append(site.per_node - size)
        else:
            shared[place] -= size
    return spanning + sum(map(len, rooms.values()))


def path_link(graph: nx.Graph[str], source: str, target: str) -> Link:
    """Bottleneck bandwidth and summed latency of the widest path between two hosts; in one host its scale-up link."""
    import networkx as nx

    if source == target:
        edges = [data for _, end, data in graph.edges(source, data=True) if "/up/" in end]
        return Link(edges[0]["bandwidth"], edges[0]["latency"])
    widest = nx.maximum_spanning_tree(graph, weight="bandwidth")
    path = nx.shortest_path(widest, source, target)
    edges = [widest.edges[a, b] for a, b in zip(path, path[1:], strict=False)]
    return Link(min(e["bandwidth"] for e in edges), sum(e["latency"] for e in edges))


def pair_bandwidth(setting: Setting, graph: nx.Graph[str], seated: Iterable[Seat], source: Pool, target: Pool) -> Link:
    """What any replica of `source` can send to any of `target`: the worst pair, over all lanes of the smaller one."""
    listed = list(seated)
    hosts = {
        pool.name: {span[0] for seat in listed if seat.pool == pool.name for span in seat.spans}
        for pool in (source, target)
    }
    links = [path_link(graph, a, b) for a in sorted(hosts[source.name]) for b in sorted(hosts[target.name])]
    lanes = min(source.parallelism.gpus, target.parallelism.gpus)
    slowest = min(links, key=lambda link: link.bandwidth_bytes_per_s)
    return Link(slowest.bandwidth_bytes_per_s * lanes, max(link.latency_s for link in links))


def placement(setting: Setting, deployment: Deployment) -> dict[str, Any]:
    """The plan's placement: per host its replicas as `pool.replica: first-last`, and accelerators without one."""
    hosts: dict[str, dict[str, str]] = {}
    for seat in seats(setting, deployment.pools, deployment.nodes):
        for host, first, count in seat.spans:
            hosts.setdefault(host, {})[f"{seat.pool}.{seat.replica}"] = (
                f"{first}-{first + count - 1}" if count > 1 else f"{first}"
            )
    return {
        "hosts": {host: hosts[host] for host in sorted(hosts, key=_host_order)},
        "idle_accelerators": _idle(setting, deployment, hosts),
    }


def _host_order(host: str) -> tuple[str, int]:
    name, _, number = host.rpartition("/")
    return name, int(number)


def _idle(setting: Setting, deployment: Deployment, hosts: Mapping[str, Any]) -> dict[str, int]:
    """Paid accelerators without a replica, by node type."""
    idle = {}
    for site in setting.sites.values():
        paid = sum(site.per_node for host in hosts if host.rpartition("/")[0] == site.name)
        used = sum(pool.gpus for pool in deployment.pools if pool.node == site.name)
        if paid > used:
            idle[site.name] = paid - used
    return idle


def home_link(site: Site) -> Link:
    """What an accelerator sends to another of its type: inside the only node, else over the network."""
    return _scale_up(site) if site.entry.count == 1 else _scale_out(site)
