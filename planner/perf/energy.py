"""Power and energy of a pool from what it did: busy phases of the accelerators, idle time, and the node around them.

Two scopes that must never be mixed: `gpu` (boards only) and `wall` (the whole server, before cooling). Prices and
cooling are `planner.tco`.

Phase model: prefill draws 0.85 TDP; decode the power of an idle loaded board + (0.86 * used memory bandwidth + 2.6 *
used tensor rate) TDP, at most TDP. Fitted to 320 serving runs with board power on A100, H100, H200, B200 and MI355X
(ML.ENERGY v2 and v3, LLM-Inference-Bench, Splitwise, Nebius and InferenceX runs), their steps taken from this
product's own simulation: median error 14 % with whole (model, GPU) pairs left out, against 18 % of a constant floor of
0.40 TDP, which charges engines that wait for their host as if they worked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.errors import BadInput, Problem
from planner.perf.cut import Cut, cut_of, stages_of
from planner.perf.hardware import Hardware
from planner.perf.work import StageWork, Tokens, stage_work
from planner.spec.deployment import Pool
from planner.spec.hardware import Accelerator, Node
from planner.spec.model import Model
from planner.spec.step import Work

LOADED_IDLE = 1.6  # an idle board with weights and a context over an empty one: H100 110-130 over 65-75 W, and alike
IDLE_OF_TDP = 0.10  # where a datasheet gives no idle power
NODE_BUSY_OF_TDP = 0.43  # 2.4 kW around 8 x 700 W (measured 8xH200 server), for nodes that state nothing
NODE_IDLE_OF_TDP = 0.30  # 1.7 kW of the same server


@dataclass(frozen=True, slots=True)
class Draw:
    """Shares of the TDP: of prompts, and of decode steps at the whole memory bandwidth and at the whole tensor rate."""

    prefill: float = 0.85
    bandwidth: float = 0.86
    tensor: float = 2.6


DRAW = Draw()


@dataclass(frozen=True, slots=True)
class Energy:
    """Of a pool over `span_s`. Watts are averages over the span; `gpu_w_each` per accelerator."""

    span_s: float
    gpu_j: float
    node_j: float
    gpu_w_each: float
    bandwidth_used: float
    tensor_used: float

    @property
    def wall_j(self) -> float:
        return self.gpu_j + self.node_j

    @property
    def gpu_w(self) -> float:
        return self.gpu_j / self.span_s if self.span_s else 0.0

    @property
    def wall_w(self) -> float:
        return self.wall_j / self.span_s if self.span_s else 0.0


def joules(work: Work, model: Model, pool: Pool, hardware: Hardware, draw: Draw = DRAW) -> Energy:
    """Energy of all replicas of `pool` while they did `work` (totals of the whole pool)."""
    gpus, board = pool.gpus, hardware.accelerator
    busy_s = min(work.busy_s, work.span_s * pool.replicas)
    prefill_s = min(work.prefill_busy_s, busy_s)
    bandwidth, tensor = utilisation(work, model, pool, hardware)
    decode = idle_w(board, loaded=True) / tdp_w(board) + draw.bandwidth * bandwidth + draw.tensor * tensor
    per_replica = gpus / pool.replicas
    active = (draw.prefill * prefill_s + min(1.0, decode) * (busy_s - prefill_s)) * tdp_w(board) * per_replica
    resting = idle_w(board, loaded=True) * (work.span_s * pool.replicas - busy_s) * per_replica
    share = busy_s / (work.span_s * pool.replicas) if work.span_s else 0.0
    gpu_j = max(active, idle_w(board, loaded=True) * busy_s * per_replica) + resting
    each = gpu_j / work.span_s / gpus if work.span_s else 0.0
    node_j = node_overhead_w(hardware.node, board, share) * gpus / hardware.node.accelerators * work.span_s
    return Energy(work.span_s, gpu_j, node_j, each, bandwidth, tensor)


def power(work: Work, model: Model, pool: Pool, hardware: Hardware, draw: Draw = DRAW) -> float:
    """Average watts of one accelerator (boards only) while the pool did `work`."""
    return joules(work, model, pool, hardware, draw).gpu_w_each


def utilisation(work: Work, model: Model, pool: Pool, hardware: Hardware) -> tuple[float, float]:
    """(memory bandwidth, tensor rate) that the decode steps used, as shares of the peaks, each at most 1."""
    steps = work.steps * (1.0 - work.prefill_busy_s / work.busy_s) if work.busy_s else 0.0
    if steps < 1.0 or not work.decode_tokens:
        return 0.0, 0.0
    decode_s = work.busy_s - work.prefill_busy_s
    if decode_s / steps <= 0.0:
        return 0.0, 0.0
    batch = max(1.0, work.decode_tokens / work.steps)
    cut = cut_of(model, pool, hardware)
    stage = max(stages_of(model, pool.parallelism.pp), key=lambda s: s.depth)
    rank = np.array([max(1.0, batch / pool.parallelism.dp)])
    done = stage_work(model, cut, stage, Tokens(rank, rank * pool.parallelism.dp, rank, "decode"))
    context = work.decode_context_tokens / work.decode_tokens
    seconds = decode_s / steps
    moved = moved_bytes(done) + attention(done, float(rank[0]), context, "bytes_per_token")
    tensor = tensor_s(done, cut) + attention(done, float(rank[0]), context, "flop_per_token") / peak(cut)
    return min(1.0, moved / seconds / hardware.bandwidth), min(1.0, tensor / seconds)


def moved_bytes(done: StageWork) -> float:
    """Bytes of one step but the contexts that attention reads."""
    products = sum(op.hbm_bytes[0] * op.count for op in done.gemms)
    experts = sum(op.hbm_bytes[0] * op.count for op in done.moes)
    return float(products + experts + sum(op.hbm_bytes[0] * op.count for op in done.passes))


def tensor_s(done: StageWork, cut: Cut) -> float:
    """Seconds of matrix units at their peak."""
    dense = sum(op.flop[0] * op.count / cut.hardware.flop_per_s(op.rate) for op in done.gemms)
    return float(dense + sum(op.flop[0] * op.count / cut.hardware.flop_per_s(op.rate) for op in done.moes))


def attention(done: StageWork, seqs: float, context: float, what: str) -> float:
    """Flops or bytes of attention of one step in which `seqs` queries see `context` tokens each."""
    seen = [(op, min(context, op.window or context)) for op in done.decode]
    return float(sum(getattr(op, what) * op.count * seqs * tokens for op, tokens in seen))


def peak(cut: Cut) -> float:
    """Of attention, which computes in 16 bits."""
    return cut.hardware.flop_per_s(cut.hardware.rate("bf16"))


def tdp_w(board: Accelerator) -> float:
    """Board power limit; BadInput where the catalog states none."""
    if board.tdp_w is None:
        what = f"the power of accelerator {board.name!r} is unknown"
        raise BadInput(Problem(what, hint="give its tdp in the catalog"))
    return board.tdp_w


def idle_w(board: Accelerator, *, loaded: bool) -> float:
    """Board power without work; `loaded`: with weights in memory, never more than half the TDP."""
    empty = board.idle_w if board.idle_w is not None else IDLE_OF_TDP * tdp_w(board)
    return min(empty * (LOADED_IDLE if loaded else 1.0), 0.5 * tdp_w(board))


def node_overhead_w(node: Node, board: Accelerator, busy: float) -> float:
    """Everything in a server but the accelerators, between its idle and its busy figure."""
    boards = node.accelerators * tdp_w(board)
    high = node.overhead_busy_w if node.overhead_busy_w is not None else NODE_BUSY_OF_TDP * boards
    idle_boards = node.accelerators * idle_w(board, loaded=False)
    low = node.idle_w - idle_boards if node.idle_w is not None else NODE_IDLE_OF_TDP * boards
    low = min(max(low, 0.0), high)
    return low + (high - low) * min(1.0, max(0.0, busy))
