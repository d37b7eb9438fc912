"""Frozen: the base of every noun read from YAML or JSON. Not a place for behaviour.

Inside, a physical field carries its unit (`memory_bytes`, SI); in YAML the unit stands with the value and the key is
plain (`memory: 80 GiB`). The alias drops the suffix, so no noun repeats that rule.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

UNIT_SUFFIXES = (
    "_bytes_per_s", "_flop_per_s", "_per_s", "_bytes", "_s", "_w", "_j", "_usd_per_hour", "_usd_per_kwh",
    "_kg_per_kwh", "_usd",
)  # fmt: skip


def yaml_name(field: str) -> str:
    """The YAML key of a field: its name without the unit suffix (`tdp_w` -> `tdp`)."""
    for suffix in UNIT_SUFFIXES:
        if field.endswith(suffix) and len(field) > len(suffix):
            return field[: -len(suffix)]
    return field


class Frozen(BaseModel):
    """Immutable, refuses unknown fields; the unit suffix is dropped in YAML."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=yaml_name, populate_by_name=True,
        serialize_by_alias=True, allow_inf_nan=False, protected_namespaces=(),
    )  # fmt: skip


class Sourced(Frozen):
    """A catalog entry: where its figures come from and how far to trust them."""

    source: str
    confidence: str = "medium"
    notes: str = ""
