"""Prompts that wait until every attention-data-parallel rank has one, as TensorRT-LLM lets them; not whether they fit.

Rules of its `_balance_adp_requests` (1.0 to 1.3; attention_dp_config: enable_balance, timeout_iters): all ranks wait at
the barrier of the experts, so a step with a prompt on one rank takes as long as one with a prompt on each. While every
rank decodes, prompts start when each has one, and in any case every `balance_steps` steps. The ranks share one queue
here, so the rank of a request is drawn: it goes to the one where somebody ended.
"""

from __future__ import annotations

from planner.sim.state import State


def held_back(s: State, r: int) -> bool:
    """Whether the prompts in the queue of replica r wait for more of them; if not, the steps are counted anew."""
    replica, pool = s.replica[r], s.pool[s.replica[r].pool]
    if pool.balance_steps == 0 or s.queue[r].length == 0:
        return False
    if replica.running >= pool.dp and balance_left(s, r) > 0 and not on_every_rank(s, r):
        return True
    replica.balanced_step = replica.steps
    return False


def balance_left(s: State, r: int) -> int:
    """Steps until prompts start in any case: 0 every `balance_steps` steps since they last did."""
    replica = s.replica[r]
    period = s.pool[replica.pool].balance_steps
    made = replica.steps - replica.balanced_step
    return int(-made % period) if made > 0 else int(period)


def on_every_rank(s: State, r: int) -> bool:
    """Whether each rank has a prompt in the queue; marked in the first scratch list, since a seat for each is there."""
    i, ranks, dp, marks = s.queue[r].head, 0, s.pool[s.replica[r].pool].dp, s.batch.shape[2]
    for rank in range(dp):
        s.running[r, marks + rank] = 0
    for _ in range(s.queue[r].length):
        rank = marks + int(s.request[i].draw_b * dp)
        ranks += 1 - s.running[r, rank]
        s.running[r, rank] = 1
        if ranks == dp:
            return True
        i = s.request[i].next
    return False
