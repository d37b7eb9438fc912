"""Memory of one rank: weights, activations, buffers, graphs, and the KV cache that the engine's rule leaves room for.

Not a fit for a particular release: `reserve_bytes` and `fraction` of the profile are where a measured block count goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from planner.engines.families import family_of
from planner.perf.cut import Cut, Stage, cut_of, stages_of
from planner.perf.hardware import Hardware
from planner.perf.operators import linear_attention
from planner.perf.operators.attention_decode import IMAGE_TOKENS
from planner.perf.operators.embedding_head import head
from planner.perf.work import Tokens, stage_work
from planner.spec.counting import kv_elements_per_token
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.model import (
    Attention,
    CompressedAttention,
    CrossAttention,
    LatentAttention,
    LinearAttention,
    Model,
    SoftmaxAttention,
)  # fmt: skip
from planner.spec.precision import BYTES_PER_KV

# Activation bytes per token and hidden element by tp, and buffers by GPUs: another tool's calibration, valid for its
# engine versions (aiconfigurator 0.12.0); between them the nearest smaller degree is used.
ACTIVATION_DENSE = {1: 11.0, 2: 6.5, 4: 5.0, 8: 5.0}
ACTIVATION_MOE = {1: 22.0, 2: 13.0, 4: 10.0, 8: 10.0}
ACTIVATION_FLOOR_BYTES = 80 * 2.0**20
COMM_BYTES = {1: 0.0, 2: 342e6, 4: 392e6}
TYPICAL_CONTEXT = 4096
REMEMBERED = 4096
"""Cuts of models."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Per rank (bytes) and for the whole replica (tokens, blocks). missing_bytes > 0: the weights do not fit."""

    capacity_bytes: float
    weights_bytes: float
    activation_bytes: float
    comm_bytes: float
    graph_bytes: float
    kv_bytes: float
    kv_tokens: int
    kv_blocks: int
    missing_bytes: float

    @property
    def fits(self) -> bool:
        return self.kv_blocks > 0


def memory_of(
    model: Model, pool: Pool, hardware: Hardware, profile: EngineProfile, *, context_tokens: int = TYPICAL_CONTEXT
) -> Memory:
    """Memory of the fullest rank of a replica.

    context_tokens: typical length of a sequence; windows and constant states are spread over it.
    """
    profile = profile.on(family_of(hardware.accelerator), pool.weights)
    cut, rule = cut_of(model, pool, hardware), profile.memory
    pp = pool.parallelism.pp
    weights = _fullest_weights(model, cut, pp)
    fixed = _activation_bytes(model, pool, cut) * rule.activation_factor
    comm = _step(COMM_BYTES, pool.parallelism.tp * pool.parallelism.dp * pool.parallelism.cp)
    capacity = hardware.accelerator.memory_bytes
    budget = rule.fraction * (capacity - weights if rule.of == "free" else capacity)
    spent = fixed + comm + rule.graph_bytes + rule.reserve_bytes + (0.0 if rule.of == "free" else weights)
    left = budget - spent
    per_token = _fullest_kv_per_token(model, cut, pp, context_tokens)
    copies = pool.parallelism.dp * cut.kv_split
    blocks = int(max(left, 0.0) // (per_token * profile.block_tokens)) * copies
    return Memory(
        capacity_bytes=capacity, weights_bytes=weights, activation_bytes=fixed, comm_bytes=comm,
        graph_bytes=rule.graph_bytes, kv_bytes=max(left, 0.0), kv_tokens=blocks * profile.block_tokens,
        kv_blocks=blocks, missing_bytes=max(-left, 0.0),
    )  # fmt: skip


@lru_cache(maxsize=REMEMBERED)
def _fullest_weights(model: Model, cut: Cut, pp: int) -> float:
    """Of the stage with most; a search asks for every cut of a model many times."""
    return max(weights_bytes(model, cut, stage) for stage in stages_of(model, pp))


@lru_cache(maxsize=REMEMBERED)
def _fullest_kv_per_token(model: Model, cut: Cut, pp: int, context: int) -> float:
    return max(_rank_kv_per_token(cut, stage, context) for stage in stages_of(model, pp))


def weights_bytes(model: Model, cut: Cut, stage: Stage) -> float:
    """Weights of one rank of a stage: what its products read, all experts it holds, embedding, norms."""
    one = np.ones(1)
    work = stage_work(model, cut, stage, Tokens(one, one, one, "decode"))
    products = sum(op.weight_bytes * op.count for op in work.gemms)
    products += sum(op.weight_bytes * op.count for op in work.moes)
    vectors = sum((layer.norms * model.hidden + layer.extra_parameters) * count for layer, count in stage.layers)
    table = head(cut, one, model.vocab).weight_bytes + 2.0 * model.embedding_parameters_extra / cut.degrees.tp
    if stage.first and not (stage.last and model.tied_embeddings):
        products += table + 2.0 * model.learned_positions * model.hidden
    encoder = 2.0 * model.encoder.parameters / cut.degrees.tp if model.encoder and stage.first else 0.0
    return products + 2.0 * vectors + encoder + _image_projections(cut, stage)


def _image_projections(cut: Cut, stage: Stage) -> float:
    layers = [(x.attention, count) for x, count in stage.layers if isinstance(x.attention, CrossAttention)]
    return sum(image_projections(cut, attention) * count for attention, count in layers)


def image_projections(cut: Cut, attention: CrossAttention) -> float:
    """Keys and values of one layer of cross-attention: weights that no decode or text step reads."""
    columns = 2.0 * cut.kv_heads(attention.kv_heads) * attention.head_dim
    return columns * cut.hidden * cut.weight_bytes(cut.formats.attention)


def kv_bytes_per_token(model: Model, pool: Pool) -> float:
    """Bytes of one token in the cache of the whole model, replicas of KV heads not counted."""
    return sum(elements for elements, _ in kv_elements_per_token(model)) * BYTES_PER_KV[pool.kv]


def _rank_kv_per_token(cut: Cut, stage: Stage, context: int) -> float:
    """Cache bytes of one rank per token of a sequence of `context` tokens, averaged over its length."""
    return sum(count * layer_kv(cut, layer.attention, context) for layer, count in stage.layers) or 1.0


def layer_kv(cut: Cut, attention: Attention | None, context: int) -> float:
    """One layer: the window and the constant state of a sequence are spread over its context."""
    if isinstance(attention, SoftmaxAttention):
        if attention.shares_kv:
            return 0.0
        values = 0 if attention.keys_are_values else attention.v_head_dim or attention.head_dim
        seen = min(context, attention.window or context) / context
        elements = cut.kv_heads(attention.kv_heads) * (attention.head_dim + values) + attention.index_dim
        return elements * cut.kv_bytes * seen
    if isinstance(attention, LatentAttention):
        index = 0 if attention.index_shared else attention.index_dim
        return (attention.kv_lora + attention.qk_rope_dim + index) * cut.kv_bytes
    if isinstance(attention, CompressedAttention):
        recent = attention.head_dim * min(attention.window, context) / context
        return (attention.kv_elements_per_token + recent) * cut.kv_bytes
    if isinstance(attention, LinearAttention):
        return linear_attention.state_bytes(cut, attention) / context
    if isinstance(attention, CrossAttention):
        image = 2.0 * cut.kv_heads(attention.kv_heads) * attention.head_dim * IMAGE_TOKENS
        return image * cut.kv_bytes / context
    return 0.0


def _activation_bytes(model: Model, pool: Pool, cut: Cut) -> float:
    table = ACTIVATION_MOE if model.is_moe else ACTIVATION_DENSE
    tokens = pool.max_tokens_per_step / pool.parallelism.dp / pool.parallelism.cp
    return max(ACTIVATION_FLOOR_BYTES, 2.0 * tokens * model.hidden * _step(table, pool.parallelism.tp))


def _step(table: dict[int, float], degree: int) -> float:
    return table[max(key for key in table if key <= degree)]
