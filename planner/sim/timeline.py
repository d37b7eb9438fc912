"""Timeline: a run as trace events that Perfetto and Chrome draw: steps of replicas, lives of requests. Not a metric.

Format: Trace Event Format ("X" slices, "b"/"e" nested async spans, "M" names), times in microseconds. A replica is a
process, a micro-batch of its pipeline a thread; steps taken together are one slice that says how many. Requests are
spans of a process of their own: queued, prefill, transfer, decode inside the whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from planner.sim.simulate import Run
from planner.spec.deployment import Deployment

FLIGHTS_PER_REQUEST = 60
"""Room in the log for each request shown: a chat takes about ten, a lone long answer one for each neighbour."""

Event = dict[str, Any]


def trace(runs: Sequence[tuple[Deployment, Run]], requests: int) -> Event:
    """The first `requests` requests of each run, and what the replicas did until the last of them had ended.

    The runs need a log (`simulate(log=FLIGHTS_PER_REQUEST * requests)`); `otherData.complete` says whether it sufficed.
    """
    events: list[Event] = []
    complete = True
    for deployment, run in runs:
        shown = np.flatnonzero(~run.rejected & run.started)[:requests]
        until_s = _end_of(run, shown)
        names = [f"{pool.name} {k}" for pool in deployment.places for k in range(pool.replicas)]
        first = 1 + max((event["pid"] for event in events), default=0)
        events += _names(names, first)
        events += (_step(row, first) for row in run.log if row["start_s"] <= until_s)
        events += _names([f"requests of {'+'.join(run.class_names)}"], first + len(names))
        events += (event for i in shown for event in _life(run, int(i), first + len(names)))
        complete &= not len(run.log) or float(run.log[-1]["end_s"]) >= until_s or _idle_after(run)
    return {"displayTimeUnit": "ms", "traceEvents": events, "otherData": {"complete": complete, "requests": requests}}


def _end_of(run: Run, shown: Any) -> float:
    ends = run.finish_s[shown]
    return float(np.where(np.isfinite(ends), ends, run.end_s).max(initial=0.0))


def _idle_after(run: Run) -> bool:
    """Whether the log holds every step of the run."""
    return int(run.log["steps"].sum()) == sum(pool.work.steps for pool in run.pools.values())


def _names(names: Sequence[str], first: int) -> Iterator[Event]:
    for k, name in enumerate(names):
        yield {"ph": "M", "name": "process_name", "pid": first + k, "tid": 0, "args": {"name": name}}


def _step(row: Any, first: int) -> Event:
    kind = ("mixed" if row["decodes"] else "prefill") if row["chunks"] else "decode"
    steps = int(row["steps"])
    return {
        "ph": "X", "cat": "step", "name": kind if steps == 1 else f"{kind} x {steps}",
        "pid": first + int(row["replica"]), "tid": 1 + int(row["slot"]),
        "ts": 1e6 * float(row["start_s"]), "dur": 1e6 * float(row["end_s"] - row["start_s"]),
        "args": {
            "steps": steps, "decodes": int(row["decodes"]), "prompt chunks": int(row["chunks"]),
            "prompt tokens": int(row["chunk_tokens"]), "context tokens": int(row["context"]),
            "waiting": int(row["waiting"]), "free KV blocks": int(row["free_blocks"]),
        },
    }  # fmt: skip


def _life(run: Run, i: int, pid: int) -> Iterator[Event]:
    """Nested spans; what has not ended ends with the run."""
    arrival, first = float(run.arrival_s[i]), float(run.first_token_s[i])
    moved = first + float(run.transfer_s[i])
    edges = [
        ("queued", arrival, float(run.admitted_s[i])),
        ("prefill", float(run.admitted_s[i]), first),
        ("transfer", first, moved),
        ("decode", moved, float(run.finish_s[i])),
    ]
    yield from _span(run, i, pid, run.class_names[run.class_index[i]], (arrival, float(run.finish_s[i])))
    for name, start_s, end_s in edges:
        if math.isfinite(start_s) and end_s > start_s:
            yield from _span(run, i, pid, name, (start_s, end_s))


def _span(run: Run, i: int, pid: int, name: str, when_s: tuple[float, float]) -> Iterator[Event]:
    same = {"cat": "request", "id": i, "name": name, "pid": pid, "tid": 0}
    tokens = {"input tokens": int(run.input_tokens[i]), "output tokens": int(run.output_tokens[i])}
    more = {"preemptions": int(run.preemptions[i]), "finished": math.isfinite(run.finish_s[i])}
    yield {"ph": "b", "ts": 1e6 * when_s[0], **same, "args": tokens | more}
    yield {"ph": "e", "ts": 1e6 * min(when_s[1], run.end_s), **same}
