"""Hardware: the accelerator of a pool with the node and the fabrics around it. Not a catalog, no measured kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from planner.spec.deployment import Pool
from planner.spec.hardware import Accelerator, Fabric, Node

# Peak rates a number format may run at, best first: without native units the weights are expanded to the next one.
# mxfp4 weights meet 8-bit activations where the matrix units know 4-bit formats, 16-bit ones elsewhere.
_RATES: dict[str, tuple[str, ...]] = {
    "fp32": ("tf32", "fp32"),
    "bf16": ("bf16", "fp16", "tf32", "fp32"),
    "fp16": ("fp16", "bf16", "tf32", "fp32"),
    "fp8": ("fp8", "bf16", "fp16", "fp32"),
    "int8": ("int8", "bf16", "fp16", "fp32"),
    "nvfp4": ("fp4", "bf16", "fp16", "fp32"),
    "mxfp4": ("bf16", "fp16", "fp32"),
    "int4": ("bf16", "fp16", "fp32"),
    "q4_k_m": ("bf16", "fp16", "fp32"),
}
# Bytes of one activation element by the rate its product runs at; an fp4 element carries its block scale.
ACTIVATION_BYTES = {"fp4": 0.5625, "fp8": 1.0, "int8": 1.0, "bf16": 2.0, "fp16": 2.0, "tf32": 4.0, "fp32": 4.0}

# Pairs under an NVLink bridge meet the other pairs over PCIe: measured over peak of pcie5-p2p, 25 of 64 GB/s.
PCIE_BETWEEN_BRIDGES = 0.4


class Shelf(Protocol):
    """The part of a catalog that is asked here."""

    def accelerator(self, name: str) -> Accelerator: ...
    def node(self, name: str) -> Node: ...
    def fabric(self, name: str) -> Fabric: ...


@dataclass(frozen=True, slots=True)
class Hardware:
    """An accelerator in its surroundings; a fabric is None where there is none."""

    accelerator: Accelerator
    node: Node
    scaleup: Fabric | None = None
    scaleout: Fabric | None = None

    def rate(self, weights: str) -> str:
        """Key of ACTIVATION_BYTES: the format in which products of `weights` are computed here."""
        if weights == "mxfp4" and self.accelerator.peak.fp4_flop_per_s and self.accelerator.peak.fp8_flop_per_s:
            return "fp8"
        for rate in _RATES[weights]:
            if getattr(self.accelerator.peak, f"{rate}_flop_per_s"):
                return rate
        raise ValueError(f"{self.accelerator.name} states no peak rate that {weights} can run at")

    def flop_per_s(self, rate: str) -> float:
        return float(getattr(self.accelerator.peak, f"{rate}_flop_per_s"))

    def sustained_flop_per_s(self, rate: str) -> float:
        """What the power limit leaves of the peak in long products."""
        return self.flop_per_s(rate) * self.accelerator.sustained

    @property
    def bandwidth(self) -> float:
        """Memory, bytes/s."""
        return self.accelerator.memory_bandwidth_bytes_per_s

    @property
    def link(self) -> float:
        """Scale-up peak per accelerator, one way, bytes/s; PCIe where there is no other link."""
        stated = self.accelerator.scaleup_bandwidth_bytes_per_s or self.accelerator.pcie_bandwidth_bytes_per_s
        return stated or (self.scaleup.peak_bandwidth_bytes_per_s if self.scaleup else 0.0) or 16e9

    @property
    def domain(self) -> int:
        """Accelerators that reach each other without the network: the links between them, else the PCIe tree."""
        return self.node.accelerators if self.node.scaleup_domain <= 1 else self.node.scaleup_domain

    def outside(self, ranks: int) -> float:
        """Peak of one accelerator towards others outside its domain, bytes/s: the host's PCIe, or the network."""
        if ranks > self.node.accelerators:
            return self.nic
        return max(self.nic, PCIE_BETWEEN_BRIDGES * self.accelerator.pcie_bandwidth_bytes_per_s)

    @property
    def nic(self) -> float:
        """Scale-out peak per accelerator, one way, bytes/s."""
        shared = self.node.nic_bandwidth_bytes_per_s * self.node.nics / self.node.accelerators
        fabric = self.scaleout.peak_bandwidth_bytes_per_s if self.scaleout else 0.0
        return shared or self.accelerator.nic_bandwidth_bytes_per_s or fabric or 1.25e9


def hardware_of(shelf: Shelf, pool: Pool) -> Hardware:
    """What `pool` runs on, resolved from a catalog."""
    node = shelf.node(pool.node)
    scaleout = shelf.fabric(node.scaleout_fabric) if node.scaleout_fabric else None
    scaleup = shelf.fabric(node.scaleup_fabric) if node.scaleup_fabric else None
    return Hardware(shelf.accelerator(pool.accelerator), node, scaleup, scaleout)
