"""Admit: every candidate as it came, or refused with the first verdict against it. The rules are in `rules`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from planner.search.masks import refusals
from planner.search.rules import ORDER, PASSED, RULES, Verdict
from planner.search.setting import Setting
from planner.search.space import Candidate, Pools, Space, pools_of


@dataclass(frozen=True, slots=True)
class Refused:
    """A candidate that a rule is against, by the name of the verdict; the candidate and the words when asked for."""

    rule: str
    pools: Pools
    place: int
    setting: Setting

    @property
    def candidate(self) -> Candidate:
        return self.pools[self.place]

    @property
    def verdict(self) -> Verdict:
        judged = (RULES.get(name)(self.candidate, self.setting) for name in ORDER)
        return next((one for one in judged if not one.ok), PASSED)


def admit(candidates: Iterable[Candidate], setting: Setting) -> Iterator[Candidate | Refused]:
    """Each candidate as it came, or refused."""
    for pools in candidates.arrays if isinstance(candidates, Space) else _arrays(candidates):
        for i, rule in enumerate(refusals(pools, setting)):
            yield Refused(rule, pools, i, setting) if rule else pools[i]


def count_of(judged: Iterable[Candidate | Refused]) -> int:
    """How many are not refused."""
    return sum(isinstance(one, Candidate) for one in judged)


def _arrays(candidates: Iterable[Candidate]) -> Iterator[Pools]:
    for _, alike in groupby(candidates, key=lambda c: (c.model, c.site)):
        yield pools_of(list(alike))
