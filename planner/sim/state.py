"""State: everything the simulation loop reads and writes, as a few arrays of records. No behaviour but queue handling.

Records keep the fields of a request or replica together; one tuple keeps the parameter lists short. The same functions
run on it as plain Python and compiled (see `planner.sim.kernel`), so any file that takes a State holds only loops,
arithmetic and arrays. There `replica = s.replica[r]` is the record itself: writing a field changes the state. An index
is never negative: compiled code would not count from the end.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

NOBODY = -1
"""End of a queue, or no replica yet."""
WAITING, RUNNING, MOVING, FINISHED, REJECTED = 0, 1, 2, 3, 4
"""Request.state: in a queue; in the running list; its KV cache moves between pools; done; refused at the door."""
STEP_COST, TABLE_COST = 0, 1

REQUEST = np.dtype(
    [
        # given
        ("arrival_s", "f8"),
        ("input", "i8"),
        ("output", "i8"),
        ("cached", "i8"),  # prompt tokens that a prefix cache holds already
        ("class_index", "i8"),
        ("priority", "i8"),  # lower goes first where the engine goes by priority
        ("pool", "i8"),  # the pool that prefills it, or that serves the task; NOBODY = a delay
        ("edge", "i8"),  # edge its KV cache takes, or NOBODY
        ("draw_a", "f8"),  # two uniform draws for random routers
        ("draw_b", "f8"),
        # where it stands
        ("state", "i8"),
        ("next", "i8"),  # the next request of the queue it is in
        ("replica", "i8"),  # replica that holds it
        ("source", "i8"),  # replica that still holds its KV cache while it moves
        ("prompt", "i8"),  # tokens to prefill: the input, plus what was generated before a preemption
        ("done", "i8"),  # before the prefill ends: tokens computed; afterwards: tokens known, the newest included
        ("prefilled", "i8"),
        ("blocks", "i8"),  # KV blocks held
        ("target_blocks", "i8"),  # blocks reserved at the far end of a transfer
        ("swapped", "i8"),  # its KV cache waits in host memory
        ("in_flight", "i8"),  # part of a micro-batch that runs
        ("ready_step", "i8"),  # engine step from which it may be admitted
        ("chain", "i8"),  # first of its links in State.chain, and how many there are
        ("links", "i8"),
        ("shared", "i8"),  # leading links that it shares with whoever comes
        ("borrowed", "i8"),  # while it waits: cached tokens that others use anyway, so that they take no blocks
        ("place", "i8"),  # in the order in which requests began to run here
        ("crew", "i8"),  # 1 + its crew in a pipeline, 0 = none
        ("joined", "i8"),  # of a member of a crowd: step of the crowd at which its record was up to date
        ("grows", "i8"),  # and whether it will take more blocks
        # what happened
        ("first_replica", "i8"),
        ("admitted_s", "f8"),
        ("first_token_s", "f8"),
        ("last_token_s", "f8"),
        ("finish_s", "f8"),
        ("largest_gap_s", "f8"),
        ("copy_end_s", "f8"),
        ("transfer_s", "f8"),
        ("preemptions", "i8"),
    ],
    align=True,
)
REPLICA = np.dtype(
    [
        ("pool", "i8"),
        ("pull_queue", "i8"),  # queue of requests whose KV cache it shall pull
        ("link_queue", "i8"),  # queue of copies that leave it
        ("transfer_actor", "i8"),  # places of its next events: end of a copy, of a batch, and forming a batch
        ("completion_actor", "i8"),
        ("formation_actor", "i8"),
        ("kv_blocks", "i8"),
        ("free_blocks", "i8"),
        ("running", "i8"),  # length of its row in State.running, those apart included
        ("crowd", "i8"),  # the first of them that are members of the crowd, on one stage
        ("apart", "i8"),  # who runs but stands in a crew, not in that row
        ("places", "i8"),  # of who has run so far
        ("unsorted", "i8"),  # somebody behind the crowd belongs before some of its members
        ("moving", "i8"),  # requests whose KV cache is on its way here
        ("outstanding", "i8"),  # queued, moving or running here
        ("waiting_tokens", "i8"),  # prompts of those queued
        ("flights", "i8"),  # micro-batches that run
        ("oldest", "i8"),  # slot of the oldest of them
        ("preempted", "i8"),  # the scheduler preempted while it formed the newest batch
        ("swap_s", "f8"),  # of copies to and from host memory before the newest batch
        ("again", "i8"),  # the next batch may differ although nobody comes or leaves
        ("full", "i8"),  # somebody found no place, and nobody is tried until one leaves (SGLang)
        ("seen_running", "i8"),  # length of the running list when the last batch was formed, and whether it had prompts
        ("prompts_last", "i8"),
        ("ratio", "f8"),  # new-token ratio of SGLang, the decode step it was set at, and whether it was
        ("ratio_step", "i8"),
        ("ratio_set", "i8"),
        ("lag_credit", "f8"),
        ("balanced_step", "i8"),  # engine step from which prompts wait until every rank has one
        ("link_free_s", "f8"),
        ("unused_entry", "i8"),  # first entry of the prefix cache that is free
        ("load_s", "f8"),  # to load links from lower tiers for the batch that is formed
        # totals
        ("seen_s", "f8"),  # the areas below are integrated up to here
        ("waiting_area", "f8"),
        ("outstanding_area", "f8"),
        ("block_area", "f8"),
        ("peak_blocks", "i8"),
        ("peak_waiting", "i8"),
        ("blocks_taken", "i8"),
        ("blocks_given", "i8"),
        ("busy_until_s", "f8"),
        ("busy_s", "f8"),
        ("prefill_busy_s", "f8"),
        ("steps", "i8"),
        ("decode_steps", "i8"),  # of them without a prompt
        ("prefill_tokens", "i8"),
        ("decode_tokens", "i8"),
        ("context_tokens", "f8"),
        ("pairs", "f8"),
        ("preemptions", "i8"),
        ("sent_bytes", "f8"),
        ("asked_tokens", "i8"),  # prompts that could have found a prefix, and what of them was found
        ("hit_tokens", "i8"),
        ("loaded_bytes", "f8"),
    ],
    align=True,
)
POOL = np.dtype(
    [
        ("arrival_queue", "i8"),  # queue of requests on their way to it
        ("scheduler", "i8"),
        ("decodes", "i8"),  # the pool runs the decode phase
        ("first", "i8"),  # its replicas are first .. first + replicas - 1
        ("replicas", "i8"),
        ("servers", "i8"),  # of a service: tasks that a replica works on at a time; 0 = an engine
        ("turn", "i8"),  # of the round-robin router
        ("max_seqs", "i8"),
        ("max_tokens", "i8"),
        ("kv_blocks", "i8"),
        ("block_tokens", "i8"),
        ("watermark_blocks", "i8"),
        ("hold", "i8"),  # blocks that a request takes as it enters
        ("whole_prompts", "i8"),  # prompts are not cut at the token budget
        ("long_prompt_tokens", "i8"),  # most of one prompt in a step, 0 = no limit of its own
        ("by_priority", "i8"),
        ("swap_block_s", "f8"),  # of a copy of one block to or from host memory; 0 = recompute instead
        ("mixed_chunks", "i8"),  # SGLang's mixed chunks and conservativeness
        ("conservativeness", "f8"),
        ("crowds", "i8"),  # requests that decode together may be advanced as one
        ("balance_steps", "i8"),  # most steps that prompts wait until every attention-DP rank has one, 0 = none
        ("stages", "i8"),
        ("hop_s", "f8"),
        ("dp", "i8"),
        ("request_s", "f8"),
        ("lag_steps", "f8"),
        ("kv_bytes_per_token", "f8"),
        ("kv_layers", "i8"),
        ("link_tokens", "i8"),  # of the prefix cache, 0 = none; in blocks and bytes
        ("link_blocks", "i8"),
        ("link_bytes", "f8"),
        ("cost_kind", "i8"),
        ("linear_points", "i8"),
        ("linear_stride", "i8"),
        ("pair_s", "f8"),
        ("window_pair_s", "f8"),
        ("context_s", "f8"),
        ("chunk_s", "f8"),
        ("prefill_floor_s", "f8"),
        ("graph_tokens", "i8"),  # the floor holds for steps of more tokens
        ("window", "i8"),
        ("bucket", "i8"),  # of a TableCost, with the next three
        ("several", "f8"),
        ("layers", "f8"),
        ("per_s", "f8"),
    ],
    align=True,
)
TASK = np.dtype(
    [
        # given
        ("job", "i8"),  # the first task of its job
        ("rows", "i8"),  # of the first task: tasks of the job
        ("service_s", "f8"),
        ("first", "i8"),  # its successors are first .. first + successors - 1
        ("successors", "i8"),
        # where it stands
        ("open", "i8"),  # predecessors that have not ended
        ("left", "i8"),  # of the first task: tasks of the job that have not ended
        # an entry of the heap of due tasks, not of this task: see `planner.sim.tasks`
        ("due_s", "f8"),
        ("due", "i8"),
    ],
    align=True,
)
SUCCESSOR = np.dtype([("child", "i8"), ("edge", "i8"), ("bytes", "f8"), ("delay_s", "f8")], align=True)
FLIGHT = np.dtype(
    [
        ("start_s", "f8"),
        ("end_s", "f8"),  # of its last step on the last stage
        ("steps", "i8"),  # 1, or more when decode steps with the same batch are taken together
        ("first_s", "f8"),  # duration of the first step, and what each further one adds
        ("slope_s", "f8"),
        ("requests", "i8"),  # with seats of their own
        ("crew", "i8"),  # the crowd that decodes too, its members, and for how many steps they hold blocks
        ("crowd", "i8"),
        ("held_steps", "i8"),
        ("decodes", "i8"),
        ("context", "i8"),  # sum of the decode contexts in the first step
        ("in_window", "i8"),  # the same, each cut at the window
        ("chunks", "i8"),
        ("chunk_tokens", "i8"),
        ("cached", "i8"),  # tokens before the chunks
        ("pairs", "i8"),  # of queries and contexts of the chunks
        ("window_pairs", "i8"),
    ],
    align=True,
)
EDGE = np.dtype(
    [("source", "i8"), ("target", "i8"), ("bandwidth", "f8"), ("latency_s", "f8"), ("streamed", "i8")], align=True
)
SEAT = np.dtype([("request", "i8"), ("tokens", "i8")], align=True)
CROWD = np.dtype(
    [
        ("base", "i8"),  # its members stand in State.running from here on
        ("size", "i8"),
        ("flying", "i8"),  # in a micro-batch
        ("step", "i8"),  # steps that it has made, and when the last one ended
        ("ended_s", "f8"),
        ("context", "i8"),  # sums over the members of the tokens known, and of them in the window
        ("window", "i8"),
        ("inside", "i8"),  # members whose window is not full
        ("growers", "i8"),  # members that will take more blocks
        ("changes", "i8"),  # lengths of its rows in State.change and State.peak
        ("peaks", "i8"),
    ],
    align=True,
)
CHANGE = np.dtype([("step", "i8"), ("request", "i8")], align=True)
PEAK = np.dtype([("step", "i8"), ("gap_s", "f8")], align=True)
EVENT = np.dtype([("time_s", "f8"), ("winner", "i8")], align=True)
PRICE = np.dtype([("fixed_s", "f8"), ("context_s", "f8"), ("window_s", "f8")], align=True)
TOTALS = np.dtype([("gap_sum_s", "f8"), ("tally", "i8")], align=True)
ENTRY = np.dtype(
    [
        ("link", "i8"),
        ("users", "i8"),  # requests that run with it
        ("tier", "i8"),
        ("chained", "i8"),  # the next of its bucket, or of the unused ones
        ("before", "i8"),  # while nobody uses it: its neighbours in the order of its tier
        ("next", "i8"),
    ],
    align=True,
)
TIER = np.dtype([("links", "i8"), ("bandwidth", "f8"), ("latency_s", "f8")], align=True)
QUEUE = np.dtype([("head", "i8"), ("tail", "i8"), ("length", "i8")], align=True)
RULE = np.dtype(
    [
        ("class_index", "i8"),
        ("ttft_s", "f8"),
        ("tpot_s", "f8"),
        ("itl_s", "f8"),
        ("e2e_s", "f8"),
        ("allowed", "i8"),
        ("broken", "i8"),
    ],
    align=True,
)
LOG = np.dtype(
    [
        ("replica", "i8"),
        ("slot", "i8"),  # micro-batch of a pipeline
        ("start_s", "f8"),
        ("end_s", "f8"),
        ("steps", "i8"),  # taken together
        ("decodes", "i8"),
        ("chunks", "i8"),
        ("chunk_tokens", "i8"),
        ("context", "i8"),  # of the decodes in the first step
        ("waiting", "i8"),  # requests in the queue at the end
        ("free_blocks", "i8"),  # at the end
    ],
    align=True,
)
CLOCK = np.dtype(
    [
        ("now_s", "f8"),
        ("horizon_s", "f8"),
        ("router", "i8"),
        ("concurrency", "i8"),
        ("forming", "i8"),  # the replica whose next batch formation is not among State.event, and when that is
        ("forming_s", "f8"),
        ("begun", "i8"),  # the first requests have set out
        ("due", "i8"),  # length of the heap of due tasks
        ("next_request", "i8"),  # the first one that has not set out; those before it do so at the start
        ("finished", "i8"),
        ("skip", "i8"),  # take steady decode steps together
        ("measured_from", "i8"),  # requests before this one stay out of the gap histogram
        ("stopped", "i8"),  # a rule is broken beyond repair
        ("logged", "i8"),  # rows of the log in use
    ],
    align=True,
)


class State(NamedTuple):
    """Record arrays by the dtypes above; the rest int64 or float64. R replicas, W widest running list.

    queue [3 R + P]: waiting requests of replica r at r, then the queues that replicas and pools name.
    event [2 x leaves]: a tree over the actors, its root at 1, its leaves last: the first event below a node, and whose.
    running [R, (3 + stages) W]: the running list, two scratch lists of W for schedulers, and the crews of a pipeline.
    batch [R, stages, W]: requests of a micro-batch and the prompt tokens each computes (0 = one decode token).
    decode_price [P, batch], linear_s [P, samples]: StepCost. decode_table, prefill_table: TableCost.
    totals [classes], gap_count [classes, bins]: gaps between tokens. log: flights in order of their ends until it is
    full; nothing is kept in a log of no rows. task: along the requests when they are tasks of jobs, else empty.
    successor: the tasks that wait for others.
    chain: links of all requests. entry [R, entries], bucket [R, buckets], shelf [R, tiers] (idle entries, the one to go
    first at its head), tier [P, tiers]: prefix caches; tier 0 is the memory of the accelerators.
    home [P, tasks]: by the first task of a job, the replica that the job keeps to.
    crowd [R, stages]; change [R, stages, 2 W], the heap of steps at which members end or have a full window; grower
    [R, stages, block tokens], members by the step at which they take blocks; member [R, stages, classes], those that
    statistics count; peak [R, stages, some], the largest gaps since each step.
    """

    request: Any
    replica: Any
    pool: Any
    edge: Any
    queue: Any
    flight: Any
    rule: Any
    clock: Any
    event: Any
    running: Any
    batch: Any
    stage_free_s: Any
    decode_price: Any
    linear_s: Any
    decode_table: Any
    prefill_table: Any
    totals: Any
    gap_count: Any
    log: Any
    task: Any
    successor: Any
    chain: Any
    entry: Any
    bucket: Any
    shelf: Any
    tier: Any
    home: Any
    crowd: Any
    change: Any
    grower: Any
    member: Any
    peak: Any


def push_back(s: State, q: int, i: int) -> None:
    """Append request i to queue q; a request is in at most one queue."""
    queue = s.queue[q]
    s.request[i].next = NOBODY
    if queue.length == 0:
        queue.head = i
    else:
        s.request[queue.tail].next = i
    queue.tail = i
    queue.length += 1


def push_front(s: State, q: int, i: int) -> None:
    """Put request i at the head of queue q."""
    queue = s.queue[q]
    s.request[i].next = queue.head if queue.length > 0 else NOBODY
    if queue.length == 0:
        queue.tail = i
    queue.head = i
    queue.length += 1


def insert(s: State, q: int, i: int) -> None:
    """Put request i into queue q by priority, then number; the queue is in that order."""
    queue = s.queue[q]
    if queue.length == 0 or before(s, queue.tail, i):
        push_back(s, q, i)
    elif before(s, i, queue.head):
        push_front(s, q, i)
    else:
        k = queue.head
        while before(s, s.request[k].next, i):
            k = s.request[k].next
        s.request[i].next = s.request[k].next
        s.request[k].next = i
        queue.length += 1


def before(s: State, i: int, j: int) -> bool:
    """Whether request i goes before request j by priority, then number."""
    one, other = s.request[i].priority, s.request[j].priority
    return bool(one < other or (one == other and i < j))


def pop_front(s: State, q: int) -> int:
    """Take the head of queue q, which must not be empty."""
    queue = s.queue[q]
    i = queue.head
    queue.head = s.request[i].next
    queue.length -= 1
    return int(i)


def tick(s: State, r: int, now: float) -> None:
    """Integrate queue length, requests in the system and blocks in use of replica r up to `now`."""
    replica = s.replica[r]
    dt = now - replica.seen_s
    if dt == 0.0:
        return
    replica.waiting_area += s.queue[r].length * dt
    replica.outstanding_area += replica.outstanding * dt
    replica.block_area += (replica.kv_blocks - replica.free_blocks) * dt
    replica.seen_s = now
