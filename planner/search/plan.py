"""Plan: from a scenario to the answer, as verbs. How each is done is in the file of its name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from planner import __version__
from planner.catalog import Catalog, ResolvedScenario
from planner.search.choose import choose
from planner.search.document import document
from planner.search.evaluate import Progress, evaluate
from planner.search.journal import key_of, open_journal
from planner.search.predict import setting_of
from planner.search.rules import admit
from planner.search.setting import Setting
from planner.search.space import enumerate_pools
from planner.search.workers import Executor, Processes, Serial
from planner.spec.plan import Plan
from planner.spec.scenario import Scenario

WORTH_PROCESSES = 600
"""Candidates; starting a process takes about as long as evaluating a hundred."""


def plan(
    scenario: Scenario | ResolvedScenario,
    *,
    catalog: Catalog | None = None,
    folder: Path | None = None,
    jobs: int = 1,
    journal: Path | None = None,
    progress: Progress | None = None,
    seed: int | None = None,
    time_limit_s: float | None = None,
) -> Plan:
    """The best plan for a scenario, proven and simulated.

    folder: where relative trace files start (a loaded scenario knows). journal: file that keeps the evaluations.
    time_limit_s: evaluate no further after this time; the plan is then the best of what was seen. The answer does not
    depend on `jobs`. Raises Infeasible with reasons when no plan can meet the scenario.
    """
    setting, late = setting_of(scenario, catalog, folder, seed), _alarm(time_limit_s)
    tell = progress or (lambda done, total, what: None)
    with open_journal(journal, _owner(setting)) as kept:
        pools = enumerate_pools(setting)
        admitted = tuple(admit(pools, setting))
        with _workers(jobs, len(admitted)) as workers:
            columns = evaluate(admitted, setting, workers, kept, tell, late)
        choice = choose(columns, setting, tell)
        return document(setting, columns, choice, tell)


@contextmanager
def _workers(jobs: int, candidates: int) -> Iterator[Executor]:
    """Other processes only for work that outlasts their start."""
    if jobs <= 1 or candidates < WORTH_PROCESSES:
        yield Serial()
        return
    with Processes(jobs, chunk=1) as processes:
        yield processes


def _alarm(limit_s: float | None) -> Callable[[], bool]:
    """Whether the time is over; never without a limit."""
    end_s = time.monotonic() + limit_s if limit_s is not None else None
    return lambda: end_s is not None and time.monotonic() >= end_s


def _owner(setting: Setting) -> str:
    """Which code, catalog and scenario a journal belongs to."""
    return key_of([__version__, setting.catalog_hash, setting.scenario.model_dump(mode="json")])
