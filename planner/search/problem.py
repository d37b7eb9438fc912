"""Problem: what the solver chooses from, as plain numbers - columns, paths, demands, inventory, limits. No solving.

A *column* is a pool configuration evaluated for one group of classes. A *path* is the columns that a slice of traffic
passes through: one column when prefill and decode share a pool, two when they are split. Demand is cut into equal
slices, so that the solver counts in integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Column:
    """One replica of a pool configuration: size, capacity for the group it was evaluated on, power.

    capacity: in the unit of the group's demand (requests per second, or requests in flight). span: whole nodes per
    replica when it is larger than a node, else 0. busy_w: watts at full capacity, idle_w: without work; both at the
    wall without the node's own share. sizes never change, capacities only fall (by cuts). others: (group, capacity)
    of further groups whose traffic may pass through beside its own; the shares of capacity that they take add up.
    """

    key: str
    shape: str
    node: str
    gpus: int
    span: int
    group: str
    capacity: float
    idle_w: float = 0.0
    busy_w: float = 0.0
    others: tuple[tuple[str, float], ...] = ()

    def carries(self, group: str) -> float:
        """Capacity for a group's traffic."""
        return self.capacity if group == self.group else dict(self.others)[group]


@dataclass(frozen=True, slots=True)
class Group:
    """Classes that share a pool in the proportions of the scenario, and their summed demand."""

    name: str
    classes: tuple[str, ...]
    demand: float


@dataclass(frozen=True, slots=True)
class Path:
    """Columns (indices) that a slice of the group's traffic passes through.

    link_s: seconds of link time that one unit of demand takes from one accelerator on either side (KV bytes over
    bandwidth); 0 without a transfer.
    """

    group: str
    columns: tuple[int, ...]
    link_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Inventory:
    """Nodes of one type: how many, what one holds, costs and draws when its accelerators are idle.

    usd_per_wh: electricity that comes on top of usd_per_hour (owned nodes).
    """

    node: str
    count: int
    gpus: int
    usd_per_hour: float
    idle_w: float = 0.0
    usd_per_wh: float = 0.0
    zone: str = ""


@dataclass(frozen=True, slots=True)
class Quota:
    """Most accelerators of some node types together."""

    name: str
    nodes: tuple[str, ...]
    gpus: int


@dataclass(frozen=True, slots=True)
class Barred:
    """Paths (indices) that a class may not take; kind: what forbids them."""

    kind: str
    subject: str
    paths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Hard limits on the whole plan; None = not limited.

    survive_nodes: of any one type; survive_zones: of any. caps: goals that may not exceed a value in natural units.
    """

    usd_per_hour: float | None = None
    power_w: float | None = None
    gpus: int | None = None
    min_replicas: int = 1
    max_pools: int | None = None
    headroom: float = 0.0
    max_replicas: int | None = None
    survive_nodes: int = 0
    survive_zones: int = 0
    quotas: tuple[Quota, ...] = ()
    caps: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """The whole choice. forbidden: sets of shapes that may not be used together (runner-ups, failed combinations).

    slices: equal parts into which the traffic of a class is cut; 0 leaves it to the solver. clustered: columns of which
    placement puts at least so many replicas on a node.
    """

    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    paths: tuple[Path, ...]
    inventory: tuple[Inventory, ...]
    bounds: Bounds
    goals: tuple[str, ...]
    forbidden: tuple[frozenset[str], ...] = ()
    slices: int = 0
    barred: tuple[Barred, ...] = ()
    clustered: tuple[tuple[int, int], ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(sorted({name for group in self.groups for name in group.classes}))

    @property
    def shapes(self) -> tuple[str, ...]:
        return tuple(sorted({column.shape for column in self.columns}))

    def group(self, name: str) -> Group:
        return next(group for group in self.groups if group.name == name)


@dataclass(frozen=True, slots=True)
class Reached:
    """One goal: the value of the selection and the proven bound, in natural units (USD/h, W, GPUs, demand factor)."""

    goal: str
    value: float
    bound: float

    @property
    def gap(self) -> float:
        scale = max(abs(self.value), abs(self.bound))
        return abs(self.value - self.bound) / scale if scale > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Selection:
    """replicas and slices of traffic by index of column and path; `factor`: demand served over demand asked.

    spread: by column, most replicas on one node that its promise to survive allows; empty when none is asked for.
    proven: nothing is better in any goal. unique: nothing is equal in all of them and before it in the order of names.
    """

    replicas: Mapping[int, int]
    slices: Mapping[int, int]
    slices_per_class: int
    nodes: Mapping[str, int]
    reached: tuple[Reached, ...]
    factor: float
    proven: bool
    spread: Mapping[int, int] = field(default_factory=dict)
    unique: bool = True

    @property
    def used(self) -> tuple[int, ...]:
        return tuple(sorted(self.replicas))

    def load(self, problem: Problem, column: int) -> float:
        """Share of the column's bought capacity that the slices use."""
        carries = problem.columns[column].carries
        taken = 0.0
        for index, slices in self.slices.items():
            path = problem.paths[index]
            if column in path.columns:
                taken += slices * problem.group(path.group).demand / carries(path.group)
        return taken / (self.slices_per_class * self.replicas[column])


@dataclass(frozen=True, slots=True)
class Need:
    """One requirement of a conflict, and what would satisfy it with the others unchanged (None: nothing would)."""

    kind: str
    subject: str
    limit: float | None = None
    needed: float | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """No selection exists: requirements that cannot hold together, minimal under deletion."""

    needs: tuple[Need, ...] = field(default=())
