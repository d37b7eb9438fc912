"""Names and settings of a run -> the pool and the replica that stand for it. It replays nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from planner.calibrate.runs.experiment import Experiment
from planner.catalog import Catalog
from planner.errors import BadInput, Problem
from planner.perf.hardware import hardware_of
from planner.perf.replica import build_replica
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.step import Replica


def pool_on(catalog: Catalog, *, model: str, gpu: str, **settings: Any) -> Pool:
    """A pool of the cataloged model on the largest cataloged server with these accelerators."""
    accelerator = catalog.accelerator(gpu).name
    nodes = [n for n in map(catalog.node, catalog.names("nodes")) if n.accelerator == accelerator]
    if not nodes:
        raise BadInput(Problem(f"no server with {accelerator} is cataloged", hint="add one to a catalog folder"))
    node = max(nodes, key=lambda n: (n.accelerators, n.name))
    return Pool(model=catalog.model(model).name, node=node.name, accelerator=accelerator, **settings)


def profile_of(experiment: Experiment, catalog: Catalog) -> EngineProfile:
    """The profile of the run's engine version with the memory share and the scheduler that the run states."""
    stated = experiment.settings
    profile = catalog.engine(stated.engine, stated.version)
    if stated.memory_fraction is not None:
        memory = profile.memory.model_copy(update={"fraction": stated.memory_fraction})
        profile = profile.model_copy(update={"memory": memory})
    return profile.model_copy(update={"scheduler": stated.scheduler}) if stated.scheduler else profile


def replica_of(experiment: Experiment, catalog: Catalog, *, estimator: str | None = None) -> Replica:
    """One replica of the run, with the KV blocks that it states."""
    pool = experiment.pool
    profile = profile_of(experiment, catalog)
    built = build_replica(catalog.model(pool.model), pool, hardware_of(catalog, pool), profile, estimator=estimator)
    built = replace(built, max_context=0)
    return replace(built, kv_blocks=experiment.settings.kv_blocks) if experiment.settings.kv_blocks else built
