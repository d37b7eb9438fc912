"""Least KV: the replica whose cache is least taken, counting the prompts that wait; ties go to the lowest number."""

from __future__ import annotations

from typing import Any

from planner.sim.state import State


def least_kv(s: State, p: int, i: int) -> int:
    best = s.pool[p].first
    for r in range(best + 1, s.pool[p].first + s.pool[p].replicas):
        if claimed(s.pool[p], s.replica[r]) < claimed(s.pool[p], s.replica[best]):
            best = r
    return int(best)


def claimed(pool: Any, replica: Any) -> int:
    """Tokens that the blocks in use hold, and those that wait for some."""
    return int((replica.kv_blocks - replica.free_blocks) * pool.block_tokens + replica.waiting_tokens)
