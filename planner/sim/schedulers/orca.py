"""Orca (Yu et al., OSDI 2022, algorithm 1): whole prompts mixed with decodes, in order of arrival, and no token budget.

A request enters when a seat is free and slots of the KV cache for all its tokens, which it keeps to its end, so nobody
is preempted. A step has as many tokens as that takes. Slots are counted in KV blocks. The rest is `vllm_v1`.
"""

from __future__ import annotations

from planner.sim.schedulers.batch import LIFE, Policy

ORCA = Policy(branch=0, hold=LIFE, budgeted=False, crowds=True, crews=True)
