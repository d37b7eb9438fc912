"""MFU and MBU: how much of the peaks of its accelerators a pool used while it did its work. Not a price.

    MFU  time the matrix units would need at their dense peak, over the time there was
    MBU  time that bytes which had to move (weights in each step, KV read by attention) need at peak bandwidth, likewise

Both over the whole span of the run, idle time included, for the rank of the deepest pipeline stage, and at most 1: a
price below its own roofline would exceed it, and is cut.
"""

from __future__ import annotations

import numpy as np

from planner.perf.cut import cut_of, stages_of
from planner.perf.energy import attention, moved_bytes, peak, tensor_s
from planner.perf.hardware import Hardware
from planner.perf.work import Tokens, stage_work
from planner.spec.deployment import Pool
from planner.spec.model import Model
from planner.spec.step import Work


def mfu_mbu(work: Work, model: Model, pool: Pool, hardware: Hardware) -> tuple[float, float]:
    """(MFU, MBU) of a pool that did `work` (totals of all replicas)."""
    there_s = work.span_s * pool.replicas
    if not work.steps or there_s <= 0.0:
        return 0.0, 0.0
    dp = pool.parallelism.dp
    tokens = (work.prefill_tokens + work.decode_tokens) / work.steps
    cut = cut_of(model, pool, hardware)
    stage = max(stages_of(model, pool.parallelism.pp), key=lambda s: s.depth)
    rank, decodes = np.array([tokens / dp]), work.decode_tokens / work.steps / dp
    done = stage_work(model, cut, stage, Tokens(rank, rank * dp, np.array([decodes]), "decode"))
    context = work.decode_context_tokens / max(work.decode_tokens, 1)
    pairs = work.prefill_pairs / max(work.prefill_tokens, 1)  # contexts that the average prompt token sees
    prompts = work.prefill_tokens / work.steps / dp
    flop = attention(done, decodes, context, "flop_per_token") + attention(done, prompts, pairs, "flop_per_token")
    busy_s = work.steps * (tensor_s(done, cut) + flop / peak(cut))
    moved = work.steps * (moved_bytes(done) + attention(done, decodes, context, "bytes_per_token"))
    return min(1.0, busy_s / there_s), min(1.0, moved / hardware.bandwidth / there_s)
