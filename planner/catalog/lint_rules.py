"""Small rules of the catalog lint: a range, a ratio, an order of two figures. Not the figures themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

Severity = Literal["error", "warning"]
Remark = tuple[Severity, str, str]
"""(severity, what is wrong, how to mend it)."""


def in_range(what: str, value: float | None, low: float, high: float, unit: str = "") -> Iterator[Remark]:
    """An error when a given value lies outside the plausible range: mostly a slip of unit."""
    if value is not None and not low <= value <= high:
        yield "error", f"{what} {value:g} {unit} is outside {low:g} to {high:g}".replace("  ", " "), "check the unit"


def ordered(
    small: str, low: float | None, large: str, high: float | None, severity: Severity = "error"
) -> Iterator[Remark]:
    """A remark when a figure exceeds one that it cannot, or (as a warning) hardly ever does."""
    if low is not None and high is not None and low > high:
        yield severity, f"{small} ({low:g}) exceeds {large} ({high:g})", ""


def known_name(what: str, name: str, names: frozenset[str]) -> Iterator[Remark]:
    """An error when a reference points to nothing; an empty reference is none."""
    if name and name not in names:
        yield "error", f"{what} {name!r} is not in the catalog", "add the entry or mend the name"
