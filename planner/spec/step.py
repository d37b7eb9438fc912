"""StepCost and Replica: what physics tells time. Plain numbers that price one engine step; no physics here.

One step of one pipeline stage runs n decode tokens (sequences) and prefill chunks j of q_j new tokens over s_j cached.
With S = sum of decode contexts, S_w = sum of min(context, window), T = n + sum q_j,
pairs_j = q_j s_j + q_j (q_j + 1) / 2, and wpairs_j the same sum with each query seeing at most `window` tokens:

    decode  = decode_s[n] + decode_context_s[n] * S + decode_window_s[n] * S_w
    prefill = linear_s(T) - linear_s(n) + pair_s * sum pairs + window_pair_s * sum wpairs
              + context_s * sum s_j + chunk_s * (number of chunks)
    step    = decode                                       without chunks
    step    = max(decode + prefill, prefill_floor_s)       with chunks; without the floor up to T = graph_tokens

linear_s(t) interpolates linearly in `linear_s`, sampled every `linear_stride` tokens from 0. decode_s[0] is the
overhead of a step that decodes nothing.

Attention-data-parallel ranks meet in every expert layer, so a step lasts as long as on its fullest rank: arrays by n
hold the price of ceil(n / dp) sequences on one rank, and ranks without any run along (a dummy step). One queue and one
pool of blocks serve all ranks. Left out: ranks with queues of their own, where one may wait while another has room and
the fullest holds more than ceil(n / dp); the edge of each rank's cache, which a request meets alone (only that each
fits into one rank is asked, see `planner.sim.build`); contexts that differ between ranks, priced at their mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StepCost:
    """Prices of one step of the slowest pipeline stage, seconds. Arrays float64.

    decode_s, decode_context_s, decode_window_s: [max_seqs + 1], by number of decode sequences.
    linear_s: [m], token-proportional time at 0, stride, 2 stride, ...; covers max_tokens_per_step + max_seqs.
    window_tokens: 0 when no layer has a window. rel_error: relative half-width of the 80 % interval of a step.
    doubts: where the price lies outside what its source was made from; rel_error is wider there.
    graph_tokens: largest step with chunks that runs captured graphs, so that the host is no limit; 0 = none does.
    """

    decode_s: Floats
    decode_context_s: Floats
    decode_window_s: Floats
    linear_s: Floats
    linear_stride: int
    pair_s: float
    window_pair_s: float
    context_s: float
    chunk_s: float
    prefill_floor_s: float
    window_tokens: int
    source: str
    rel_error: float
    graph_tokens: int = 0
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KvTier:
    """Memory below that of the accelerators which keeps prefixes of one replica, and what loading from it takes."""

    capacity_bytes: float
    bandwidth_bytes_per_s: float
    latency_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica as the simulator sees it.

    scheduler: name in `planner.sim.schedulers`. kv_blocks of block_tokens each (whole replica, attention-DP ranks
    summed). stages: pipeline stages, so that many micro-batches are in flight; hop_s between stages.
    request_s: host time between arrival and the waiting queue (API, tokenizer). admission_lag_steps: engine steps
    between arrival in the queue and the first chance of admission. dp: attention-data-parallel ranks in lock-step.
    kv_bytes_per_token: bytes that a prefill pool sends per prompt token, all ranks, in kv_layers equal parts.
    max_context 0 = unlimited.
    by_priority: requests wait and are preempted by the priority of their class. long_prompt_tokens: most tokens of one
    prompt in a step, 0 = no such limit (vLLM's --long-prefill-token-threshold). swap_bytes_per_s: preempted KV caches
    go to host memory at this speed, all ranks together, plus swap_dispatch_s a block; 0 = they are recomputed.
    whole_prompts: prompts are not cut at the token budget. mixed_chunks, conservativeness: SGLang's flags
    --enable-mixed-chunk and --schedule-conservativeness.
    balance_steps: most steps that prompts wait until every attention-DP rank has one, 0 = they do not
    (TensorRT-LLM's attention_dp_config).
    prefix_cache: computed prompts stay for others that begin alike. tiers: where they go from memory, nearest first.
    """

    cost: StepCost
    scheduler: str
    max_seqs: int
    max_tokens_per_step: int
    kv_blocks: int
    block_tokens: int
    watermark: float = 0.0
    stages: int = 1
    hop_s: float = 0.0
    dp: int = 1
    request_s: float = 0.0
    admission_lag_steps: float = 0.0
    kv_bytes_per_token: float = 0.0
    max_context: int = 0
    kv_layers: int = 1
    by_priority: bool = False
    long_prompt_tokens: int = 0
    swap_bytes_per_s: float = 0.0
    swap_dispatch_s: float = 0.0
    whole_prompts: bool = False
    mixed_chunks: bool = False
    conservativeness: float = 1.0
    balance_steps: int = 0
    prefix_cache: bool = True
    tiers: tuple[KvTier, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """Totals of a simulated run of one replica or pool: what energy and utilisation are computed from.

    busy_s: seconds with a step running, summed over replicas. prefill_busy_s: the part in steps with prefill.
    decode_context_tokens: sum over decode steps of the contexts read; prefill_pairs: query-context pairs.
    """

    span_s: float
    busy_s: float
    prefill_busy_s: float
    steps: int
    prefill_tokens: int
    decode_tokens: int
    decode_context_tokens: float
    prefill_pairs: float
    preemptions: int = 0
