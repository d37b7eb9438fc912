"""Plan: from a scenario to the answer, as verbs. How each is done is in the file of its name."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from planner import __version__
from planner.catalog import Catalog, ResolvedScenario
from planner.search.admit import admit, count_of
from planner.search.beyond import look_beyond, with_beyond
from planner.search.choose import choose
from planner.search.demand import require_plain
from planner.search.document import document
from planner.search.evaluate import Progress, evaluate
from planner.search.journal import key_of, open_journal
from planner.search.predict import setting_of
from planner.search.setting import Setting
from planner.search.space import enumerate_pools
from planner.search.workers import open_workers
from planner.spec.plan import Plan
from planner.spec.scenario import Scenario


def plan(
    scenario: Scenario | ResolvedScenario,
    *,
    catalog: Catalog | None = None,
    folder: Path | None = None,
    jobs: int = 1,
    engine: str = "processes",
    journal: Path | None = None,
    progress: Progress | None = None,
    seed: int | None = None,
    time_limit_s: float | None = None,
) -> Plan:
    """The best plan for a scenario, proven and simulated.

    folder: where relative trace files start (a loaded scenario knows). journal: file that keeps the evaluations.
    engine: where candidates are simulated (see `workers.open_workers`). time_limit_s: evaluate no further after this
    time; the plan is then the best of what was seen. The answer depends on neither `jobs` nor `engine`.
    Raises Infeasible with reasons when no plan can meet the scenario.
    """
    require_plain(scenario)
    setting, late = setting_of(scenario, catalog, folder, seed), _alarm(time_limit_s)
    tell = progress or (lambda done, total, what: None)
    pools = enumerate_pools(setting)
    admitted = tuple(admit(pools, setting))
    with open_workers(engine, jobs, count_of(admitted)) as workers, open_journal(journal, owner_of(setting)) as kept:
        columns = evaluate(admitted, setting, workers, kept, tell, late)
        wider = look_beyond(setting, workers, kept, tell, late)
    choice = choose(columns, setting, tell)
    return with_beyond(document(setting, columns, choice, tell), setting, wider, tell)


def _alarm(limit_s: float | None) -> Callable[[], bool]:
    """Whether the time is over; never without a limit."""
    end_s = time.monotonic() + limit_s if limit_s is not None else None
    return lambda: end_s is not None and time.monotonic() >= end_s


def owner_of(setting: Setting) -> str:
    """Which code, catalog and scenario a journal belongs to."""
    return key_of([__version__, setting.catalog_hash, setting.scenario.model_dump(mode="json")])
