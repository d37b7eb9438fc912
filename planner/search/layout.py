"""Layout: the placement as the plan tells it, with what a picture of it needs. It decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from planner.search.place import Seat, crossing, domain_of, seats
from planner.search.setting import Setting, Site
from planner.spec.deployment import Deployment

Hosts = Mapping[str, Mapping[str, str]]


def placement(setting: Setting, deployment: Deployment) -> dict[str, Any]:
    """hosts: per host its replicas as `pool.replica: first-last`. idle_accelerators: paid, without a replica.

    alike: how many hosts hold the same numbers of replicas. racks, domains: hosts of each that share a rack or a
    scale-up link (empty where each host is alone). rails: network cards per host. links: KV edges as placed.
    """
    hosts = _hosts(_seated(setting, deployment))
    return {
        "hosts": hosts,
        "idle_accelerators": _idle(setting, deployment, hosts),
        "alike": list(_alike(hosts)),
        "racks": _grouped(setting, hosts, _rack_of),
        "domains": _grouped(setting, hosts, _shared_domain_of),
        "rails": {site.name: site.node.nics for site in setting.sites.values() if _uses(hosts, site)},
        "links": [edge.model_dump(mode="json") for edge in deployment.edges],
    }


def split_domains(setting: Setting, deployment: Deployment) -> Iterator[str]:
    """Replicas whose tensor-parallel groups found no scale-up domain with enough free hosts, in words."""
    pools = {pool.name: pool for pool in deployment.pools}
    spanning = (seat for seat in _seated(setting, deployment) if len(seat.spans) > 1)
    count = Counter(seat.pool for seat in spanning if crossing(setting, pools[seat.pool], seat))
    for name, many in sorted(count.items()):
        yield f"{name}: {many} of {pools[name].replicas} replicas have tensor-parallel groups across scale-up domains"


def _seated(setting: Setting, deployment: Deployment) -> tuple[Seat, ...]:
    linked = {name for edge in deployment.edges for name in (edge.source, edge.target)}
    return seats(setting, deployment.pools, deployment.nodes, linked)


def _hosts(seated: Sequence[Seat]) -> dict[str, dict[str, str]]:
    hosts: dict[str, dict[str, str]] = {}
    for seat in seated:
        for host, first, count in seat.spans:
            where = f"{first}-{first + count - 1}" if count > 1 else f"{first}"
            hosts.setdefault(host, {})[f"{seat.pool}.{seat.replica}"] = where
    return {host: hosts[host] for host in sorted(hosts, key=_host_order)}


def _host_order(host: str) -> tuple[str, int]:
    name, _, number = host.rpartition("/")
    return name, int(number)


def _idle(setting: Setting, deployment: Deployment, hosts: Hosts) -> dict[str, int]:
    """Paid accelerators without a replica, by node type."""
    idle = {}
    for site in setting.sites.values():
        paid = sum(site.per_node for _ in _uses(hosts, site))
        used = sum(pool.gpus for pool in deployment.pools if pool.node == site.name)
        if paid > used:
            idle[site.name] = paid - used
    return idle


def _alike(hosts: Hosts) -> Iterator[dict[str, Any]]:
    """Kinds of hosts by what they hold, in the order of the first of each."""
    kinds: Counter[tuple[str, tuple[tuple[str, int], ...]]] = Counter()
    for host, replicas in hosts.items():
        held = Counter(name.rpartition(".")[0] for name in replicas)
        kinds[host.rpartition("/")[0], tuple(sorted(held.items()))] += 1
    for (node, holds), count in kinds.items():
        yield {"node": node, "hosts": count, "holds": dict(holds)}


def _uses(hosts: Hosts, site: Site) -> list[str]:
    return [host for host in hosts if host.rpartition("/")[0] == site.name]


def _grouped(setting: Setting, hosts: Hosts, group_of: Callable[[Site, str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for site in setting.sites.values():
        for host in _uses(hosts, site):
            if name := group_of(site, host):
                groups.setdefault(name, []).append(host)
    return groups


def _rack_of(site: Site, host: str) -> str:
    """Racks are filled in the order of the hosts; no name where the catalog does not say how many a rack holds."""
    each = site.node.nodes_per_rack
    return f"{site.name}/rack/{_host_order(host)[1] // each}" if each else ""


def _shared_domain_of(site: Site, host: str) -> str:
    joined = site.node.scaleup_domain > site.per_node
    return f"{site.name}/up/{domain_of(site, host)}" if joined else ""
