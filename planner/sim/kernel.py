"""The loop, compiled by numba, which only `compiler` and `pointed` know; without it, run as plain Python.

Every function of the modules below is copied with globals of its own in which the other functions are replaced by their
compiled twins, so one source serves as product and as test oracle. No fast-math and no threads: results are equal to
the last bit. Machine code is kept in the user's cache directory, keyed by package version, source and processor.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import logging
import os
import pkgutil
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import planner
from planner.sim import (
    blocks,
    crews,
    crowd,
    events,
    finish,
    flights,
    gaps,
    kvcache,
    loop,
    prefixes,
    pricing,
    routers,
    schedulers,
    service,
    state,
    tasks,
    transfer,
)
from planner.sim.native import Layout, Native, file_name, layout_of, read, write
from planner.sim.outside import Outside
from planner.sim.plain import freeze, thaw
from planner.sim.state import State

log = logging.getLogger(__name__)


SLICE_S = 0.1
"""Seconds of machine time between two questions whether to go on."""
FIRST_SLICE = 1000
"""Events of the first slice; later ones are as large as SLICE_S allows. Results do not depend on either."""

Loop = Callable[[State, int], int]
GoOn = Callable[[int], bool]
"""Told how many requests have finished; False ends the run there."""


def run(s: State, *, compiled: bool = True, go_on: GoOn | None = None, outside: Outside | None = None) -> bool:
    """Simulate the state in place; plain Python when `compiled` is False or numba is not installed.

    outside: policies in plain Python, which only the plain loop can call. False when `go_on` ended the run.
    """
    if compiled and available() and not outside:
        return advance(compiled_loop(layout_of(s)), s, go_on)
    plain = thaw(s)
    own: Loop = twins(lambda function: function, outside.replacements())[loop.run] if outside else loop.run
    whole = advance(own, plain, go_on)
    freeze(plain, s)
    return whole


def advance(some: Loop, s: State, go_on: GoOn | None) -> bool:
    """Run to the end, in slices when somebody wants to be asked between them."""
    size = FIRST_SLICE if go_on else loop.FOREVER
    begin_s = time.perf_counter()
    while (finished := some(s, size)) != loop.OVER:
        if go_on and not go_on(finished):
            some(s, 0)
            return False
        now_s = time.perf_counter()
        size = max(1, min(int(size * SLICE_S / max(now_s - begin_s, 1e-6)), 10 * size))
        begin_s = now_s
    return True


def available() -> bool:
    """Whether numba is installed, and not told to leave everything as it is."""
    return _installed() and not int(os.environ.get("NUMBA_DISABLE_JIT") or 0)


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("numba") is not None


@functools.cache
def compiled_loop(layout: Layout) -> Loop:
    """`loop.run` for states of this layout, compiled by numba, or taken from the cache without it."""
    folder = cache_dir()
    file = folder / file_name(layout) if folder else None
    code = read(file) if file else None
    if code is None:
        if file is not None:
            log.info("compiling the simulator once for this version; this takes some seconds")
        from planner.sim.compiler import Library
        from planner.sim.pointed import signature_of

        library = Library()
        code = library.code(twins(library.twin)[loop.run], signature_of(layout))
        if file is not None:
            write(file, code)
    return Native(code)


def modules() -> list[ModuleType]:
    """Every module whose functions run compiled, schedulers and routers included."""
    found = [state, events, flights, gaps, blocks, crowd, crews, prefixes, kvcache, pricing, transfer]
    found += [tasks, service, finish, loop]
    for package in (schedulers, routers):
        found.append(package)
        found += [sys.modules[f"{package.__name__}.{info.name}"] for info in pkgutil.iter_modules(package.__path__)]
    return found


def twins(compile_one: Callable[[Any], Any], replaced: Mapping[Any, Any] | None = None) -> dict[Any, Any]:
    """Function -> its compiled twin, for all functions of `modules()`; `replaced` ones have the given twin."""
    twin_of: dict[Any, Any] = {}
    namespaces = []
    for module in modules():
        namespace = dict(vars(module))
        namespaces.append(namespace)
        for name, value in vars(module).items():
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                copy = FunctionType(value.__code__, namespace, name, value.__defaults__)
                copy.__module__ = module.__name__
                twin_of[value] = compile_one(copy)
    twin_of |= replaced or {}
    for namespace in namespaces:
        for name, value in namespace.items():
            if isinstance(value, FunctionType):
                namespace[name] = twin_of.get(value, value)
    return twin_of


def cache_dir() -> Path | None:
    """Directory for compiled code of this version and source, below NUMBA_CACHE_DIR or the user's cache.

    None when it cannot be written.
    """
    beside = (Path(__file__).with_name(name) for name in ("compiler.py", "pointed.py", "native.py"))
    digest = hashlib.sha256(f"numba {version('numba')}".encode())
    for file in (__file__, *beside, *(module.__file__ for module in modules())):
        digest.update(Path(str(file)).read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "serveplan"
    path = Path(os.environ.get("NUMBA_CACHE_DIR") or home) / f"kernel-{planner.__version__}-{digest.hexdigest()[:16]}"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return path if os.access(path, os.W_OK) else None
