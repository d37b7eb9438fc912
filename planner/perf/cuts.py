"""Cuts: many ways to cut one model in one pair of formats, as arrays - weights of a rank and room for its cache.

The operators are those of a single `Cut`, with arrays where it has numbers, so the bytes are the same. No times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from planner.engines.families import family_of
from planner.perf.cut import Cut, cut_of, stage_edges
from planner.perf.hardware import Hardware
from planner.perf.memory import (
    ACTIVATION_DENSE,
    ACTIVATION_FLOOR_BYTES,
    ACTIVATION_MOE,
    COMM_BYTES,
    TYPICAL_CONTEXT,
    image_projections,
    layer_kv,
)
from planner.perf.operators.embedding_head import head
from planner.perf.work import Tokens, feed_forward, projections
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.model import CrossAttention, Layer, Model
from planner.spec.precision import Dtype, KvDtype

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Degrees:
    """`Parallelism` of many replicas: arrays of one length."""

    tp: Ints
    pp: Ints
    dp: Ints
    ep: Ints
    cp: Ints
    dcp: Ints

    @property
    def gpus(self) -> Ints:
        return self.tp * self.pp * self.dp * self.cp

    def take(self, where: Ints) -> Degrees:
        return Degrees(*(getattr(self, name)[where] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Cuts(Cut):
    """A `Cut` whose degrees are arrays."""

    degrees: Any

    @property
    def expert_tp(self) -> Any:
        return np.maximum(1.0, self.experts_over / self.degrees.ep)

    def heads(self, heads: int) -> Any:
        return np.maximum(1.0, heads / self.degrees.tp)

    def kv_heads(self, kv_heads: int) -> Any:
        return np.maximum(1.0, kv_heads / self.degrees.tp)


def cuts_of(model: Model, degrees: Degrees, formats: tuple[Dtype, KvDtype], hardware: Hardware) -> Cuts:
    """All of `degrees` with weights and cache in these formats."""
    weights, kv = formats
    some = Pool(name="any", model=model.name, node="any", accelerator=hardware.accelerator.name, weights=weights, kv=kv)
    one = cut_of(model, some, hardware)
    return Cuts(hardware, degrees, one.formats, one.hidden, one.kv_bytes, one.block_scaled)


@dataclass(frozen=True, slots=True)
class Stack:
    """A model's layers by kind, and for each number of stages which cuts have it and the layers of each stage."""

    kinds: tuple[Layer, ...]
    stages: tuple[tuple[Ints, Floats], ...]

    def over_stages(self, each: Floats, first: Floats, last: Floats, worst: Callable[[Floats], Floats]) -> Floats:
        """`each` [kinds, cuts] summed over the layers of each stage, with what its ends add; then the `worst` stage."""
        found = np.empty(each.shape[1])
        for here, counts in self.stages:
            sums = counts @ each[:, here]
            sums[0] += first[here]
            sums[-1] += last[here]
            found[here] = worst(sums)
        return found


def stack_of(model: Model, pp: Ints) -> Stack:
    """The layers of each block are kinds, also where another block has equal ones."""
    kinds = tuple(layer for block in model.blocks for layer in block.layers)
    starts = np.cumsum([0, *(len(block.layers) for block in model.blocks)])
    places = [np.tile(np.arange(low, high), block.repeat)
              for block, low, high in zip(model.blocks, starts, starts[1:], strict=False)]  # fmt: skip
    kind_of = np.concatenate(places)
    return Stack(kinds, tuple((np.flatnonzero(pp == n), _counts(kind_of, len(kinds), int(n))) for n in np.unique(pp)))


def _counts(kind_of: Ints, kinds: int, stages: int) -> Floats:
    """Layers of each kind in each stage."""
    edges = stage_edges(len(kind_of), stages)
    pieces = [kind_of[low:high] for low, high in zip(edges, edges[1:], strict=False)]
    return np.array([np.bincount(piece, minlength=kinds) for piece in pieces], dtype=float)


@dataclass(frozen=True, slots=True)
class Rooms:
    """As `Memory`, for many cuts: bytes of the fullest rank, tokens that the cache of a whole replica holds."""

    weights_bytes: Floats
    left_bytes: Floats
    kv_tokens: Floats


def rooms_of(model: Model, cuts: Cuts, budget: Ints, profile: EngineProfile, weights: Dtype) -> Rooms:
    """What `memory_of` says of each cut with that many tokens in a step."""
    profile = profile.on(family_of(cuts.hardware.accelerator), weights)
    rule, capacity, degrees = profile.memory, cuts.hardware.accelerator.memory_bytes, cuts.degrees
    stack, nothing = stack_of(model, cuts.degrees.pp), np.zeros(len(budget))
    held = _weights_bytes(model, cuts, stack)
    table = ACTIVATION_MOE if model.is_moe else ACTIVATION_DENSE
    active = 2.0 * (budget / degrees.dp / degrees.cp) * model.hidden * _step(table, degrees.tp)
    spent = np.maximum(ACTIVATION_FLOOR_BYTES, active) * rule.activation_factor
    spent = spent + _step(COMM_BYTES, degrees.tp * degrees.dp * degrees.cp) + rule.graph_bytes + rule.reserve_bytes
    free = rule.fraction * (capacity - held) if rule.of == "free" else rule.fraction * capacity - held
    left = free - spent
    each = np.array([nothing + layer_kv(cuts, kind.attention, TYPICAL_CONTEXT) for kind in stack.kinds])
    per_token = stack.over_stages(each, nothing, nothing, lambda sums: sums.max(axis=0))
    per_token = np.where(per_token > 0.0, per_token, 1.0)
    blocks = np.maximum(left, 0.0) // (per_token * profile.block_tokens) * (degrees.dp * cuts.kv_split)
    return Rooms(held, left, blocks * profile.block_tokens)


def _weights_bytes(model: Model, cuts: Cuts, stack: Stack) -> Floats:
    """Weights of the fullest rank, as `memory.weights_bytes` adds them up for one stage."""
    degrees, nothing = cuts.degrees, np.zeros(len(cuts.degrees.tp))
    each = np.array([nothing + _layer_bytes(model, cuts, kind) for kind in stack.kinds])
    top = nothing + head(cuts, np.ones(1), model.vocab).weight_bytes
    table = top + 2.0 * model.embedding_parameters_extra / degrees.tp
    shared = (degrees.pp == 1) & model.tied_embeddings
    first = np.where(shared, 0.0, table + 2.0 * model.learned_positions * model.hidden)
    if model.encoder:
        first = first + 2.0 * model.encoder.parameters / degrees.tp
    return stack.over_stages(each, first, top, lambda sums: sums.max(axis=0))


def _layer_bytes(model: Model, cuts: Cuts, layer: Layer) -> Floats:
    one = np.ones(1)
    gemms = projections(cuts, layer.attention, one, 1.0) if layer.attention is not None else []
    found: Any = 2.0 * (layer.norms * model.hidden + layer.extra_parameters)
    if layer.ffn is not None:
        plain, moes = feed_forward(cuts, layer.ffn, Tokens(one, one, one, "decode"), 1.0, model.coverage)
        gemms = gemms + plain
        found = found + sum(op.weight_bytes for op in moes)
    if isinstance(layer.attention, CrossAttention):
        found = found + image_projections(cuts, layer.attention)
    return cast(Floats, found + sum(op.weight_bytes for op in gemms))


def _step(table: dict[int, float], degree: Ints) -> Floats:
    """The entry of the largest key that is not above each degree."""
    keys = np.array(sorted(table))
    return np.array([table[key] for key in keys])[np.searchsorted(keys, degree, side="right") - 1]
