"""Quantising activations for products in 8 and 4 bits, where the engine runs it as kernels of its own. No weights.

Most engines fuse it into the norm or the activation before, and then it moves no bytes of its own: the neutral setting.
Weight-only formats (int4, q4_k_m, mxfp4) are turned back inside the product and quantise nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from planner.perf.cut import Cut
from planner.perf.operators.elementwise import Elementwise
from planner.spec.model import DenseFfn, Layer, MoeFfn

Floats = NDArray[np.float64]
NARROW = ("fp8", "int8", "nvfp4")
"""Formats whose products take narrow activations as well."""


def quantised(cut: Cut, layer: Layer, rank: Floats, replica: Floats, count: float) -> Iterator[Elementwise]:
    """One pass before and one behind each mixer and feed-forward network; rank, replica: tokens of each."""
    if layer.attention is not None and cut.formats.attention in NARROW:
        yield from (_pass(rank, cut.hidden, count), _pass(rank, cut.hidden / cut.degrees.tp, count))
    if isinstance(layer.ffn, DenseFfn) and cut.formats.ffn in NARROW:
        yield from (_pass(rank, cut.hidden, count), _pass(rank, layer.ffn.inner / cut.degrees.tp, count))
    if isinstance(layer.ffn, MoeFfn) and cut.formats.experts in NARROW:
        routed = replica * layer.ffn.top_k / cut.degrees.ep
        yield from (_pass(rank, cut.hidden, count), _pass(routed, layer.ffn.inner / cut.expert_tp, count))


def _pass(rows: Floats, width: float, count: float) -> Elementwise:
    """Reads 16 bits and writes 8."""
    return Elementwise(rows * width * 3.0, count)
