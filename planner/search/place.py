"""Place: which replica sits on which accelerators of which node, and what the real path between two pools carries.

Not a choice of how many: counts come from the solver. The cluster is a graph of hosts, scale-up domains and fabrics,
with usable bandwidth per accelerator on its edges; a transfer goes at the bottleneck of its widest path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING

from planner.search.setting import Setting, Site
from planner.spec.deployment import Pool

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
    joined = hosts_per_domain(site)
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


def seats(
    setting: Setting, pools: Iterable[Pool], nodes: Mapping[str, int] = NO_MORE, linked: Collection[str] = ()
) -> tuple[Seat, ...]:
    """Replicas on as many hosts as the solver counted, those of a pool on as many different ones as that allows.

    nodes: how many hosts of a type there are, where more were bought than the replicas need, to stand apart. linked:
    pools with an edge; on other types they stay close together instead, because caches move between all replicas.

    Sizes that divide each other are seated larger before smaller, so that any host with room will do; other sizes have
    hosts of their own. Replicas of several hosts come first, each tensor-parallel group inside one scale-up domain.
    """
    listed = sorted(pools, key=lambda p: (_is_odd(p.parallelism.gpus), -p.parallelism.gpus))
    found: list[Seat] = []
    for site in setting.sites.values():
        close = () if site.name in nodes else linked
        floor = _Floor(site, nodes.get(site.name), close)
        found += floor.seat([pool for pool in listed if pool.node == site.name])
    order = {pool.name: i for i, pool in enumerate(listed)}
    return tuple(sorted(found, key=lambda seat: (order[seat.pool], seat.replica)))


def crowding(seated: Iterable[Seat]) -> dict[str, int]:
    """Most replicas of each pool that stand on one host."""
    counts = Counter((seat.pool, host) for seat in seated for host, _, _ in seat.spans)
    most: dict[str, int] = {}
    for (pool, _), count in counts.items():
        most[pool] = max(most.get(pool, 0), count)
    return most


def _is_odd(gpus: int) -> bool:
    return gpus & (gpus - 1) != 0


class _Floor:
    """The hosts of one node type while they fill up: accelerators free on each."""

    def __init__(self, site: Site, bought: int | None, linked: Collection[str]):
        self.site, self.bought, self.linked = site, bought, linked
        self.free = [site.per_node] * (site.entry.count if bought is None else bought)

    def seat(self, pools: Sequence[Pool]) -> Iterator[Seat]:
        for pool in (p for p in pools if p.parallelism.gpus > self.site.per_node):
            yield from (Seat(pool.name, replica, self._span(pool)) for replica in range(pool.replicas))
        small = [p for p in pools if p.parallelism.gpus <= self.site.per_node]
        kinds = [list(k) for _, k in groupby(small, lambda p: p.parallelism.gpus if _is_odd(p.parallelism.gpus) else 0)]
        for i, sharing in enumerate(kinds):
            later = whole_nodes(self.site, [pool for kind in kinds[i + 1 :] for pool in kind])
            yield from self._spread(sharing, later)

    def _span(self, pool: Pool) -> tuple[tuple[str, int, int], ...]:
        """Whole hosts, group by group; a group takes the first domain that holds it, else what is left."""
        each = max(1, pool.parallelism.tp // self.site.per_node)
        hosts: list[int] = []
        for _ in range(pool.parallelism.gpus // self.site.per_node // each):
            hosts += self._group(each)
        return tuple((f"{self.site.name}/{host}", 0, self.site.per_node) for host in sorted(hosts))

    def _group(self, hosts: int) -> list[int]:
        joined = hosts_per_domain(self.site)
        empty = [host for host, free in enumerate(self.free) if free == self.site.per_node]
        whole = (list(group) for _, group in groupby(empty, key=lambda host: host // joined))
        taken = next((group[:hosts] for group in whole if len(group) >= hosts), empty[:hosts])
        for host in taken:
            self.free[host] = 0
        return taken

    def _spread(self, pools: Sequence[Pool], later: int) -> Iterator[Seat]:
        """Replicas that share hosts: each on the host with fewest of its pool (unless linked), of these the fullest."""
        empty = [h for h, free in enumerate(self.free) if free == self.site.per_node]
        hosts = empty[: whole_nodes(self.site, pools) if self.bought is None else len(empty) - later]
        for pool in pools:
            gpus, apart = pool.parallelism.gpus, int(pool.name not in self.linked)
            waiting = [(0, self.free[host], host) for host in hosts if self.free[host] >= gpus]
            heapify(waiting)
            for replica in range(pool.replicas):
                held, free, host = heappop(waiting)
                yield Seat(pool.name, replica, ((f"{self.site.name}/{host}", self.site.per_node - free, gpus),))
                self.free[host] = free - gpus
                if self.free[host] >= gpus:
                    heappush(waiting, (held + apart, self.free[host], host))


def hosts_per_domain(site: Site) -> int:
    """Neighbouring hosts that one scale-up link joins."""
    return max(1, site.node.scaleup_domain // site.per_node)


def crossing(setting: Setting, pool: Pool, seat: Seat) -> bool:
    """Whether a tensor-parallel group of a seated replica has accelerators in two scale-up domains."""
    site = setting.sites[pool.node]
    domains = [domain_of(site, host) for host, _, count in seat.spans for _ in range(count)]
    groups = (domains[i : i + pool.parallelism.tp] for i in range(0, len(domains), pool.parallelism.tp))
    return any(len(set(group)) > 1 for group in groups)


def domain_of(site: Site, host: str) -> int:
    """Number of the scale-up domain of a host."""
    return int(host.rpartition("/")[2]) // hosts_per_domain(site)


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
    """The widest path between two hosts, of these the quickest; in one host its scale-up link."""
    import networkx as nx

    if source == target:
        edges = [data for _, end, data in graph.edges(source, data=True) if "/up/" in end]
        return Link(edges[0]["bandwidth"], edges[0]["latency"])
    widest = nx.maximum_spanning_tree(graph, weight="bandwidth")
    path = nx.shortest_path(widest, source, target)
    least = min(widest.edges[ends]["bandwidth"] for ends in zip(path, path[1:], strict=False))
    wide = nx.subgraph_view(graph, filter_edge=lambda a, b: graph.edges[a, b]["bandwidth"] >= least)
    return Link(least, float(nx.shortest_path_length(wide, source, target, weight="latency")))


def pair_bandwidth(setting: Setting, graph: nx.Graph[str], seated: Iterable[Seat], source: Pool, target: Pool) -> Link:
    """What any replica of `source` can send to any of `target`: the worst pair, over all lanes of the smaller one.

    Hosts of one type are alike, so a pair of each kind stands for all: on one host, in one domain, across the fabric.
    """
    sites = setting.sites[source.node], setting.sites[target.node]
    listed = list(seated)
    hosts = [sorted({s[0] for seat in listed if seat.pool == p.name for s in seat.spans}) for p in (source, target)]
    links = [path_link(graph, a, b) for a, b in _kinds_of_pairs(sites, hosts[0], hosts[1])]
    lanes = min(source.parallelism.gpus, target.parallelism.gpus)
    slowest = min(links, key=lambda link: link.bandwidth_bytes_per_s)
    return Link(slowest.bandwidth_bytes_per_s * lanes, max(link.latency_s for link in links))


def _kinds_of_pairs(sites: tuple[Site, Site], a: Sequence[str], b: Sequence[str]) -> Iterable[tuple[str, str]]:
    """One pair of hosts of every kind that there is between two sets of them."""
    if sites[0].name != sites[1].name:
        return [(a[0], b[0])]
    by_domain: dict[int, list[str]] = {}
    for host in b:
        by_domain.setdefault(domain_of(sites[1], host), []).append(host)
    found: dict[str, tuple[str, str]] = {}
    others = list(by_domain)[:2]
    for host in a:
        mine = domain_of(sites[0], host)
        near = by_domain.get(mine, [])
        if host in near:
            found.setdefault("host", (host, host))
        if other := next((h for h in near[:2] if h != host), None):
            found.setdefault("domain", (host, other))
        if (far := next((d for d in others if d != mine), None)) is not None:
            found.setdefault("fabric", (host, by_domain[far][0]))
    return found.values()


def home_link(site: Site) -> Link:
    """What an accelerator sends to another of its type: inside the only node, else over the network."""
    return _scale_up(site) if site.entry.count == 1 else _scale_out(site)
