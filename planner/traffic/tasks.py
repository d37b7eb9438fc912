"""Jobs of several classes -> one Requests whose rows are tasks, job after job in order of arrival. It draws nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from planner.spec.deployment import LLM
from planner.spec.requests import Floats, Ints, Requests, TaskKind, Tasks
from planner.traffic.chains import join
from planner.traffic.jobs import Jobs
from planner.traffic.stream import Drawn, Stream, priorities


def as_tasks(streams: Sequence[Stream], drawn: Sequence[Drawn], order: Ints, concurrency: int) -> Requests:
    """The jobs numbered `order`, which counts through all streams; plain requests become jobs of one task."""
    jobs = [one.jobs or _alone(one) for one in drawn]
    starts, rows = _rows(jobs, order)
    counts = np.array([len(one.node) for one in jobs])
    classes = np.repeat(np.arange(len(jobs)), counts)[rows]
    kinds = [_kinds(c, stream) for c, stream in enumerate(streams)]
    first_kind = np.cumsum([0, *(len(one) for one in kinds)])[:-1]
    job = np.repeat(np.arange(len(order)), np.diff(starts))
    turn = np.concatenate([one.turn for one in jobs])[rows]
    parent, child, delay_s, moved = _links(jobs, rows)
    chains = join([(len(one.node), d.chains) for one, d in zip(jobs, drawn, strict=True)])
    tasks = Tasks(
        job=job,
        turn=np.cumsum(np.diff(job * (1 + int(turn.max(initial=0))) + turn, prepend=-1) > 0) - 1,
        kind=np.concatenate([one.node for one in jobs])[rows] + first_kind[classes],
        kinds=tuple(kind for one in kinds for kind in one),
        service_s=np.concatenate([one.service_s for one in jobs])[rows],
        history_tokens=np.concatenate([one.history_tokens for one in jobs])[rows],
        first=np.searchsorted(parent, np.arange(len(rows) + 1)),
        child=child,
        delay_s=delay_s,
        bytes=moved,
    )
    return Requests(
        np.concatenate([one.arrival_s for one in drawn])[order][job],
        np.concatenate([one.input_tokens for one in jobs])[rows],
        np.concatenate([one.output_tokens for one in jobs])[rows],
        classes,
        tuple(stream.name for stream in streams),
        concurrency,
        chains=None if chains is None else chains.of(rows),
        tasks=tasks,
        priorities=priorities(streams),
    )


def _alone(drawn: Drawn) -> Jobs:
    """Plain requests as jobs of one task."""
    n = len(drawn.arrival_s)
    none, nothing = np.zeros(n, np.int64), np.zeros(0, np.int64)
    lengths, no_time = (drawn.input_tokens, drawn.output_tokens), np.zeros(0)
    return Jobs(np.arange(n + 1), none, none, *lengths, none, np.zeros(n), nothing, nothing, no_time, no_time)


def _rows(jobs: Sequence[Jobs], order: Ints) -> tuple[Ints, Ints]:
    """(first row of each job and the number of rows, task of each row, counted through all streams)."""
    base = np.cumsum([0, *(len(one.node) for one in jobs)])
    first = np.concatenate([one.start[:-1] + b for one, b in zip(jobs, base, strict=False)])[order]
    sizes = np.concatenate([np.diff(one.start) for one in jobs])[order]
    starts = np.concatenate(([0], np.cumsum(sizes)))
    return starts, np.repeat(first - starts[:-1], sizes) + np.arange(starts[-1])


def _links(jobs: Sequence[Jobs], rows: Ints) -> tuple[Ints, Ints, Floats, Floats]:
    """Links between rows, in order of the parents."""
    base = np.cumsum([0, *(len(one.node) for one in jobs)])
    row_of = np.full(base[-1], -1)
    row_of[rows] = np.arange(len(rows))
    parent, child = (
        row_of[np.concatenate([getattr(one, end) + b for one, b in zip(jobs, base, strict=False)]).astype(np.int64)]
        for end in ("parent", "child")
    )
    kept = np.flatnonzero(parent >= 0)
    order = kept[np.argsort(parent[kept], kind="stable")]
    delay_s, moved = (np.concatenate([getattr(one, field) for one in jobs])[order] for field in ("delay_s", "bytes"))
    return parent[order], child[order], delay_s, moved


def _kinds(c: int, stream: Stream) -> list[TaskKind]:
    """Kinds of task of a class, in the order of its nodes."""
    if stream.graph is None:
        return [TaskKind(c, LLM, LLM)]
    nodes = stream.graph.nodes
    default = stream.model if any(node.model for node in nodes.values()) else ""
    return [TaskKind(c, name, node.phase, node.model or default) for name, node in nodes.items()]
