"""Power of nodes around their accelerators: overhead, idle accelerators, cooling. Not the accelerators' busy power.

Energy is PUE x (node overhead + accelerators) x time, never TDP x time. An idle node burns over a third of its busy
power, so idle nodes are never free.
"""

from __future__ import annotations

from planner.errors import BadInput, Problem
from planner.spec.hardware import Accelerator, Node
from planner.spec.scenario import NodeType, Owned

DEFAULT_PUE: float = Owned.model_fields["pue"].default
"""For rented nodes too, so that renting or owning does not change the energy. Hyperscale halls publish 1.08-1.16,
colocation 1.5-1.6 (Uptime Institute survey 2020-2024)."""

BUSY_OVERHEAD_OF_TDP = 0.43
IDLE_OVERHEAD_OF_TDP = 0.32
"""Node overhead over the accelerators' TDP, for nodes whose own figures are unknown: the measured 8xH200 node has
2.4 kW busy and 2.385 kW at the wall idle, of which 8 x 75 W are GPUs, over 8 x 700 W (MLPerf Inference v4.1 power
logs, H200-SXM-141GBx8 MaxQ)."""

IDLE_OF_TDP = 0.1
"""Idle accelerator over TDP where its own figure is unknown: H100 70 of 700 W (vendor-typical)."""

W_PER_KW = 1e3


def pue(node_type: NodeType) -> float:
    """Power at the hall's meter over power of the servers: the node type's own figure, else that of its owner."""
    if node_type.pue is not None:
        return node_type.pue
    return node_type.own.pue if node_type.own is not None else DEFAULT_PUE


def wall_w(node_type: NodeType, server_w: float) -> float:
    """Power at the hall's meter of servers that draw `server_w`."""
    return pue(node_type) * server_w


def accelerator_idle_w(accelerator: Accelerator) -> float:
    """Power of one accelerator that holds nothing and does nothing."""
    return accelerator.idle_w if accelerator.idle_w is not None else IDLE_OF_TDP * _tdp_w(accelerator)


def overhead_w(node: Node, accelerator: Accelerator, busy: float) -> float:
    """Power of everything in one node but its accelerators; `busy` is the share of time with work, from 0 to 1."""
    idle = _idle_overhead_w(node, accelerator)
    return idle + min(max(busy, 0.0), 1.0) * (max(_busy_overhead_w(node, accelerator), idle) - idle)


def node_idle_w(node: Node, accelerator: Accelerator) -> float:
    """Power of one node whose accelerators are all idle."""
    return overhead_w(node, accelerator, 0.0) + node.accelerators * accelerator_idle_w(accelerator)


def electricity_usd_per_hour(node_type: NodeType, at_wall_w: float) -> float:
    """Price of the power an owned node draws at the meter; 0 when rented, for the rent includes it."""
    return at_wall_w / W_PER_KW * node_type.own.electricity_usd_per_kwh if node_type.own is not None else 0.0


def _busy_overhead_w(node: Node, accelerator: Accelerator) -> float:
    if node.overhead_busy_w is not None:
        return node.overhead_busy_w
    return BUSY_OVERHEAD_OF_TDP * node.accelerators * _tdp_w(accelerator)


def _idle_overhead_w(node: Node, accelerator: Accelerator) -> float:
    """The node's measured idle power less its idle accelerators."""
    if node.idle_w is not None:
        return max(node.idle_w - node.accelerators * accelerator_idle_w(accelerator), 0.0)
    return IDLE_OVERHEAD_OF_TDP * node.accelerators * _tdp_w(accelerator)


def _tdp_w(accelerator: Accelerator) -> float:
    if accelerator.tdp_w is None:
        what = f"the power of accelerator {accelerator.name!r} is unknown"
        raise BadInput(Problem(what, hint="give its tdp in the catalog"))
    return accelerator.tdp_w
