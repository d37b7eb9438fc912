"""Schedulers and routers from outside the project, in plain Python: found by name, and run by the uncompiled loop.

A name is an entry point of the groups `serveplan.scheduler` and `serveplan.router`, or `module:function`. The functions
have the form of those in `schedulers/` and `routers/`. Nothing here knows what a policy decides.
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from planner.errors import BadInput, Problem, did_you_mean
from planner.registry import Registry
from planner.sim.routers import ROUTERS, choose_replica
from planner.sim.schedulers import SCHEDULERS, form_batch
from planner.sim.state import State
from planner.spec.deployment import Deployment
from planner.spec.step import Replica

log = logging.getLogger(__name__)

FIRST = 1000
"""Number of the first policy from outside; those of the project are below."""


def find(registry: Registry[Any], name: str) -> Any:
    """What the project has under a name, or a function from outside; BadInput with what is wrong about the name."""
    if ":" not in name:
        return registry.get(name)
    module_name, _, function_name = name.partition(":")
    where = f"{registry.seam} {name!r}"
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise BadInput(Problem(f"{where}: {error}", hint="name it module:function, on PYTHONPATH")) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        hint = did_you_mean(function_name, [known for known in vars(module) if not known.startswith("_")])
        raise BadInput(Problem(f"{where}: module {module_name} has no function {function_name!r}", hint=hint))
    return function


@dataclass(frozen=True, slots=True)
class Outside:
    """The policies from outside that a run needs: schedulers in the order of their numbers, and the router or None."""

    schedulers: tuple[Callable[[State, int, int, float], int], ...]
    router: Callable[[State, int, int], int] | None

    def __bool__(self) -> bool:
        return bool(self.schedulers) or self.router is not None

    def replacements(self) -> dict[Any, Any]:
        """Functions of the loop -> those that know the policies from outside too."""
        return {
            form_batch: lambda s, r, slot, now: self._form(s, r, slot, now),
            choose_replica: lambda s, p, i: self.router(s, p, i) if self.router else choose_replica(s, p, i),
        }

    def _form(self, s: State, r: int, slot: int, now: float) -> int:
        replica = s.replica[r]
        number = s.pool[replica.pool].scheduler - FIRST
        if number < 0:
            return form_batch(s, r, slot, now)
        replica.again = 1  # whatever it decides next: steps are never taken together
        return int(self.schedulers[number](s, r, slot, now))


def outside_of(deployment: Deployment, replicas: Mapping[str, Replica]) -> Outside:
    """The policies from outside that a deployment names; says so once."""
    names = strangers([replicas[pool.name] for pool in deployment.pools])
    router = find(ROUTERS, deployment.router)
    found = Outside(tuple(find(SCHEDULERS, name) for name in names), router if callable(router) else None)
    if found:
        tell(", ".join((*names, *([deployment.router] if found.router else []))))
    return found


def strangers(kinds: Sequence[Replica]) -> list[str]:
    """Names of the schedulers from outside, each once; their numbers are FIRST and up."""
    return [name for name in dict.fromkeys(kind.scheduler for kind in kinds) if callable(find(SCHEDULERS, name))]


@functools.cache
def tell(names: str) -> None:
    log.warning("%s: plain Python from outside, so such runs are not compiled (about a hundred times slower)", names)
