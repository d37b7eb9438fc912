"""Bandwidth-bound passes: norms, rotary embedding, activations, recurrent state, sampler. Bytes and launches only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.perf.cut import Cut

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Elementwise:
    """`count` kernels that each move `hbm_bytes` (array over token counts)."""

    hbm_bytes: Floats
    count: float = 1.0
    launches: float = 1.0


def norms(cut: Cut, rows: Floats, count: float) -> Elementwise:
    """Fused residual add and norm: read and write both streams."""
    return Elementwise(4.0 * rows * cut.hidden * 2.0, count)


def rope_and_cache(cut: Cut, rows: Floats, query: float, kv: float, count: float) -> Elementwise:
    """Rotary embedding of `query` + `kv` elements per token in place, and the cache write of 2 kv, in one kernel."""
    return Elementwise(rows * (2.0 * (query + kv) * 2.0 + 2.0 * kv * cut.kv_bytes), count)


def activation(rows: Floats, inner: float, count: float) -> Elementwise:
    """Gate times up: two reads and one write of `inner` elements."""
    return Elementwise(3.0 * rows * inner * 2.0, count)
