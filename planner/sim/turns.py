"""A Run of tasks, summed up: one row for each turn, as if it had been a request. Not what metrics make of the rows.

A turn is one walk of a class's graph; a session has several, one after the other. It arrives when its first task could
start: for a session's first turn that is the arrival of the job, later the end of the turn before plus the think time.
Its first token is that of its answer, the last of its tasks with prefill and decode in the order of the graph; it is
finished when all its tasks are. Admission is that of the first task that an engine computes.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.sim.simulate import Run
from planner.spec.deployment import LLM, SERVICES
from planner.spec.requests import Ints

Flags = NDArray[np.bool_]

COLUMNS = (
    "class_index", "arrival_s", "queued_s", "admitted_s", "first_token_s", "last_token_s", "finish_s", "largest_gap_s",
    "transfer_s", "preemptions", "pool", "replica", "decode_replica", "rejected", "started", "measured",
    "input_tokens", "output_tokens", "answer_tokens",
)  # fmt: skip
"""Fields of a run with a value for each request."""


def turns(run: Run) -> Run:
    """The same run by turns; the run itself when its requests are no tasks.

    input_tokens, output_tokens: of all LLM tasks of a turn. answer_tokens: of the answer alone.
    """
    tasks = run.tasks
    if tasks is None:
        return run
    first = np.flatnonzero(np.diff(tasks.turn, prepend=-1))
    is_llm = np.array([kind.phase == LLM for kind in tasks.kinds], np.bool_)[tasks.kind]
    by_engine = np.array([kind.phase not in SERVICES for kind in tasks.kinds], np.bool_)[tasks.kind]
    answer, opening = last_row(is_llm, tasks.turn, first), first_row(by_engine, tasks.turn, first)
    rows: dict[str, Any] = {f.name: getattr(run, f.name)[first] for f in fields(run) if f.name in COLUMNS}
    rows |= {
        "first_token_s": run.first_token_s[answer],
        "last_token_s": run.last_token_s[answer],
        "answer_tokens": run.output_tokens[answer],
        "admitted_s": run.admitted_s[opening],
        "finish_s": np.maximum.reduceat(run.finish_s, first),
        "largest_gap_s": np.maximum.reduceat(np.where(is_llm, run.largest_gap_s, 0.0), first),
        "transfer_s": np.add.reduceat(run.transfer_s, first),
        "preemptions": np.add.reduceat(run.preemptions, first),
        "input_tokens": np.add.reduceat(np.where(is_llm, run.input_tokens, 0), first),
        "output_tokens": np.add.reduceat(np.where(is_llm, run.output_tokens, 0), first),
    }
    return replace(run, **rows, tasks=None)


def last_row(chosen: Flags, turn: Ints, first: Ints) -> Ints:
    """The last chosen row of each turn; its very last row where none is chosen."""
    rows = np.where(chosen, np.arange(len(turn)), -1)
    found = np.maximum.reduceat(rows, first)
    return np.where(found < 0, np.append(first[1:], len(turn)) - 1, found)


def first_row(chosen: Flags, turn: Ints, first: Ints) -> Ints:
    """The first chosen row of each turn; its very first row where none is chosen."""
    rows = np.where(chosen, np.arange(len(turn)), len(turn))
    found = np.minimum.reduceat(rows, first)
    return np.where(found == len(turn), first, found)
