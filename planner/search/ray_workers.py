"""Ray workers: the same work items on Ray, started here or on a cluster that runs already. Only this file imports ray.

Not another search: items, their order and the answers are those of `workers`, and so is every byte of the plan. Workers
that run other code than this process are refused, because their answers could differ. Nothing is sent to anyone else:
Ray's usage statistics and dashboard stay off.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
import platform
import socket
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from planner.errors import BadInput, Problem

Item = TypeVar("Item")
Answer = TypeVar("Answer")

SCHEME = "ray://"
ANSWERS_WITHIN_S = 3.0
"""An address where nobody accepts a connection for this long is unreachable."""
TRIES = 1
"""Ray's own retries double their timeout from 5 s and would hide a wrong port for half a minute."""
MATTERS = ("numpy", "numba")
"""Packages whose versions may change the last bit of an answer."""


class RayWorkers:
    """An Executor on a connected Ray. Tasks lost with their machine are run again: they have no side effects."""

    def __init__(self, ray: Any, chunk: int = 1):
        self._ray, self._chunk = ray, chunk

    def map(self, function: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
        """Answers in the order of `items`. What a task raises is raised here, as it was raised there."""
        ray = self._ray
        task, shared = ray.remote(_run), ray.put(function)
        chunks = [items[i : i + self._chunk] for i in range(0, len(items), self._chunk)]
        pending = deque(task.remote(shared, chunk) for chunk in chunks)
        try:
            while pending:
                code, answers = self._result(pending[0])
                same_code(code)
                pending.popleft()
                yield from answers
        finally:
            for left in pending:
                ray.cancel(left)

    def _result(self, pending: Any) -> Any:
        ray = self._ray
        try:
            return ray.get(pending)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ImportError):
                raise _no_serveplan(error.cause) from error
            raise error.cause from error
        except (ray.exceptions.RayError, ConnectionError) as error:
            raise BadInput(Problem(f"Ray stopped answering: {_first_line(error)}", hint=_KEPT)) from error


_KEPT = "what was finished is in the journal, if the plan has one; the same command goes on from there"


@contextmanager
def ray_workers(engine: str, jobs: int) -> Iterator[RayWorkers]:
    """Workers of `ray` (started here with `jobs` processes), `ray://auto` (the cluster that this machine is part of) or
    `ray://host:port` (the Ray client port of a cluster, usually 10001).

    A Ray that the caller has connected already is used as it is, and stays connected. Raises BadInput when Ray is not
    installed, the address is none, or nobody answers there.
    """
    ray = _ray()
    if ray.is_initialized():
        yield RayWorkers(ray)
        return
    _connect(ray, engine, jobs)
    try:
        yield RayWorkers(ray)
    finally:
        ray.shutdown()


def _ray() -> Any:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read at import; serveplan never reports to anyone
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else a FutureWarning on machines without a GPU
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise BadInput(Problem("the engine ray needs Ray", hint="pip install 'serveplan[ray]'")) from error


def _connect(ray: Any, engine: str, jobs: int) -> None:
    if engine not in ("ray", SCHEME + "auto"):
        reach(engine)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of them is said by the error
            _start(ray, engine, jobs)
    except (ConnectionError, RuntimeError) as error:
        raise BadInput(Problem(f"cannot use {engine}: {_first_line(error)}", hint=_HINT)) from error


def _start(ray: Any, engine: str, jobs: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if engine == "ray":
        ray.init(address="local", num_cpus=jobs, include_dashboard=False, **quiet)
    elif engine == SCHEME + "auto":
        ray.init(address="auto", **quiet)
    else:
        ray.util.connect(engine.removeprefix(SCHEME), connection_retries=TRIES)


_HINT = (
    "ray://host:port is the client port of the cluster's head (usually 10001); a cluster that asks for tokens needs "
    "RAY_AUTH_MODE=token here, and all machines the same Python and Ray"
)


def reach(engine: str) -> None:
    """Nobody there is told in seconds, before Ray starts its own long tries."""
    host, _, port = engine.removeprefix(SCHEME).rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise BadInput(Problem(f"{engine!r} is no address of a Ray cluster", hint=_HINT))
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN_S).close()
    except OSError as error:
        reason = error.strerror or _first_line(error)
        raise BadInput(Problem(f"nobody answers at {engine}: {reason}", hint=_HINT)) from error


def _run(function: Callable[[Item], Answer], chunk: Sequence[Item]) -> tuple[dict[str, str], list[Answer]]:
    """What a worker does: its code, for comparison, and the answers."""
    return code(), [function(item) for item in chunk]


@cache
def code() -> dict[str, str]:
    """All that an answer depends on outside of the work item: serveplan's sources and the packages under them."""
    home = Path(__file__).parents[1]
    text = hashlib.sha256()
    for file in sorted(home.rglob("*.py")):
        text.update(f"{file.relative_to(home).as_posix()}\n".encode() + file.read_bytes())
    versions = {name: version(name) for name in MATTERS}
    return {"serveplan": text.hexdigest()[:12], "python": platform.python_version(), **versions}


def same_code(theirs: dict[str, str]) -> None:
    mine = code()
    other = [f"{name} {theirs.get(name)} (here {mine[name]})" for name in mine if theirs.get(name) != mine[name]]
    if other:
        hint = "install the same serveplan and the same packages on every machine of the cluster"
        raise BadInput(Problem(f"a worker of the Ray cluster runs {', '.join(other)}", hint=hint))


def _no_serveplan(error: ImportError) -> BadInput:
    what = f"the workers of the Ray cluster cannot import serveplan: {_first_line(error)}"
    return BadInput(Problem(what, hint="install the same serveplan on every machine of the cluster"))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
