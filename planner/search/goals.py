"""Goals: what can be made small, each as one sum of whole numbers. No order among them, no solving.

A new goal is a function from counts to a Goal and a line in GOALS.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from planner.search.integers import MILLI, UNIT, Counts, Terms, each, up
from planner.search.problem import Path


@dataclass(frozen=True, slots=True)
class Goal:
    """A sum to make small; scale: how many of its units make one that people use."""

    name: str
    terms: Terms
    scale: float = 1.0

    @property
    def tie(self) -> bool:
        return self.name.startswith("tie:")


def usd(counts: Counts) -> Goal:
    """Nodes, and for owned ones the electricity of what they do.

    It also stands for dollars per token. While the demand is fixed so are the tokens served, and a quotient by a
    constant is least where its numerator is; after a goal of goodput they are fixed at the most that can be served.
    Scenarios that ask for the quotient before goodput are refused.
    """
    inventory = counts.problem.inventory
    nodes = ((counts.m[item.node], up(Fraction(item.usd_per_hour) * UNIT)) for item in inventory)
    electricity = _power(counts, {item.node: item.usd_per_wh * UNIT for item in inventory})
    return Goal("usd_per_hour", (*nodes, *electricity), UNIT)


def power(counts: Counts) -> Goal:
    return Goal("power_w", _power(counts, {item.node: float(MILLI) for item in counts.problem.inventory}), MILLI)


def gpus(counts: Counts) -> Goal:
    return Goal("gpus", tuple((counts.n[i], column.gpus) for i, column in enumerate(counts.problem.columns)))


def pools(counts: Counts) -> Goal:
    return Goal("max_pools", each(counts.on))


def goodput(counts: Counts) -> Goal:
    return Goal("goodput", ((counts.total, -1),), -counts.slices)


def size(counts: Counts) -> Goal:
    """Fewer pools, then fewer accelerators."""
    return Goal("tie:size", (*each(counts.on, 1_000_000), *gpus(counts).terms))


def unique(counts: Counts) -> Goal:
    """Weights drawn from the names, so that no two selections tie in practice and order of columns is no matter."""
    columns = counts.problem.columns
    replicas = ((counts.n[i], _tag(column.key)) for i, column in enumerate(columns))
    names = (" ".join(columns[i].key for i in path.columns) for path in counts.problem.paths)
    slices = ((counts.z[p], _tag(name)) for p, name in enumerate(names))
    return Goal("tie:unique", (*replicas, *slices, *each(counts.m.values())))


GOALS: Mapping[str, Callable[[Counts], Goal]] = {
    "usd_per_hour": usd,
    "usd_per_mtok": usd,
    "power_w": power,
    "joules_per_token": power,
    "gpus": gpus,
    "goodput": goodput,
}
TIES = (size, unique)
"""What decides between selections that are equal in every goal."""


def _power(counts: Counts, per_watt: dict[str, float]) -> Terms:
    """Power in integers of `per_watt` units by node type: idle nodes, idle replicas, and what traffic adds."""
    problem = counts.problem
    if not any(per_watt.values()):
        return ()
    nodes = ((counts.m[item.node], up(item.idle_w * per_watt[item.node])) for item in problem.inventory)
    idle = ((counts.n[i], up(c.idle_w * per_watt[c.node])) for i, c in enumerate(problem.columns))
    moving = ((counts.z[p], _added(counts, path, per_watt)) for p, path in enumerate(problem.paths))
    return tuple(term for term in (*nodes, *idle, *moving) if term[1])


def _added(counts: Counts, path: Path, per_watt: dict[str, float]) -> int:
    """What one slice adds above idle on the columns of its path."""
    columns = [counts.problem.columns[i] for i in path.columns]
    per_slice = counts.demand[path.group] / counts.slices
    return up(sum((c.busy_w - c.idle_w) * per_slice / c.carries(path.group) * per_watt[c.node] for c in columns))


def _tag(key: str) -> int:
    return 1 + zlib.crc32(key.encode()) % 99_991
