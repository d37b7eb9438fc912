"""Dense matrix products C[m,n] = A[m,k] W[k,n] on one rank; m is the number of tokens. Work only, no times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.perf.cut import Cut
from planner.perf.hardware import ACTIVATION_BYTES
from planner.spec.precision import BYTES_PER_WEIGHT

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Gemm:
    """`count` calls with m = `rows` (array over token counts); `batch` independent products share one call."""

    rows: Floats
    n: float
    k: float
    weights: str
    rate: str
    count: float = 1.0
    batch: float = 1.0
    block_scaled: bool = False

    @property
    def flop(self) -> Floats:
        """Of one call, [rows]."""
        return 2.0 * self.batch * self.n * self.k * self.rows

    @property
    def hbm_bytes(self) -> Floats:
        """Of one call, [rows]: weights once, activations in, result out in 16 bits."""
        activations = self.batch * self.rows * (self.k * ACTIVATION_BYTES[self.rate] + self.n * 2.0)
        return self.weight_bytes + activations

    @property
    def weight_bytes(self) -> float:
        """Of one call."""
        return self.batch * self.n * self.k * BYTES_PER_WEIGHT[self.weights]

    launches = 1.0


def gemm(cut: Cut, rows: Floats, n: float, k: float, kind: str, count: float, batch: float = 1.0) -> Gemm:
    """A product whose weights are in format `kind`, at the best rate the hardware has for it."""
    block_scaled = cut.block_scaled and kind == "fp8"
    return Gemm(rows, n, k, kind, cut.hardware.rate(kind), count, batch, block_scaled)


def dense_ffn(cut: Cut, rows: Floats, inner: int, gated: bool, kind: str, count: float) -> list[Gemm]:
    """Up (and gate) and down projection of a feed-forward network cut over tp."""
    width = inner / cut.degrees.tp
    return [
        gemm(cut, rows, (2 if gated else 1) * width, cut.hidden, kind, count),
        gemm(cut, rows, cut.hidden, width, kind, count),
    ]
