"""build_encoder: a pool that runs only the encoder of a model (images, sound) -> the numbers of a simulated replica.

A roofline: no encoder kernels have been measured here. Every item of a batch costs its FLOP, a step at least one pass
over the weights, and what was encoded stays in memory until it has been sent.
"""

from __future__ import annotations

import numpy as np

from planner.errors import BadInput, Problem
from planner.perf.hardware import Hardware
from planner.perf.memory import Memory
from planner.spec.deployment import Pool
from planner.spec.model import Encoder, Model
from planner.spec.step import Replica, StepCost

OF_PEAK = 0.4  # of the dense 16-bit rate; the share that makes a ViT-B/14 reach 400 images/s on an A100 (derived)
OF_BANDWIDTH = 0.8
OF_MEMORY = 0.9  # what engines take of a board by default (vLLM gpu_memory_utilization)
REL_ERROR = 0.5  # a share of the peak instead of measurements
WEIGHT_BYTES = ELEMENT_BYTES = 2.0
BLOCK_TOKENS = 16
STRIDE_TOKENS = 1024


def build_encoder(model: Model, pool: Pool, hardware: Hardware) -> Replica:
    """One replica of a pool with the phase `encode`; the boards of a replica share the items of a batch evenly."""
    encoder = encoder_of(model)
    boards = pool.parallelism.gpus
    flop_per_s = OF_PEAK * hardware.flop_per_s(hardware.rate("bf16")) * boards
    per_item = encoder.flop_per_item or 2.0 * encoder.parameters * encoder.tokens_per_item
    per_token_s = per_item / encoder.tokens_per_item / flop_per_s
    nothing = np.zeros(pool.max_seqs + 1)
    cost = StepCost(
        decode_s=nothing, decode_context_s=nothing, decode_window_s=nothing,
        linear_s=per_token_s * STRIDE_TOKENS * np.arange(2.0), linear_stride=STRIDE_TOKENS,
        pair_s=0.0, window_pair_s=0.0, context_s=0.0, chunk_s=0.0,
        prefill_floor_s=encoder.parameters * WEIGHT_BYTES / (OF_BANDWIDTH * hardware.bandwidth),
        window_tokens=0, source="encoder roofline", rel_error=REL_ERROR,
    )  # fmt: skip
    return Replica(
        cost=cost, scheduler="prefill_first", max_seqs=pool.max_seqs, max_tokens_per_step=pool.max_tokens_per_step,
        kv_blocks=encoder_memory(model, pool, hardware).kv_blocks, block_tokens=BLOCK_TOKENS,
    )  # fmt: skip


def encoder_memory(model: Model, pool: Pool, hardware: Hardware) -> Memory:
    """Every board holds the encoder; the rest keeps what was encoded, one vector of the model's width per token."""
    capacity = OF_MEMORY * hardware.accelerator.memory_bytes
    weights = encoder_of(model).parameters * WEIGHT_BYTES
    free = max(0.0, capacity - weights)
    tokens = int(free * pool.parallelism.gpus / (model.hidden * ELEMENT_BYTES))
    return Memory(
        capacity_bytes=hardware.accelerator.memory_bytes, weights_bytes=weights, activation_bytes=0.0, comm_bytes=0.0,
        graph_bytes=0.0, kv_bytes=free, kv_tokens=tokens, kv_blocks=tokens // BLOCK_TOKENS,
        missing_bytes=max(0.0, weights - capacity),
    )  # fmt: skip


def encoder_of(model: Model) -> Encoder:
    """The encoder of a model; BadInput where the catalog knows too little of it."""
    if model.encoder is None or not model.encoder.tokens_per_item:
        what = f"the catalog knows no encoder of {model.name}, or not its tokens per item"
        raise BadInput(Problem(what, hint="give encoder: {parameters, tokens_per_item, flop_per_item} in the catalog"))
    return model.encoder
