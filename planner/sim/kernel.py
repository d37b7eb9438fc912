"""The loop, compiled by numba, which only this file, `compiler` and `pointed` know; without it, run as plain Python.

Every function of the modules below is copied with globals of its own in which the other functions are replaced by their
compiled twins, so one source serves as product and as test oracle. No fast-math and no threads: results are equal to
the last bit. Compiled code is kept in the user's cache directory, keyed by package version and source.
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
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import planner
from planner.sim import (
    blocks,
    crowd,
    events,
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
        return advance(compiled_loop(), s, go_on)
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
    """Whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


@functools.cache
def compiled_loop() -> Loop:
    """`loop.run` compiled by numba, or taken from the cache."""
    import numba

    njit: Any = numba.njit  # the options below are known to it, but not to its type stubs
    config: Any = numba.config
    cache = cache_dir()
    if cache is not None and not any(cache.iterdir()):
        log.info("compiling the simulator once for this version; this takes some seconds")

    from planner.sim.compiler import compilers
    from planner.sim.pointed import entry

    for_inner, for_entry = compilers()
    # Nothing allocates, so reference counting (_nrt) is off: with this many arrays it costs ten times the work.
    # No step divides by zero, and checks for it (error_model) would cost a tenth of the compile time.
    # Only the entry is called from Python: the others need no wrappers and no cache of their own.
    plain = {"_nrt": False, "error_model": "numpy"}
    inner = plain | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "pipeline_class": for_inner}
    outer = plain | {"cache": cache is not None, "pipeline_class": for_entry}

    def compile_one(function: FunctionType) -> Any:
        return njit(function, **inner)

    # Numba reads the directory when it decorates, and would stamp the cache of the entry by that one file only.
    others, config.CACHE_DIR = config.CACHE_DIR, str(cache or "")
    try:
        found: Loop = njit(entry(twins(compile_one)[loop.run]), **outer)
    finally:
        config.CACHE_DIR = others
    return found


def modules() -> list[ModuleType]:
    """Every module whose functions run compiled, schedulers and routers included."""
    found = [state, events, flights, gaps, blocks, crowd, prefixes, kvcache, pricing, transfer, tasks, service, loop]
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
    digest = hashlib.sha256()
    own = [Path(__file__).with_name(name) for name in ("kernel.py", "compiler.py", "pointed.py")]
    for file in (*own, *(module.__file__ for module in modules())):
        digest.update(Path(str(file)).read_bytes())
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "serveplan"
    path = Path(os.environ.get("NUMBA_CACHE_DIR") or home) / f"kernel-{planner.__version__}-{digest.hexdigest()[:16]}"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return path if os.access(path, os.W_OK) else None
