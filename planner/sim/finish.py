"""Requests that end, and the promises they kept or broke. Not when a token comes out (`loop`)."""

from __future__ import annotations

import math
from typing import Any

from planner.sim.crowd import part
from planner.sim.prefixes import leave, let_go
from planner.sim.state import FINISHED, State
from planner.sim.tasks import ended, start_next


def finish_members(s: State, r: int, c: int, now: float) -> int:
    """Finish those of a crowd who have got their last token, and take them out of its list, in order; how many."""
    replica, crowd = s.replica[r], s.crowd[r, c]
    gone, one = part(s, r, c)
    if gone == 0:
        return 0
    k, left = crowd.base, 0
    while left < gone:
        i = s.running[r, k]
        k += 1
        if i == one or (gone > 1 and s.request[i].done == s.request[i].input + s.request[i].output):
            finish(s, r, i, now)
            left += 1
        else:
            s.running[r, k - 1 - left] = i
    end = crowd.base + crowd.size if crowd.base > 0 else replica.running
    for j in range(k, end):
        s.running[r, j - gone] = s.running[r, j]
    crowd.size -= gone
    replica.running -= gone
    if crowd.base > 0:
        replica.apart -= gone
    else:
        replica.crowd -= gone
    return int(gone)


def finish(s: State, r: int, i: int, now: float) -> None:
    """The last token of request i is out."""
    request, replica = s.request[i], s.replica[r]
    request.finish_s = now
    request.state = FINISHED
    s.clock[0].finished += 1
    replica.outstanding -= 1
    leave(s, r, i, request.done - 1)
    let_go(s, r, i)
    if i >= s.clock[0].measured_from:
        judge(s, request)
    if s.task.shape[0] > 0:
        ended(s, i, now)
    else:
        start_next(s, now)


def judge_start(s: State, request: Any) -> None:
    """Rules about first tokens alone are judged when those come, so that a run that breaks them ends sooner."""
    for k in range(s.rule.shape[0]):
        rule = s.rule[k]
        late = starts_only(rule) and request.first_token_s - request.arrival_s > rule.ttft_s
        if late and rule.class_index == request.class_index:
            count_break(s, rule)


def starts_only(rule: Any) -> bool:
    """Whether a rule limits nothing but the time to the first token."""
    return bool(rule.tpot_s == math.inf and rule.itl_s == math.inf and rule.e2e_s == math.inf)


def count_break(s: State, rule: Any) -> None:
    """Stop when a rule is broken more often than its statistic allows."""
    rule.broken += 1
    if rule.broken > rule.allowed:
        s.clock[0].stopped = 1


def judge(s: State, request: Any) -> None:
    """Count the rules that a finished request broke, but those about its first token alone."""
    wait = request.first_token_s - request.arrival_s
    whole = request.finish_s - request.arrival_s
    spread = (whole - wait) / (request.output - 1) if request.output > 1 else 0.0
    for k in range(s.rule.shape[0]):
        rule = s.rule[k]
        slow = wait > rule.ttft_s or whole > rule.e2e_s or spread > rule.tpot_s or request.largest_gap_s > rule.itl_s
        if slow and rule.class_index == request.class_index and not starts_only(rule):
            count_break(s, rule)
