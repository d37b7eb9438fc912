"""Which catalog price a key means: `provider:instance[:region]`. Not what a plan costs; that is `planner.tco`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import Field

from planner.catalog.document import printable, quoted
from planner.errors import BadInput, Problem, did_you_mean
from planner.spec.base import Frozen
from planner.spec.hardware import Price, TcoParameter

Term = Literal["on_demand", "spot", "reserved_1y", "reserved_3y"]
TERMS: tuple[Term, ...] = get_args(Term)
_NOTE = re.compile(r"\s*\([^()]*\)$")


class PriceList(Frozen):
    """A file of hardware_db/prices."""

    prices: tuple[Price, ...] = Field(min_length=1)


class TcoList(Frozen):
    """A file of hardware_db/tco."""

    parameters: tuple[TcoParameter, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Quote:
    """The price that a key means under one term."""

    price: Price
    term: Term
    usd_per_hour: float

    def for_node(self, accelerators: int) -> float:
        """USD per hour of a node with that many accelerators (some providers price single chips of a node)."""
        return self.usd_per_hour * accelerators / self.price.accelerators

    def __str__(self) -> str:
        p = self.price
        return f"{p.provider}:{p.instance}:{p.region} {self.term}, as of {p.as_of} ({p.source})"


def quote(prices: Sequence[Price], key: str, term: Term) -> Quote:
    """The price of `key`; without a region the newest, then the first region by name. Later `prices` replace earlier
    ones of the same instance and region, so an overlay's price counts. BadInput names what is known."""
    here = _listed(_latest(prices), *_split(key))
    priced = [(p, usd) for p in here if (usd := amount(p, term)) is not None]
    if not priced:
        terms = sorted({t for t in TERMS for p in here if amount(p, t) is not None})
        raise BadInput(Problem(f"no {term} price of {printable(key, 120)}", hint=f"known terms: {', '.join(terms)}"))
    newest = max(p.as_of for p, _ in priced)
    price, usd = min(((p, usd) for p, usd in priced if p.as_of == newest), key=lambda pair: pair[0].region)
    return Quote(price, term, usd)


def _listed(prices: Sequence[Price], provider: str, instance: str, region: str | None) -> list[Price]:
    """Prices of an instance, in all its regions without `region`; never empty."""
    named = printable(f"{provider}:{instance}", 120)
    same = [p for p in prices if p.provider.casefold() == provider.casefold()]
    if not same:
        hint = _known(provider, {p.provider for p in prices})
        raise BadInput(Problem(f"no prices of a provider {quoted(provider)}", hint=hint))
    same_instance = [p for p in same if _plain(p.instance) == _plain(instance)]
    if not same_instance:
        hint = did_you_mean(instance, [p.instance for p in same])
        raise BadInput(Problem(f"no price of {named}", hint=hint or "`price` states one directly"))
    here = [p for p in same_instance if region in (None, p.region)]
    if not here:
        regions = ", ".join(sorted({p.region for p in same_instance}))
        raise BadInput(Problem(f"no price of {named} in {printable(str(region))}", hint=f"known regions: {regions}"))
    return here


def amount(price: Price, term: Term) -> float | None:
    """USD per hour under a term; None when the list has none."""
    value: float | None = getattr(price, f"{term}_usd_per_hour")
    return value


def _latest(prices: Sequence[Price]) -> list[Price]:
    by_place: dict[tuple[str, str, str], Price] = {}
    for price in prices:
        by_place[price.provider.casefold(), _plain(price.instance), price.region] = price
    return list(by_place.values())


def _plain(instance: str) -> str:
    """Instance names compare without case and without a note like "(per chip)"."""
    return _NOTE.sub("", instance).casefold()


def _split(key: str) -> tuple[str, str, str | None]:
    parts = [part.strip() for part in key.split(":")]
    if len(parts) not in (2, 3) or not all(parts):
        raise BadInput(
            Problem(f"{quoted(key)} is not a price key", hint="write provider:instance or provider:instance:region")
        )
    return parts[0], parts[1], parts[2] if len(parts) == 3 else None


def _known(word: str, known: set[str]) -> str:
    return did_you_mean(word, known) or f"known: {', '.join(sorted(known))}"
