"""Watts of an evaluated replica, at rest and at full capacity, at the wall without its node. Not how they were seen."""

from __future__ import annotations

from planner.perf import energy
from planner.search.evaluated import Evaluated
from planner.search.setting import Setting
from planner.tco import accelerator_idle_w, overhead_w, wall_w


def watts_of(setting: Setting, one: Evaluated) -> tuple[float, float]:
    """(idle, busy): above the rest of its empty accelerators, which the node's own figure holds."""
    c, site = one.candidate, setting.sites[one.candidate.site]
    board, share = site.accelerator, c.gpus / site.per_node
    empty_w = c.gpus * accelerator_idle_w(board)
    idle_w = c.gpus * energy.idle_w(board, loaded=True) - empty_w
    around_w = overhead_w(site.node, board, one.busy) - overhead_w(site.node, board, 0.0)
    busy_w = max(one.accelerators_w - empty_w + share * around_w, idle_w)
    return wall_w(site.entry, max(idle_w, 0.0)), wall_w(site.entry, max(busy_w, 0.0))


def added_j(setting: Setting, one: Evaluated) -> float:
    """What one unit of its load adds to a resting replica."""
    idle_w, busy_w = watts_of(setting, one)
    return (busy_w - idle_w) / one.capacity
