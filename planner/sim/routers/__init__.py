"""Routers: which replica of a pool takes a request. Not which pool: shares of the routes decide that.

A router is a function (state, pool, request) -> replica. To add one: a file like `least_outstanding.py`, its name in
ROUTERS, a branch in `choose_replica`.
"""

from __future__ import annotations

from planner.registry import Registry
from planner.sim.routers.least_kv import least_kv
from planner.sim.routers.least_outstanding import least_outstanding
from planner.sim.routers.power_of_two import power_of_two
from planner.sim.routers.prefix_affinity import prefix_affinity
from planner.sim.routers.random_choice import random_choice
from planner.sim.routers.round_robin import round_robin
from planner.sim.routers.session_affinity import session_affinity
from planner.sim.state import State

ROUTERS: Registry[int] = Registry("router")
_NAMES = (
    "round_robin",
    "least_outstanding",
    "random",
    "power_of_two",
    "least_kv",
    "prefix_affinity",
    "session_affinity",
)
for _number, _name in enumerate(_NAMES):
    ROUTERS.register(_name)(_number)


def choose_replica(s: State, p: int, i: int) -> int:
    """Replica of pool p that request i goes to."""
    router = s.clock[0].router
    if router == 1:
        return least_outstanding(s, p, i)
    if router == 2:
        return random_choice(s, p, i)
    if router == 3:
        return power_of_two(s, p, i)
    if router == 4:
        return least_kv(s, p, i)
    if router == 5:
        return prefix_affinity(s, p, i)
    if router == 6:
        return session_affinity(s, p, i)
    return round_robin(s, p, i)
