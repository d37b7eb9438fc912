"""What one node costs per hour, rented or owned. Not its electricity when owned, which depends on what it does.

An owned node costs the annuity of its capex less the present value of what it still fetches at the end, plus
maintenance (engineering economics, e.g. Newnan, Engineering Economic Analysis, "capital recovery with salvage value").
"""

from __future__ import annotations

import math

from planner.errors import BadInput, Problem
from planner.spec.scenario import NodeType, Owned

HOURS_PER_YEAR = 8760.0
NEGLIGIBLE = 1e-12
"""Interest over the whole life that the digits of a float cannot show."""


def annuity_usd_per_year(own: Owned) -> float:
    """Equal yearly payments that repay the capex with interest by the end of its life, the residual value given back.

    payment = (capex - residual) * i / (1 - (1 + i)^-n) + residual * i; without interest the straight line.
    """
    n, i = own.amortisation_years, own.interest
    if n * i < NEGLIGIBLE:
        return own.capex_usd * (1 - own.residual) / n
    recovery = i / -math.expm1(-n * math.log1p(i))
    return own.capex_usd * ((1 - own.residual) * recovery + own.residual * i)


def node_usd_per_hour(node_type: NodeType, rent_usd_per_hour: float | None = None) -> float:
    """USD per hour of one node, busy or idle; a rent includes electricity, an owned node's comes on top.

    rent_usd_per_hour: the catalog's price of the whole node under the node type's term, None when it has none; counts
    only when the scenario states no price and no ownership. Raises BadInput when there is no price at all.
    """
    if node_type.own is not None:
        own = node_type.own
        return (annuity_usd_per_year(own) + own.maintenance * own.capex_usd) / HOURS_PER_YEAR
    if node_type.price_usd_per_hour is not None:
        return node_type.price_usd_per_hour
    if rent_usd_per_hour is not None:
        return rent_usd_per_hour
    name = node_type.name or node_type.node
    raise BadInput(Problem(f"no price for node {name!r}", hint="give price, price_key or own"))
