"""Schedulers: which requests a step computes, and who is admitted or preempted. Not what the step costs.

A scheduler is a function (state, replica, slot, now) -> number of requests in the batch. It fills `s.batch[r, slot]`
with `add`, takes blocks through `planner.sim.kvcache`, and keeps the running list. To add one: write a file like
`prefill_first.py`, then name it in SCHEDULERS and give it a branch in `form_batch` (numba cannot call through a table
of functions and cache the result). Policies that differ in numbers only share a function and cost nothing to compile.
"""

from __future__ import annotations

from planner.registry import Registry
from planner.sim.schedulers.batch import PROMPT, Policy
from planner.sim.schedulers.orca import ORCA
from planner.sim.schedulers.prefill_first import prefill_first
from planner.sim.schedulers.sarathi import sarathi
from planner.sim.schedulers.sglang import sglang
from planner.sim.schedulers.static_batch import static_batch
from planner.sim.schedulers.trtllm import TRTLLM, TRTLLM_MAX_UTILIZATION
from planner.sim.schedulers.vllm_v1 import VLLM_V1, vllm_v1
from planner.sim.state import State

SCHEDULERS: Registry[Policy] = Registry("scheduler")
SCHEDULERS.register("vllm_v1")(VLLM_V1)
SCHEDULERS.register("trtllm")(TRTLLM)
SCHEDULERS.register("trtllm_max_utilization")(TRTLLM_MAX_UTILIZATION)
SCHEDULERS.register("orca")(ORCA)
SCHEDULERS.register("prefill_first")(Policy(branch=1, hold=PROMPT, crowds=True))
SCHEDULERS.register("static_batch")(Policy(branch=2, crowds=True))
SCHEDULERS.register("sarathi")(Policy(branch=3, crowds=True))
SCHEDULERS.register("sglang")(Policy(branch=4, crowds=True))


def form_batch(s: State, r: int, slot: int, now: float) -> int:
    """Let the scheduler of replica r fill the batch in `slot`; 0 when there is nothing to run."""
    scheduler = s.pool[s.replica[r].pool].scheduler
    if scheduler == 1:
        return prefill_first(s, r, slot, now)
    if scheduler == 2:
        return static_batch(s, r, slot, now)
    if scheduler == 3:
        return sarathi(s, r, slot, now)
    if scheduler == 4:
        return sglang(s, r, slot, now)
    return vllm_v1(s, r, slot, now)
