"""Shards: a search cut into parts that batch systems run apart, each into its own journal, and the journals joined.

Not a scheduler: who runs which shard where is the batch system's affair. A plan with the joined journal simulates no
candidate again, and its bytes are those of a plan made in one piece.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from planner.catalog import Catalog, ResolvedScenario
from planner.errors import BadInput, ForeignJournal, Problem, Where, raise_all
from planner.search import journal as journals
from planner.search.admit import admit
from planner.search.demand import require_plain
from planner.search.evaluate import Family, Progress, evaluate_families, families_of
from planner.search.plan import owner_of
from planner.search.predict import setting_of
from planner.search.space import enumerate_pools
from planner.search.workers import open_workers
from planner.spec.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number` (from 1) of `count`."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """`2/8`; BadInput for anything else."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        number, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= number <= count:
            raise BadInput(Problem(f"{text!r} is no shard", hint="1/8, 2/8, ... 8/8 are the shards of eight"))
        return cls(number, count)

    def of(self, families: Sequence[Family]) -> tuple[Family, ...]:
        """This shard's families: dealt out one by one, large ones first, so that the shards are about equal."""
        by_size = sorted(range(len(families)), key=lambda i: (-len(families[i].candidates), i))
        return tuple(families[i] for i in sorted(by_size[self.number - 1 :: self.count]))


@dataclass(frozen=True, slots=True)
class Part:
    """What a shard has done: families and candidates in its journal, and families of the whole search."""

    families: int
    candidates: int
    of_families: int


def evaluate_shard(
    scenario: Scenario | ResolvedScenario,
    shard: Shard,
    journal: Path,
    *,
    catalog: Catalog | None = None,
    folder: Path | None = None,
    jobs: int = 1,
    engine: str = "processes",
    progress: Progress | None = None,
    seed: int | None = None,
) -> Part:
    """Simulate a shard's candidates into its journal; arguments as for `plan`, and so are the errors."""
    require_plain(scenario)
    setting = setting_of(scenario, catalog, folder, seed)
    families = families_of(setting, admit(enumerate_pools(setting), setting))
    mine = shard.of(families)
    tell = progress or (lambda done, total, what: None)
    candidates = sum(len(family.candidates) for family in mine)
    with open_workers(engine, jobs, candidates) as workers, journals.open_file(journal, owner_of(setting)) as kept:
        evaluate_families(mine, setting, workers, kept, tell)
    return Part(len(mine), candidates, len(families))


def merge(parts: Sequence[Path], target: Path) -> int:
    """Join journals of one scenario into `target`, which may be new or one of them; the number of answers there.

    Raises ForeignJournal or BadInput, with its name, for a journal that is missing, damaged, of another scenario or
    code, or at odds with another; then `target` is as it was.
    """
    raise_all([Problem("no such journal", Where(str(part))) for part in parts if not part.is_file()])
    owner = journals.owner_of(parts[0])
    joined: dict[str, str] = {}
    for part in parts:
        with journals.open_file(part, owner) as journal:
            _join(joined, journal.texts(), part)
    with journals.open_file(target, owner) as journal:
        _join(joined, journal.texts(), target)
        journal.put_texts(joined)
        return journal.count


def _join(joined: dict[str, str], texts: dict[str, str], source: Path) -> None:
    """The same work gives the same text wherever it is done."""
    if any(joined.get(key, text) != text for key, text in texts.items()):
        what = "this journal disagrees with another about the same candidates"
        hint = "were both made with the same packages, on processors of one kind?"
        raise ForeignJournal(Problem(what, Where(str(source)), hint))
    joined.update(texts)
