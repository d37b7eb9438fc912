"""Plausibility of accelerators, links, nodes, prices and economic figures, one check per kind.

Not a benchmark: the ranges catch slips of unit, sparse peaks and both-direction bandwidths, not small errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from planner.catalog.lint_rules import Remark, in_range, known_name, ordered
from planner.spec.base import Sourced
from planner.spec.hardware import Accelerator, Fabric, Node, Price, TcoParameter

CONFIDENCES = ("high", "medium", "low")
TERMS = (("spot", "spot_usd_per_hour"), ("1-year", "reserved_1y_usd_per_hour"), ("3-year", "reserved_3y_usd_per_hour"))
TCO_RANGES = {"pue": (1.0, 3.0), "electricity": (0.005, 1.0), "carbon": (0.0, 1500.0)}
"""Published values per kind, in the unit of the kind: ratio, USD/kWh, gCO2e/kWh."""


@dataclass(frozen=True, slots=True)
class Known:
    """Names that references may point to."""

    accelerators: frozenset[str]
    fabrics: frozenset[str]
    price_keys: frozenset[str]


def check_provenance(entry: Sourced) -> Iterator[Remark]:
    """Every entry says where its figures come from and how far to trust them."""
    if not entry.source.strip():
        yield "error", "source is empty", "name the data sheet, table or measurement"
    if entry.confidence not in CONFIDENCES:
        yield "error", f"confidence {entry.confidence!r} is not one of {', '.join(CONFIDENCES)}", ""


def check_accelerator(a: Accelerator, known: Known) -> Iterator[Remark]:
    """Ranges, dense peaks and references of one accelerator."""
    yield from in_range("memory", a.memory_bytes / 2**30, 4, 2048, "GiB")
    yield from in_range("memory bandwidth", a.memory_bandwidth_bytes_per_s / 1e9, 10, 50_000, "GB/s")
    yield from in_range("tdp", a.tdp_w, 10, 5000, "W")
    yield from in_range("scale-up bandwidth", a.scaleup_bandwidth_bytes_per_s / 1e9, 0, 5000, "GB/s")
    yield from ordered("idle power", a.idle_w, "tdp", a.tdp_w)
    yield from known_name("behaves_like", a.behaves_like, known.accelerators)
    yield from _peaks(a)


def _peaks(a: Accelerator) -> Iterator[Remark]:
    peak = a.peak
    main = peak.bf16_flop_per_s or peak.fp16_flop_per_s
    if main is None:
        yield "error", "no 16-bit peak", "give bf16 or fp16"
        return
    # Operations per byte at the ridge of the roofline: about 30 on CPUs and laptops, 915 on Jetson Thor.
    yield from in_range("16-bit peak over memory bandwidth", main / a.memory_bandwidth_bytes_per_s, 15, 1200, "FLOP/B")
    yield from _doubling("fp8", peak.fp8_flop_per_s, "16-bit", main)
    yield from _doubling("fp4", peak.fp4_flop_per_s, "fp8", peak.fp8_flop_per_s)


def _doubling(narrow: str, rate: float | None, wide: str, base: float | None) -> Iterator[Remark]:
    """Dense rates double with half the width, or stay: another ratio is unusual, and below 1 or above 4.5 wrong."""
    if rate is None or base is None:
        return
    ratio = rate / base
    if not 0.99 <= ratio <= 4.5:
        yield "error", f"{narrow} peak is {ratio:.2f} times the {wide} peak", "peaks are dense, never 2:4-sparse"
    elif min(abs(ratio - usual) / usual for usual in (1.0, 2.0)) > 0.06:
        yield "warning", f"{narrow} peak is {ratio:.2f} times the {wide} peak", "usually 1 or 2: is one of them sparse?"


def check_fabric(f: Fabric) -> Iterator[Remark]:
    """Ranges of one link; measured bandwidths do not exceed the line rate, but in-network reduction may."""
    if f.scope == "none":
        return
    peak = f.peak_bandwidth_bytes_per_s
    collective = max(f.allreduce_bandwidth_bytes_per_s, f.allgather_bandwidth_bytes_per_s)
    allowed = (1.25 if f.in_network_reduce else 1.0) * peak
    if peak:
        yield from in_range("peak bandwidth", peak / 1e9, 1, 5000, "GB/s")
        yield from in_range("start-up latency", f.alpha_s * 1e6, 0.1, 200, "us")
    yield from ordered("point-to-point bandwidth", f.p2p_bandwidth_bytes_per_s, "peak bandwidth", peak or None)
    yield from ordered("collective bandwidth", collective, "what the line allows", allowed or None)


def check_node(n: Node, known: Known) -> Iterator[Remark]:
    """References and power of one node."""
    yield from known_name("accelerator", n.accelerator, known.accelerators)
    yield from known_name("scale-up fabric", n.scaleup_fabric, known.fabrics)
    yield from known_name("scale-out fabric", n.scaleout_fabric, known.fabrics)
    yield from known_name("price key", n.price_key, known.price_keys)
    yield from ordered("idle power", n.idle_w, "maximum power", n.max_w)
    yield from ordered("power beside the accelerators", n.overhead_busy_w, "maximum power", n.max_w)
    if n.scaleout_fabric and not n.nics:
        yield "warning", "a scale-out fabric without network cards", "give nics"


def price_keys(price: Price) -> tuple[str, str]:
    """What a node may write to mean this price: `provider:instance`, or that and its region."""
    return f"{price.provider}:{price.instance}", price_name(price)


def price_name(price: Price) -> str:
    return f"{price.provider}:{price.instance}:{price.region}"


def check_price(p: Price, known: Known) -> Iterator[Remark]:
    """Date, reference and order of one price; commitments and spot do not cost more than on demand."""
    yield from known_name("accelerator", p.accelerator, known.accelerators)
    yield from in_range("price", p.on_demand_usd_per_hour / p.accelerators, 0.03, 100, "USD per accelerator-hour")
    if not re.search(r"20\d\d", p.as_of):
        yield "error", f"as_of {p.as_of!r} names no year", "say when the price was read"
    for term, attribute in TERMS:
        yield from ordered(
            f"{term} price", getattr(p, attribute), "on-demand price", p.on_demand_usd_per_hour, "warning"
        )


def check_tco(t: TcoParameter) -> Iterator[Remark]:
    """Range of one economic figure, where its kind has one."""
    if t.kind in TCO_RANGES:
        yield from in_range(t.kind, t.value, *TCO_RANGES[t.kind], t.unit)
    elif t.value <= 0:
        yield "error", f"value {t.value:g} is not positive", ""
