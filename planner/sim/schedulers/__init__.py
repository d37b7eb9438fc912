"""Schedulers: which requests a step computes, and who is admitted or preempted. Not what the step costs.

A scheduler is a function (state, replica, slot, now) -> number of requests in the batch. It fills `s.batch[r, slot]`
with `add`, takes blocks through `planner.sim.kvcache`, and keeps the running list. To add one: write a file like
`prefill_first.py`, then name it in SCHEDULERS and give it a branch in `form_batch` (numba cannot call through a table
of functions and cache the result).
"""

from __future__ import annotations

from planner.registry import Registry
from planner.sim.schedulers.prefill_first import prefill_first
from planner.sim.schedulers.sarathi import sarathi
from planner.sim.schedulers.static_batch import static_batch
from planner.sim.schedulers.vllm_v1 import vllm_v1
from planner.sim.state import State

SCHEDULERS: Registry[int] = Registry("scheduler")
for _number, _name in enumerate(("vllm_v1", "prefill_first", "static_batch", "sarathi")):
    SCHEDULERS.register(_name)(_number)


def form_batch(s: State, r: int, slot: int, now: float) -> int:
    """Let the scheduler of replica r fill the batch in `slot`; 0 when there is nothing to run."""
    scheduler = s.pool[s.replica[r].pool].scheduler
    if scheduler == 1:
        return prefill_first(s, r, slot, now)
    if scheduler == 2:
        return static_batch(s, r, slot, now)
    if scheduler == 3:
        return sarathi(s, r, slot, now)
    return vllm_v1(s, r, slot, now)
