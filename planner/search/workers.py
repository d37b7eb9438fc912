"""Workers: run one pure function over many items, in this process or in several; answers in the order of the items.

Not a scheduler: no retries and no shared state. The answers do not depend on how many processes there are.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Protocol, Self, TypeVar

from planner.errors import BadInput, Problem

Item = TypeVar("Item")
Answer = TypeVar("Answer")
WORTH_PROCESSES = 600
"""Candidates; starting a process takes about as long as evaluating a hundred."""


class Executor(Protocol):
    """What evaluation needs from a place to compute; a cluster is one more implementation."""

    def map(self, function: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
        """Answers in the order of `items`, as they become ready."""
        ...


class Serial:
    """Everything in this process."""

    def map(self, function: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
        return map(function, items)


class Processes(AbstractContextManager["Processes"]):
    """`jobs` processes that live as long as the `with` block. `function` and items must be picklable.

    Forkserver where it exists (a plain fork of a process with threads may hang), else spawn.
    """

    def __init__(self, jobs: int, chunk: int = 4):
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        self._pool = ProcessPoolExecutor(max_workers=jobs, mp_context=context)
        self._chunk = chunk

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
        chunks = [items[i : i + self._chunk] for i in range(0, len(items), self._chunk)]
        for answers in [self._pool.submit(_run, function, chunk) for chunk in chunks]:
            yield from answers.result()


@contextmanager
def open_workers(engine: str, jobs: int, candidates: int) -> Iterator[Executor]:
    """Where to compute: `processes` (of this machine), `ray`, `ray://auto` or `ray://host:port`; else BadInput.

    Other processes only for a number of candidates that outlasts their start.
    """
    if engine == "ray" or engine.startswith("ray://"):
        from planner.search.ray_workers import ray_workers

        with ray_workers(engine, jobs) as cluster:
            yield cluster
    elif engine != "processes":
        raise BadInput(Problem(f"unknown engine {engine!r}", hint="known: processes, ray, ray://auto, ray://host:port"))
    elif jobs <= 1 or candidates < WORTH_PROCESSES:
        yield Serial()
    else:
        with Processes(jobs, chunk=1) as processes:
            yield processes


def _run(function: Callable[[Item], Answer], chunk: Sequence[Item]) -> list[Answer]:
    return [function(item) for item in chunk]
