"""Operator grids: how far measured kernels stay behind the roofline, on coarse logarithmic grids per device and engine.

Not a table of times: a grid holds log2(measured / (roofline + start-up)), so it transfers to a device of the same
architecture with other peaks, and it says nothing outside its axes (there the edge value is kept). Written by
tools/fit_operators.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from planner.perf.coefficients import data_folder
from planner.spec.hardware import Accelerator

Floats = NDArray[np.float64]

STARTUP_S = 4e-6
"""Start-up of a kernel that keeps the ratio finite for tiny work; a constant of the form, not a measurement."""

RESOLUTION = 0.05
"""Step of the stored values (log2): 3.5 %, so rounding costs less than 1.8 %."""

AXES: dict[str, tuple[tuple[float, ...], ...]] = {
    # GEMM C[m,n] = A[m,k] W[k,n]: log2 m, log2 n, log2 k
    "gemm": (tuple(range(16)), tuple(range(6, 17)), tuple(range(6, 17))),
    # Routed experts of one layer on one rank: log2 rows per local expert, log2 local experts, log2 bytes of one expert
    # (after tensor parallelism), log2 expert-parallel degree
    "moe": (tuple(range(-9, 13)), (0, 2, 4, 5, 6, 7, 8, 9), tuple(range(17, 31, 2)), (0, 2, 4, 8)),
    # Decode attention: log2 (sequences * KV heads), log2 context, log2 (query heads / KV heads)
    "decode64": (tuple(range(14)), tuple(range(4, 18)), tuple(range(6))),
    "decode128": (tuple(range(14)), tuple(range(4, 18)), tuple(range(6))),
    "decode256": (tuple(range(14)), tuple(range(4, 18)), tuple(range(6))),
    # Causal prefill attention without cached prefix: log2 (sequences * query heads), log2 prompt
    "prefill64": (tuple(range(13)), tuple(range(4, 15))),
    "prefill128": (tuple(range(13)), tuple(range(4, 15))),
    "prefill256": (tuple(range(13)), tuple(range(4, 15))),
    # Absorbed MLA decode and expanded MLA prefill: log2 sequences, log2 context or prompt, log2 heads
    "mla_decode": (tuple(range(11)), tuple(range(6, 18)), tuple(range(8))),
    "mla_prefill": (tuple(range(9)), tuple(range(4, 15)), tuple(range(8))),
}


@dataclass(frozen=True, slots=True)
class Grid:
    """Values of log2(measured / (roofline + STARTUP_S)) at the vertices of a rectangular grid."""

    axes: tuple[Floats, ...]
    values: Floats

    def seconds(self, roofline_s: ArrayLike, *coordinates: ArrayLike) -> Floats:
        """Time of an operator with this roofline at log2 coordinates, at most one of them an array.

        Multilinear between the vertices, the edge value outside, never below the roofline.
        """
        floor = np.asarray(roofline_s, dtype=np.float64)
        return np.maximum((floor + STARTUP_S) * np.exp2(self._interpolate(coordinates)), floor)

    def _interpolate(self, coordinates: Sequence[ArrayLike]) -> Floats:
        """Numbers collapse their axis, from the last to the first; what is left is a line along the array."""
        values: Floats = self.values
        line: Floats | None = None
        points: ArrayLike = 0.0
        for i in reversed(range(len(self.axes))):
            if np.ndim(coordinates[i]):
                line, points = self.axes[i], coordinates[i]
            else:
                cell, weight = _locate(self.axes[i], float(coordinates[i]))  # type: ignore[arg-type]
                left, right = values.take(cell, axis=i), values.take(cell + 1, axis=i)
                values = np.asarray((1.0 - weight) * left + weight * right)
        return values if line is None else np.interp(np.asarray(points), line, values)


def _locate(axis: Floats, point: float) -> tuple[int, float]:
    """Left neighbour on the axis and the weight of the right one, clamped to the axis."""
    inside = min(max(point, float(axis[0])), float(axis[-1]))
    cell = min(int(np.searchsorted(axis, inside, side="right")) - 1, len(axis) - 2)
    return cell, float((inside - axis[cell]) / (axis[cell + 1] - axis[cell]))


@dataclass(frozen=True, slots=True)
class Grids:
    """All grids of one device, keyed `operator|engine|dtype`."""

    device: str
    arrays: dict[str, Floats]

    def find(self, operator: str, engine: str, dtype: str) -> Grid | None:
        """The grid of the engine, else that of another engine on the device (kernels are shared), else None."""
        for name in (engine, *(e for e in ("vllm", "sglang", "trtllm") if e != engine)):
            values = self.arrays.get(f"{operator}|{name}|{dtype}")
            if values is not None:
                return Grid(_axes(operator), values)
        return None


@cache
def _axes(operator: str) -> tuple[Floats, ...]:
    return tuple(np.array(axis, dtype=np.float64) for axis in AXES[operator])


@dataclass(frozen=True, slots=True)
class Roofline:
    """The lower bounds that the grids are relative to; `flop_per_s` is the peak of the format that computes."""

    flop_per_s: float
    bandwidth: float

    def moe_s(self, rows: Floats, local: ArrayLike, parameters: ArrayLike, weight_bytes: float) -> Floats:
        """`rows` token-expert pairs spread evenly over `local` experts of `parameters` each."""
        experts = np.asarray(local, dtype=np.float64)
        touched = experts * -np.expm1(rows * np.log1p(-1.0 / np.maximum(experts, 1.000001)))
        moved = np.minimum(touched, np.maximum(rows, 1.0)) * np.asarray(parameters) * weight_bytes
        return self._bound(2.0 * rows * np.asarray(parameters), moved)

    def decode_s(
        self, seqs: Floats, heads: ArrayLike, kv_heads: ArrayLike, context: ArrayLike, width: float, element: float
    ) -> Floats:
        """One query token per sequence; K and V of width `width` in `element` bytes."""
        tokens = seqs * np.asarray(context, dtype=np.float64)
        moved = 2.0 * tokens * np.asarray(kv_heads) * width * element + 4.0 * seqs * np.asarray(heads) * width
        return self._bound(4.0 * tokens * np.asarray(heads) * width, moved)

    def prefill_s(self, seqs: ArrayLike, heads: ArrayLike, prompt: ArrayLike, width: float) -> Floats:
        """Causal half of the square, K, V, query and output moved once."""
        tokens = np.asarray(seqs) * np.asarray(heads) * np.asarray(prompt, dtype=np.float64)
        return self._bound(2.0 * tokens * np.asarray(prompt) * width, 6.0 * tokens * width)

    def mla_decode_s(self, seqs: Floats, heads: ArrayLike, context: ArrayLike, element: float) -> Floats:
        """Absorbed: 512 + 64 latent elements per token, read once for all heads; 2 * (512 + 64 + 512) FLOP per head."""
        tokens = seqs * np.asarray(context, dtype=np.float64)
        return self._bound(2.0 * tokens * np.asarray(heads) * 1088.0, tokens * 576.0 * element)

    def mla_prefill_s(self, seqs: ArrayLike, heads: ArrayLike, prompt: ArrayLike) -> Floats:
        """Expanded: 192-wide keys and 128-wide values per head, causal half."""
        tokens = np.asarray(seqs) * np.asarray(heads) * np.asarray(prompt, dtype=np.float64)
        return self._bound(tokens * np.asarray(prompt) * 320.0, 2.0 * tokens * 320.0)

    def gemm_s(self, m: Floats, n: Floats, k: Floats, weight_bytes: float, activation_bytes: float) -> Floats:
        return self._bound(2.0 * m * n * k, m * k * activation_bytes + n * k * weight_bytes + m * n * 2.0)

    def _bound(self, flop: Floats, moved_bytes: Floats) -> Floats:
        return np.maximum(flop / self.flop_per_s, moved_bytes / self.bandwidth)


def grids_of(accelerator: Accelerator) -> Grids | None:
    """Grids of this accelerator, else of the one it behaves like, else None."""
    for name in (accelerator.name, accelerator.behaves_like):
        if name and (grids := _load(name)) is not None:
            return grids
    return None


@cache
def _load(name: str) -> Grids | None:
    file = data_folder("operators") / f"{name}.npz"
    if not file.is_file():
        return None
    with np.load(BytesIO(file.read_bytes())) as stored:
        return Grids(name, {key: stored[key] * RESOLUTION for key in stored.files})
