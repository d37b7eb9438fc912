"""Tasks of jobs: who starts when. Not how a task is computed or served, and no graph: traffic has unrolled those.

A task starts when all its predecessors have ended, plus a delay, plus the bytes moved over an edge. All of these are
known when the last predecessor ends, so a task has one time at which it is due; a binary heap keeps these in order,
ties by number. Tasks in service stand in the same heap until they have been served.
"""

from __future__ import annotations

import math

from planner.sim.events import set_event
from planner.sim.state import NOBODY, State, push_back
from planner.sim.transfer import send


def start(s: State, i: int) -> None:
    """Request i is on its way to its pool; it enters the queue `request_s` after its arrival."""
    request = s.request[i]
    if request.pool == NOBODY:
        push_due(s, i, request.arrival_s)
        return
    pool = s.pool[request.pool]
    push_back(s, pool.arrival_queue, i)
    if s.queue[pool.arrival_queue].length == 1:
        set_event(s, request.pool, request.arrival_s + pool.request_s)


def start_next(s: State, now: float) -> None:
    """Closed loop: a request, or a whole job, ended; the next one starts."""
    clock = s.clock[0]
    i = clock.next_request
    if clock.concurrency > 0 and i < s.request.shape[0]:
        s.request[i].arrival_s = max(s.request[i].arrival_s, now)
        clock.next_request = i + (s.task[i].rows if s.task.shape[0] > 0 else 1)
        start(s, i)


def ended(s: State, i: int, now: float) -> None:
    """Task i has ended: whatever waited for it alone becomes due, and after its job the next one starts."""
    task = s.task[i]
    for k in range(task.first, task.first + task.successors):
        release(s, i, k, now)
    job = s.task[task.job]
    job.left -= 1
    if job.left == 0:
        start_next(s, now)


def release(s: State, i: int, k: int, now: float) -> None:
    """Task i ended: what it made moves to successor k, which is due when nothing else is missing."""
    successor = s.successor[k]
    child, there = successor.child, now
    if successor.edge != NOBODY:
        there = send(s.replica[s.request[i].replica], s.edge[successor.edge], successor.bytes, now)
    request = s.request[child]
    request.arrival_s = max(request.arrival_s, there + successor.delay_s)
    s.task[child].open -= 1
    if s.task[child].open == 0:
        host_s = s.pool[request.pool].request_s if request.pool != NOBODY else 0.0
        push_due(s, child, request.arrival_s + host_s)


def push_due(s: State, i: int, time_s: float) -> None:
    """Task i is due at time_s."""
    clock = s.clock[0]
    k = clock.due
    clock.due += 1
    while k > 0 and earlier(time_s, i, s.task[(k - 1) // 2].due_s, s.task[(k - 1) // 2].due):
        up = (k - 1) // 2
        s.task[k].due_s, s.task[k].due = s.task[up].due_s, s.task[up].due
        k = up
    s.task[k].due_s, s.task[k].due = time_s, i
    if k == 0:
        set_event(s, s.pool.shape[0], time_s)


def pop_due(s: State) -> int:
    """The task that is due next leaves the heap."""
    clock = s.clock[0]
    clock.due -= 1
    n, k = clock.due, 0
    found, time_s, i = s.task[0].due, s.task[n].due_s, s.task[n].due
    while 2 * k + 1 < n:
        down = 2 * k + 1
        if down + 1 < n and earlier(s.task[down + 1].due_s, s.task[down + 1].due, s.task[down].due_s, s.task[down].due):
            down += 1
        if not earlier(s.task[down].due_s, s.task[down].due, time_s, i):
            break
        s.task[k].due_s, s.task[k].due = s.task[down].due_s, s.task[down].due
        k = down
    s.task[k].due_s, s.task[k].due = time_s, i
    set_event(s, s.pool.shape[0], s.task[0].due_s if n > 0 else math.inf)
    return int(found)


def earlier(time_s: float, i: int, other_s: float, other: int) -> bool:
    """Whether task i at time_s comes before another one."""
    return time_s < other_s or (time_s == other_s and i < other)
