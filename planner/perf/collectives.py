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
    inside = min(gpus, cut.hardware.domain)
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


def context_link(cut: Cut) -> float:
    """Bytes/s of an accelerator towards the ranks that share its sequences."""
    ranks = cut.degrees.tp * cut.degrees.cp
    return cut.hardware.link if ranks <= cut.hardware.domain else cut.hardware.outside(ranks)


def gathered_prompt(cut: Cut, rows: Floats, elements: float, count: float) -> list[Collective]:
    """Prompt tokens shared by cp ranks: each gathers the keys and values (`elements` per token) of all of them."""
    return _over_context(cut, "all_gather", rows * cut.degrees.cp * elements * cut.kv_bytes, cut.degrees.cp, count)


def merged_decode(cut: Cut, rows: Floats, heads: float, dims: tuple[float, float], count: float) -> list[Collective]:
    """Partial results of a sequence whose cache is shared: queries gathered, outputs merged by their log-sum-exp.

    cp ranks have equal queries and add up their outputs. dcp ranks have different heads: they gather the queries, work
    for all of them on their positions, and scatter the merged outputs. dims: of a query, of an output, in 16 bits.
    """
    (query, output), dcp = dims, cut.degrees.dcp
    messages = _over_context(cut, "all_reduce", rows * heads * (2.0 * output + 4.0), cut.degrees.cp, count)
    if dcp > 1:
        messages += collective(cut, "all_gather", rows * heads * dcp * (2.0 * query + 4.0), dcp, count)
        messages += collective(cut, "reduce_scatter", rows * heads * dcp * 2.0 * output, dcp, count)
    return messages


def _over_context(cut: Cut, kind: Kind, payload: Floats, cp: int, count: float) -> list[Collective]:
    """A collective over cp ranks, which stand tp ranks apart."""
    if cp <= 1:
        return []
    inside = max(1, min(cp, cut.hardware.domain // cut.degrees.tp))
    return [Collective(kind, payload, inside, ceil(cp / inside), count)]
