"""What a choice of nodes costs: rent or ownership, power at the wall, carbon, the Bill. Not which nodes to choose."""

from planner.tco.bill import Share, bill, kgco2_per_hour, nodes_for, usd_per_hour, usd_per_mtok, watts
from planner.tco.power import accelerator_idle_w, electricity_usd_per_hour, node_idle_w, overhead_w, pue, wall_w
from planner.tco.price import annuity_usd_per_year, node_usd_per_hour

__all__ = [
    "Share", "accelerator_idle_w", "annuity_usd_per_year", "bill", "electricity_usd_per_hour", "kgco2_per_hour",
    "node_idle_w", "node_usd_per_hour", "nodes_for", "overhead_w", "pue", "usd_per_hour", "usd_per_mtok", "wall_w",
    "watts",
]  # fmt: skip
