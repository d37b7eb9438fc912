"""From Tasks and a Deployment to who serves which task over which edges: records for `build`. Not the loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.errors import BadInput, Problem
from planner.sim.state import NOBODY, SUCCESSOR, TASK
from planner.spec.deployment import SERVICES, Deployment, Route
from planner.spec.requests import Ints, Requests, TaskKind, Tasks

Flags = NDArray[np.bool_]


def phases_of(deployment: Deployment) -> dict[str, tuple[str, ...]]:
    """Phases of pools and services by name."""
    return {one.name: one.phases for one in deployment.places}


def decode_edges(deployment: Deployment, source: str) -> bool:
    """Whether an edge leads from a pool to one that decodes."""
    phases = phases_of(deployment)
    return any(edge.source == source and "decode" in phases[edge.target] for edge in deployment.edges)


def routed(deployment: Deployment, requests: Requests) -> Iterator[tuple[Ints, Sequence[Route]]]:
    """Requests that share their routes; tasks that nobody serves are left out, they are delays."""
    tasks = requests.tasks
    if tasks is None:
        for c, name in enumerate(requests.class_names):
            routes = tuple(route for route in deployment.routes if route.request_class == name)
            yield np.flatnonzero(requests.class_index == c), routes
        return
    for k, kind in enumerate(tasks.kinds):
        routes = routes_of(deployment, requests, kind)
        if routes:
            yield np.flatnonzero(tasks.kind == k), routes


def routes_of(deployment: Deployment, requests: Requests, kind: TaskKind) -> tuple[Route, ...]:
    """Routes that serve a kind of task."""
    return deployment.routes_of(requests.class_names[kind.class_index], kind.name, kind.phase, kind.model)


def unserved(deployment: Deployment, requests: Requests) -> list[Problem]:
    """Classes without a route, and kinds of tasks that need an engine and have none."""
    served = {route.request_class for route in deployment.routes}
    found = [Problem(f"no route serves request class {c}") for c in requests.class_names if c not in served]
    for kind in requests.tasks.kinds if requests.tasks is not None else ():
        name = requests.class_names[kind.class_index]
        if name in served and kind.phase not in SERVICES and not routes_of(deployment, requests, kind):
            of_model = f" of {kind.model}" if kind.model else ""
            found.append(Problem(f"no route of class {name} leads to a pool{of_model} that runs its node {kind.name}"))
    return found


def engine_rows(requests: Requests) -> Flags:
    """Which requests an engine computes: all but the tasks of services and delays."""
    if requests.tasks is None:
        return np.ones(len(requests), np.bool_)
    return np.array([kind.phase not in SERVICES for kind in requests.tasks.kinds], np.bool_)[requests.tasks.kind]


def jobs_of(requests: Requests) -> int:
    """Number of jobs: sessions, walks of a graph, plain requests."""
    tasks = requests.tasks
    return len(requests) if tasks is None else int(tasks.job[-1]) + 1 if len(tasks.job) else 0


def entries_of(tasks: Tasks | None, n: int) -> Flags:
    """Which of n requests came from outside: the first task of each job, or every request."""
    return np.ones(n, np.bool_) if tasks is None else np.diff(tasks.job, prepend=-1) > 0


def row_of_job(requests: Requests, job: int) -> int:
    """The first request of a job; the number of requests when there are fewer jobs."""
    if requests.tasks is None:
        return min(job, len(requests))
    return int(np.searchsorted(requests.tasks.job, job))


def whole_jobs(refused: Flags, tasks: Tasks) -> Flags:
    """A job of which one task is refused is refused as a whole."""
    return np.isin(tasks.job, np.unique(tasks.job[refused]))


def task_records(
    tasks: Tasks | None, deployment: Deployment, request: NDArray[Any], edge: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """TASK and SUCCESSOR records; nothing for requests that are no tasks."""
    if tasks is None:
        return np.zeros(0, TASK), np.zeros(0, SUCCESSOR)
    n = len(tasks.job)
    task, successor = np.zeros(n, TASK), np.zeros(len(tasks.child), SUCCESSOR)
    task["job"] = np.searchsorted(tasks.job, tasks.job)
    task["rows"] = task["left"] = np.bincount(tasks.job)[tasks.job]
    task["service_s"] = tasks.service_s + seconds_of(deployment)[request["pool"]]
    task["first"], task["successors"] = tasks.first[:-1], np.diff(tasks.first)
    task["open"] = np.bincount(tasks.child, minlength=n)
    successor["child"], successor["delay_s"], successor["bytes"] = tasks.child, tasks.delay_s, tasks.bytes
    parent = np.repeat(np.arange(n), np.diff(tasks.first))
    ends_in = np.where(request["edge"] == NOBODY, request["pool"], 0)
    if len(edge):
        ends_in = np.where(request["edge"] == NOBODY, ends_in, edge["target"][request["edge"]])
    successor["edge"] = NOBODY
    moves = np.flatnonzero(tasks.bytes > 0)
    ends = np.stack([ends_in[parent[moves]], request["pool"][tasks.child[moves]]], axis=1)
    for source, target in np.unique(ends, axis=0):
        found = np.flatnonzero((edge["source"] == source) & (edge["target"] == target))
        here = (ends == (source, target)).all(axis=1)
        if not len(found):
            k = moves[np.flatnonzero(here)[0]]
            raise BadInput(no_path(tasks, deployment, int(parent[k]), int(tasks.child[k]), (int(source), int(target))))
        successor["edge"][moves[here]] = found[0]
    return task, successor


def seconds_of(deployment: Deployment) -> NDArray[np.float64]:
    """What pools and services add to the time of a task; last, for a delay, nothing."""
    return np.array([*(0.0 for _ in deployment.pools), *(one.service_s for one in deployment.services), 0.0])


def no_path(tasks: Tasks, deployment: Deployment, parent: int, child: int, ends: tuple[int, int]) -> Problem:
    """Bytes that have no way to go."""
    names = [*(one.name for one in deployment.places), "no pool"]
    a, b = (tasks.kinds[tasks.kind[i]].name for i in (parent, child))
    what = f"bytes move from node {a} ({names[ends[0]]}) to {b} ({names[ends[1]]}), but no edge of the deployment does"
    if NOBODY in ends:
        return Problem(what, hint="a delay holds no bytes: route it to a service, or leave the bytes out")
    return Problem(what, hint=f"add an edge {{source: {names[ends[0]]}, target: {names[ends[1]]}, bandwidth: ...}}")
