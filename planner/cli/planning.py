"""Planning: what `plan` and `check` share - open, plan with progress, keep the journal until it is done. No choices."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from planner.cli.output import Progress, note

if TYPE_CHECKING:
    from planner.catalog.catalog import Catalog
    from planner.spec.plan import Plan
    from planner.spec.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Run:
    """How to plan, as given on the command line."""

    seed: int | None = None
    jobs: int | None = None
    time_limit_s: float | None = None
    journal: Path | None = None
    quiet: bool = False
    no_color: bool = False


def make_plan(scenario: Scenario, folder: Path, catalog: Catalog, run: Run) -> Plan:
    """Plan a scenario whose trace files lie in `folder`; interrupted work stays in the journal."""
    from planner.search.plan import plan

    with _journal(scenario, catalog, run) as journal, Progress(run.quiet, run.no_color) as progress:
        return plan(
            scenario,
            catalog=catalog,
            folder=folder,
            jobs=run.jobs or os.cpu_count() or 1,
            journal=journal,
            progress=progress,
            seed=run.seed,
            time_limit_s=run.time_limit_s,
        )


@contextmanager
def _journal(scenario: Scenario, catalog: Catalog, run: Run) -> Iterator[Path]:
    """The journal the user named; else one in the cache that is removed when the work is done."""
    if run.journal is not None:
        yield run.journal
        return
    path = _cache_folder() / f"{_fingerprint(scenario, catalog)}.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    except KeyboardInterrupt:
        note("interrupted; what is done is kept, the same command goes on from there")
        raise
    for leftover in path.parent.glob(path.name + "*"):
        leftover.unlink()


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "serveplan" / "journals"


def _fingerprint(scenario: Scenario, catalog: Catalog) -> str:
    """Which journal belongs to this work: same code, same catalog, same scenario."""
    import hashlib

    from planner import __version__

    text = "\n".join([__version__, catalog.content_hash(), scenario.model_dump_json()])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def open_catalog(folders: Sequence[Path] | None) -> Catalog:
    from planner.catalog import Catalog

    return Catalog.open(folders or ())
