"""Planning: what `plan` and `check` share: progress, and a journal that is kept until the work is done. No choices."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from planner.cli.output import Progress, note
from planner.errors import BadInput, Problem, ServeplanError, StoppedAtLimit, Where

if TYPE_CHECKING:
    from planner.catalog import Catalog
    from planner.search.shards import Part, Shard
    from planner.spec.plan import Plan
    from planner.spec.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Run:
    """How to plan, as given on the command line. journal: where finished evaluations are kept, None = nowhere."""

    seed: int | None = None
    jobs: int | None = None
    time_limit_s: float | None = None
    journal: Path | None = None
    quiet: bool = False
    no_color: bool = False
    engine: str = "processes"


def make_plan(scenario: Scenario, folder: Path, catalog: Catalog, run: Run) -> Plan:
    """Plan a scenario whose trace files lie in `folder`."""
    from planner.search.plan import plan

    with Progress(run.quiet, run.no_color) as progress:
        return plan(
            scenario,
            catalog=catalog,
            folder=folder,
            jobs=run.jobs or os.cpu_count() or 1,
            engine=run.engine,
            journal=run.journal,
            progress=progress,
            seed=run.seed,
            time_limit_s=run.time_limit_s,
        )


def make_part(scenario: Scenario, folder: Path, catalog: Catalog, shard: Shard, run: Run) -> Part:
    """Simulate one shard of the candidates of a plan into the journal of the run."""
    from planner.search.shards import evaluate_shard

    if run.journal is None:
        raise BadInput(Problem("a shard needs a journal of its own", hint="add --journal FILE"))
    with Progress(run.quiet, run.no_color) as progress:
        return evaluate_shard(
            scenario,
            shard,
            run.journal,
            catalog=catalog,
            folder=folder,
            jobs=run.jobs or os.cpu_count() or 1,
            engine=run.engine,
            progress=progress,
            seed=run.seed,
        )


@contextmanager
def journal_beside(output: Path, scenario: Scenario, catalog: Catalog) -> Iterator[Path]:
    """A journal beside the plan to be written: kept when the work is stopped, removed when it is done.

    Its name says which code, catalog and scenario it belongs to, so an edited scenario begins a new one.
    """
    if not os.access(output.parent, os.W_OK):
        raise BadInput(Problem("cannot write: no such folder, or it is read-only", Where(str(output))))
    path = output.with_name(f".{output.name}.{_fingerprint(scenario, catalog)}.sqlite")
    try:
        yield path
    except (KeyboardInterrupt, StoppedAtLimit, BadInput):
        if path.exists():
            note(f"stopped; finished evaluations are kept in {path}, the same command goes on from there")
        raise
    except ServeplanError:
        _remove_journals(output)
        raise
    _remove_journals(output)


def _fingerprint(scenario: Scenario, catalog: Catalog) -> str:
    from planner import __version__

    text = "\n".join([__version__, catalog.content_hash(), scenario.model_dump_json()])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _remove_journals(output: Path) -> None:
    """Every journal of this output, with what sqlite keeps beside it."""
    for file in output.parent.glob(f".{output.name}.*.sqlite*"):
        file.unlink()
