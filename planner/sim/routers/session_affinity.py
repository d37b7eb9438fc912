"""Session affinity: all tasks of a job go where its first one went, which was the least outstanding replica then."""

from __future__ import annotations

from planner.sim.routers.least_outstanding import least_outstanding
from planner.sim.state import NOBODY, State


def session_affinity(s: State, p: int, i: int) -> int:
    if s.task.shape[0] == 0:
        return least_outstanding(s, p, i)
    job = s.task[i].job
    home = s.home[p, job]
    if home == NOBODY:
        home = s.home[p, job] = least_outstanding(s, p, i)
    return int(home)
