"""Plausibility of a whole catalog: counts, ranges, references, sources, dates - as findings, not exceptions.

Not validation: types, units and required fields are checked when an entry is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from planner.catalog.lint_hardware import (
    Known,
    check_accelerator,
    check_fabric,
    check_node,
    check_price,
    check_provenance,
    check_tco,
    price_keys,
    price_name,
)
from planner.catalog.lint_models import check_model, check_stage_model
from planner.catalog.lint_rules import Remark, Severity
from planner.errors import BadInput
from planner.spec.base import Sourced
from planner.spec.hardware import Accelerator, Fabric, Node, Price, TcoParameter
from planner.spec.model import Model, StageModel

T = TypeVar("T", bound=Sourced)


@dataclass(frozen=True, slots=True)
class Finding:
    """One doubtful figure; an error is certainly wrong, a warning needs a look."""

    severity: Severity
    entry: str
    what: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.severity}: {self.entry}: {self.what}"
        return f"{text} - {self.hint}" if self.hint else text


class Entries(Protocol):
    """What the lint asks of a catalog."""

    def names(self, kind: str) -> Sequence[str]: ...
    def accelerator(self, name: str) -> Accelerator: ...
    def node(self, name: str) -> Node: ...
    def fabric(self, name: str) -> Fabric: ...
    def model(self, name: str) -> Model: ...
    def stage_model(self, name: str) -> StageModel: ...
    def prices(self) -> Sequence[Price]: ...
    def tco_parameters(self) -> Sequence[TcoParameter]: ...


def lint(catalog: Entries) -> list[Finding]:
    """Every finding in the catalog, errors first; an entry that cannot be read is an error itself."""
    known = Known(
        accelerators=frozenset(catalog.names("accelerators")),
        fabrics=frozenset(catalog.names("fabrics")),
        price_keys=frozenset(key for price in catalog.prices() for key in price_keys(price)),
    )
    found = [
        *_each(catalog.names("accelerators"), catalog.accelerator, lambda a: check_accelerator(a, known)),
        *_each(catalog.names("fabrics"), catalog.fabric, check_fabric),
        *_each(catalog.names("nodes"), catalog.node, lambda n: check_node(n, known)),
        *_each(catalog.names("models"), catalog.model, check_model),
        *_each(catalog.names("stage_models"), catalog.stage_model, check_stage_model),
        *(f for p in catalog.prices() for f in _findings(price_name(p), p, lambda p: check_price(p, known))),
        *_twice("price", [price_name(p) for p in catalog.prices()]),
        *(f for t in catalog.tco_parameters() for f in _findings(f"{t.kind}:{t.key}", t, check_tco)),
    ]
    return sorted(found, key=lambda finding: finding.severity)


def _each(names: Sequence[str], read: Callable[[str], T], check: Callable[[T], Iterable[Remark]]) -> Iterator[Finding]:
    """Findings of the entries of one kind."""
    for name in names:
        try:
            entry = read(name)
        except BadInput as bad:
            yield from (Finding("error", name, str(problem)) for problem in bad.problems)
        else:
            yield from _findings(name, entry, check)


def _twice(kind: str, names: Sequence[str]) -> Iterator[Finding]:
    for name, count in Counter(name.casefold() for name in names).items():
        if count > 1:
            yield Finding("error", name, f"{count} entries are the same {kind}", "keep one, or tell them apart")


def _findings(name: str, entry: T, check: Callable[[T], Iterable[Remark]]) -> Iterator[Finding]:
    for severity, what, hint in (*check_provenance(entry), *check(entry)):
        yield Finding(severity, name, what, hint)
