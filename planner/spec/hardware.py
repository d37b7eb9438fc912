"""Hardware nouns: Accelerator, Fabric, Node, Price, TcoParameter. Facts with a source, no behaviour.

Peaks are dense (never 2:4-sparse); bandwidths are one direction unless the name says otherwise; SI inside.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from planner.spec.base import Frozen, Sourced
from planner.units import Bytes, BytesPerSecond, FlopPerSecond, Seconds, UsdPerHour, Watts

EstimatorName = Literal["fitted", "analytic", "roofline", "silicon", "table"]
"""Sources of step times: the embedded default, datasheet alone, lower bound, operator database, one's own table."""


class Peak(Frozen):
    """Dense peak rates per number format; a missing format is not supported by the matrix units."""

    fp32_flop_per_s: FlopPerSecond | None = None
    tf32_flop_per_s: FlopPerSecond | None = None
    bf16_flop_per_s: FlopPerSecond | None = None
    fp16_flop_per_s: FlopPerSecond | None = None
    fp8_flop_per_s: FlopPerSecond | None = None
    int8_flop_per_s: FlopPerSecond | None = None
    fp4_flop_per_s: FlopPerSecond | None = None


class Accelerator(Sourced):
    """One device as the driver shows it."""

    name: str
    vendor: str
    year: int
    memory_bytes: Bytes
    memory_bandwidth_bytes_per_s: BytesPerSecond
    peak: Peak
    sm_count: int = Field(0, ge=0)
    l2_bytes: Bytes = 0.0
    tdp_w: Watts | None = None
    idle_w: Watts | None = None
    scaleup_link: str = ""
    scaleup_bandwidth_bytes_per_s: BytesPerSecond = 0.0
    scaleup_domain: PositiveInt = 1
    pcie: str = ""
    pcie_bandwidth_bytes_per_s: BytesPerSecond = 0.0
    nic_bandwidth_bytes_per_s: BytesPerSecond = 0.0
    behaves_like: str = ""
    """Measured accelerator whose kernel efficiencies it borrows; empty = it has its own or none."""
    sustained: float = Field(1.0, gt=0, le=1)
    """Share of the peak rates that its power limit lets it hold, beside the accelerator it behaves like."""
    estimator: EstimatorName | None = None
    """Source of step times on it; a scenario's `engine: {estimator: ...}` stands over it; empty = fitted."""
    measurements: str = ""
    """CSV of one's own measurements for the estimator `table`, beside this file (docs/estimators.md)."""
    second_source: str = ""


class Fabric(Sourced):
    """A link technology between devices of one node (scale-up) or of several (scale-out)."""

    name: str
    scope: Literal["scale-up", "scale-out", "host", "none"]
    topology: str = ""
    max_gpus: int = Field(0, ge=0)
    peak_bandwidth_bytes_per_s: BytesPerSecond = 0.0
    p2p_bandwidth_bytes_per_s: BytesPerSecond = 0.0
    alpha_s: Seconds = 0.0
    allreduce_bandwidth_bytes_per_s: BytesPerSecond = 0.0
    allgather_bandwidth_bytes_per_s: BytesPerSecond = 0.0
    in_network_reduce: bool = False
    concurrent_links: str = ""


class Node(Sourced):
    """A server, tray, rack or cloud instance: accelerators of one kind and what surrounds them."""

    name: str
    accelerator: str
    accelerators: PositiveInt
    scaleup_fabric: str
    scaleup_domain: PositiveInt
    scaleout_fabric: str = ""
    nics: int = Field(0, ge=0)
    nic_bandwidth_bytes_per_s: BytesPerSecond = 0.0
    host_cpu: str = ""
    host_sockets: int = Field(0, ge=0)
    host_cores: int = Field(0, ge=0)
    dram_bytes: Bytes = 0.0
    pcie: str = ""
    max_w: Watts | None = None
    idle_w: Watts | None = None
    """At the wall with idle accelerators."""
    overhead_busy_w: Watts | None = None
    """Everything but the accelerators, under load."""
    rack_units: int = 0
    nodes_per_rack: int = 0
    cooling: str = ""
    price_key: str = ""
    """`provider:instance`, the key of its price."""


class Price(Sourced):
    """Hourly price of one instance in one region, at a date."""

    provider: str
    instance: str
    region: str
    accelerator: str
    accelerators: PositiveInt
    on_demand_usd_per_hour: UsdPerHour
    spot_usd_per_hour: UsdPerHour | None = None
    reserved_1y_usd_per_hour: UsdPerHour | None = None
    reserved_3y_usd_per_hour: UsdPerHour | None = None
    vcpus: int = 0
    memory_bytes: Bytes = 0.0
    network_bandwidth_bytes_per_s: BytesPerSecond = 0.0
    as_of: str


class TcoParameter(Sourced):
    """One economic or environmental figure; `unit` is text as published because the kinds differ."""

    kind: Literal["capex", "finance", "pue", "power", "tco-anchor", "electricity", "carbon"]
    key: str
    label: str = ""
    value: float
    unit: str
    as_of: str = ""
