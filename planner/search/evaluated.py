"""Evaluated: what one simulation campaign says of one candidate under one load, as plain numbers. No simulating."""

from __future__ import annotations

from dataclasses import dataclass

from planner.search.space import Candidate


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A candidate under a load. capacity: per replica, in the unit of the demand; 0 = dropped, for `reason`.

    accelerators_w, busy: mean watts of one replica's accelerators and its share of busy time, both on the straight line
    from rest to full load that meets the load it would have. pruned: its bound alone was enough.
    """

    candidate: Candidate
    load: str
    capacity: float
    reason: str = ""
    pruned: bool = False
    accelerators_w: float = 0.0
    busy: float = 0.0
