"""Correction: what a user's own measurements change in the price of one configuration. Not a profile, and not a fit.

A correction names where it belongs; the factors are on what the profile says, so neutral factors change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from planner.spec.base import Frozen


class Factors(Frozen):
    """Named scalars that measurements of whole runs can tell apart, each times what the profile says."""

    decode: float = Field(1.0, gt=0)
    """A decode step: all of it."""
    batch: float = Field(1.0, gt=0)
    """What sequences beyond the first, and the contexts of all, add to a decode step (on top of `decode`)."""
    prefill: float = Field(1.0, gt=0)
    """The prefill share of a step, never its decode part."""
    prefill_floor: float = Field(1.0, gt=0)
    """The least time of a step with prefill."""
    request: float = Field(1.0, gt=0)
    """Host time of a request before the queue."""
    admission_lag: float = Field(1.0, gt=0)
    """Steps between arrival in the queue and admission."""


class Bought(Frozen):
    """What the measurements behind a correction bought: median relative errors of points that had no part in the fit,
    and of the same points before; None where nobody measured it."""

    tpot_before: float | None = None
    tpot: float | None = None
    ttft_before: float | None = None
    ttft: float | None = None

    def __str__(self) -> str:
        pairs = (("TPOT", self.tpot_before, self.tpot), ("TTFT", self.ttft_before, self.ttft))
        told = [f"{name} {a:.0%} -> {b:.0%}" for name, a, b in pairs if a is not None and b is not None]
        return f"held-out error {', '.join(told)}" if told else ""


class Correction(Frozen):
    """Factors for the pools that match; an empty field matches anything.

    source: the measured points behind it. rel_error: relative half-width of the 80 % interval of a corrected step;
    None leaves the profile's. plans: the cuts that were measured ("tp4"), empty = any. Other cuts get the factors too,
    but not rel_error: how one cut errs says too little about another.
    """

    family: str = ""
    accelerator: str = ""
    model: str = ""
    weights: str = ""
    factors: Factors = Factors()
    rel_error: float | None = Field(None, gt=0)
    plans: tuple[str, ...] = ()
    source: str
    bought: Bought = Bought()

    @property
    def place(self) -> tuple[str, str, str, str]:
        return self.family, self.accelerator, self.model, self.weights

    def matches(self, family: str, accelerator: str, model: str, weights: str) -> bool:
        """Whether it belongs to a pool of that model and weight format on that accelerator."""
        found = (family, accelerator, model, weights)
        return all(not stated or stated == name for stated, name in zip(self.place, found, strict=True))


def narrowest(corrections: Iterable[Correction]) -> Correction | None:
    """The one that states most about where it belongs; of equals the last."""
    return max(enumerate(corrections), key=lambda c: (sum(map(bool, c[1].place)), c[0]), default=(0, None))[1]
