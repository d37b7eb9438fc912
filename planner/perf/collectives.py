"""Messages between the ranks of a replica: which collective, how many bytes, over how many GPUs and nodes. No times."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from planner.perf.cut import Cut

Floats = NDArray[np.float64]
Kind = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]


@dataclass(frozen=True, slots=True)
class Collective:
    """`count` calls. payload: bytes of the whole message (all_to_all: bytes one rank sends), [rows].

    inside GPUs share a scale-up domain, `across` such groups take part.
    """

    kind: Kind
    payload: Floats
    inside: int
    across: int
    count: float = 1.0

    @property
    def gpus(self) -> int:
        return self.inside * self.across

    def traffic(self, ranks: int) -> Floats:
        """Bytes that each of `ranks` GPUs sends over its link: 2(n-1)/n for all-reduce, (n-1)/n otherwise."""
        share = (ranks - 1) / ranks
        return self.payload * (2.0 * share if self.kind == "all_reduce" else share)


def collective(cut: Cut, kind: Kind, payload: Floats, gpus: int, count: float) -> list[Collective]:
    """One collective over `gpus` neighbouring ranks, or nothing when there is nobody to talk to."""
    if gpus <= 1:
        return []
    domain = max(1, cut.hardware.node.scaleup_domain)
    inside = min(gpus, domain)
    return [Collective(kind, payload, inside, ceil(gpus / inside), count)]


def tensor_parallel(cut: Cut, rows: Floats, count: float) -> list[Collective]:
    """All-reduce of the residual stream after a row-parallel product."""
    return collective(cut, "all_reduce", rows * cut.hidden * 2.0, cut.degrees.tp, count)


def expert_exchange(cut: Cut, rows: Floats, all_rows: Floats, top_k: int, count: float) -> list[Collective]:
    """Tokens to the experts and back, one layer: `rows` of this rank, `all_rows` of the replica.

    Without attention-data parallelism every rank has all tokens and one all-reduce is left. With it the tokens are
    gathered and scattered again, or sent to the ranks of their experts (dispatch in 8 bits, combine in 16), whichever
    moves fewer bytes at the largest step.
    """
    degrees, group = cut.degrees, cut.experts_over
    if degrees.dp == 1:
        return tensor_parallel(cut, rows, count)
    gathered = all_rows * cut.hidden * 2.0
    per_rank = rows / degrees.tp * min(top_k, degrees.ep)
    if degrees.ep > 1 and per_rank[-1] * cut.hidden * 3.0 < gathered[-1] * 2.0:
        return [
            *collective(cut, "all_to_all", per_rank * cut.hidden * 1.0, group, count),
            *collective(cut, "all_to_all", per_rank * cut.hidden * 2.0, group, count),
        ]
    return [
        *collective(cut, "all_gather", gathered, group, count),
        *collective(cut, "reduce_scatter", gathered, group, count),
    ]
