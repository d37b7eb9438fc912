"""Messages inside a node as measured: forms fitted to collective tables, by kind, library and count of GPUs.

Coefficients and their errors: `hardware_db/coefficients` (with NOTICE). None across nodes and where nothing was
measured; `analytic` has the forms for those.
"""

from __future__ import annotations

import numpy as np

from planner.perf.coefficients import Coefficients
from planner.perf.collectives import Collective
from planner.perf.estimators.base import Floats
from planner.perf.hardware import Hardware

CUSTOM_AR_BYTES = 8.4e6  # largest message in the tables of the engines' own all-reduce; beyond it they call NCCL


class Messages:
    """Measured collectives of one accelerator, None where there is no fit."""

    def __init__(self, hardware: Hardware, coefficients: Coefficients):
        self.hardware, self.known = hardware, coefficients

    def collective(self, op: Collective) -> Floats | None:
        """`per_gpu_count` inside one node; the engine's own all-reduce for small messages, NCCL for large ones."""
        if op.across > 1:
            return None
        library = self._message(op, "nccl", "alltoall" if op.kind == "all_to_all" else op.kind)
        if op.kind != "all_reduce":
            return library
        own = self._message(op, "trtllm_custom_ar", op.kind)
        if own is None or library is None:
            return library if own is None else own
        return np.where(op.payload <= CUSTOM_AR_BYTES, np.minimum(own, library), library)

    def _message(self, op: Collective, library: str, kind: str) -> Floats | None:
        c = self.known.collective(kind, library, op.gpus)
        if c is None:
            return None
        sent = op.traffic(op.gpus) / self.hardware.link
        power = c["p"]
        time: Floats = (c["a_s"] ** power + (c["e"] * sent + c["k"] * np.sqrt(sent)) ** power) ** (1 / power)
        return time
