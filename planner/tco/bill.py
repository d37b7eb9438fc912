"""Bill: dollars, watts and carbon of a plan from the nodes it uses and its tokens. Not how they were chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from planner.spec.hardware import Accelerator, Node
from planner.spec.plan import Bill, Value
from planner.spec.scenario import NodeType
from planner.tco.power import W_PER_KW, accelerator_idle_w, electricity_usd_per_hour, overhead_w, wall_w
from planner.tco.price import node_usd_per_hour

TOKENS_PER_MTOK = 1e6
SECONDS_PER_HOUR = 3600.0
J_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True)
class Share:
    """Nodes of one type as a plan or one of its pools uses them; the unit that is charged.

    nodes: whole nodes of a plan; a pool that shares a node has a fraction. used: accelerators that run something.
    accelerators_w: their mean power together, idle time included. busy: share of time with work, for the overhead.
    rent_usd_per_hour: catalog price of one node, see node_usd_per_hour.
    """

    node_type: NodeType
    node: Node
    accelerator: Accelerator
    nodes: float
    used: float
    accelerators_w: float
    busy: float = 1.0
    rent_usd_per_hour: float | None = None

    def __post_init__(self) -> None:
        if self.used > self.nodes * self.node.accelerators * (1 + 1e-9):
            raise ValueError(f"{self.used} accelerators do not fit into {self.nodes} nodes of {self.node.accelerators}")


def nodes_for(accelerators: int, node: Node) -> int:
    """Fewest whole nodes that hold so many accelerators; placement may need more."""
    return math.ceil(accelerators / node.accelerators)


def watts(share: Share) -> float:
    """Power at the hall's meter: PUE x (overhead + used accelerators + idle ones in the same nodes)."""
    unused = max(share.nodes * share.node.accelerators - share.used, 0.0)
    idle_w = unused * accelerator_idle_w(share.accelerator)
    around_w = share.nodes * overhead_w(share.node, share.accelerator, share.busy)
    return wall_w(share.node_type, around_w + share.accelerators_w + idle_w)


def usd_per_hour(share: Share) -> float:
    """Price of the nodes, used or not, and of the electricity of owned ones."""
    nodes = share.nodes * node_usd_per_hour(share.node_type, share.rent_usd_per_hour)
    return nodes + electricity_usd_per_hour(share.node_type, watts(share))


def kgco2_per_hour(share: Share) -> float | None:
    """Carbon of the electricity; None when the grid's intensity is not given. Making the hardware is not counted."""
    intensity = share.node_type.carbon_kg_per_kwh
    return None if intensity is None else watts(share) / W_PER_KW * intensity


def usd_per_mtok(usd_per_hour: float, output_tokens_per_s: float) -> float:
    """Dollars per million output tokens."""
    return usd_per_hour / SECONDS_PER_HOUR / output_tokens_per_s * TOKENS_PER_MTOK


def bill(shares: Sequence[Share], output_tokens_per_s: Value, *, watts_rel_error: float = 0.0) -> Bill:
    """The bill of a whole plan that makes so many output tokens per second.

    The interval of $/Mtok comes from that of the tokens, that of J/token also from watts_rel_error (relative
    half-width of the power). Raises ValueError when the tokens or their lower end are not positive.
    """
    if not 0 < output_tokens_per_s.lo <= output_tokens_per_s.hi:
        raise ValueError(f"a bill needs a positive token rate, not {output_tokens_per_s!r}")
    dollars, power = sum(map(usd_per_hour, shares)), sum(map(watts, shares))
    carbon = [kgco2_per_hour(share) for share in shares]
    joules = _per_token(power, output_tokens_per_s, watts_rel_error)
    price = _per_token(usd_per_mtok(dollars, 1.0), output_tokens_per_s, 0.0)
    return Bill(
        usd_per_hour=dollars,
        usd_per_mtok=price,
        watts=power,
        joules_per_token=joules,
        kwh_per_mtok=joules.value * TOKENS_PER_MTOK / J_PER_KWH,
        kgco2_per_hour=None if None in carbon else sum(kg for kg in carbon if kg is not None),
    )


def _per_token(amount: float, tokens_per_s: Value, rel_error: float) -> Value:
    """amount / tokens: its low end at many tokens, its high end at few."""
    lo, hi = amount * (1 - rel_error) / tokens_per_s.hi, amount * (1 + rel_error) / tokens_per_s.lo
    return Value(value=amount / tokens_per_s.value, lo=lo, hi=hi)
