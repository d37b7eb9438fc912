"""Floors: seconds that no price of a step goes below, for many cuts of a model at once. Prices are made in `replica`.

An estimator that blends the component model with measured kernels keeps the kernels within a clip of the model, so it
never falls below a known share of the model; and the model reads arrays of cuts as well as arrays of tokens. Left out,
so that the floor is one: fixed parts of attention, floors of steps with prompts, whatever a source measured as whole
steps. Sources without such a share have no floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.engines.families import family_of
from planner.perf.collectives import Kind, collective
from planner.perf.cuts import Cuts, Stack, stack_of
from planner.perf.estimators.analytic import Analytic
from planner.perf.estimators.fitted import CLIP, MOE_CLIP
from planner.perf.estimators.roofline import Roofline
from planner.perf.operators import elementwise, embedding_head, linear_attention
from planner.perf.operators.gemm import Gemm
from planner.perf.operators.moe import Moe
from planner.perf.replica import DEFAULT
from planner.perf.work import Tokens, cache_reads, feed_forward, projections
from planner.spec.engine import EngineProfile
from planner.spec.model import Attention, CrossAttention, DenseFfn, Ffn, Layer, LinearAttention, Model, MoeFfn
from planner.spec.precision import Dtype

Floats = NDArray[np.float64]
ONE_GB = 1e9
SHARES = {"fitted": float(np.sqrt(min(CLIP[0], MOE_CLIP[0]))), "analytic": 1.0, "roofline": 1.0}
"""Least price of an operator over that of the component model (of the roofline, for itself)."""


@dataclass(frozen=True, slots=True)
class Floors:
    """Least seconds of steps of the cheapest pipeline stage of many cuts."""

    model: Model
    cuts: Cuts
    profile: EngineProfile
    price: Analytic | Roofline
    share: float
    stack: Stack
    lines: Mapping[Kind, tuple[Floats, Floats]]
    """Messages over the ranks of their kind: seconds of none, and per byte."""

    def decode(self, seqs: Floats) -> Floats:
        """A step that decodes `seqs` sequences on each rank; their caches and the products of the experts apart."""
        over, depth = self.profile.overhead, len(self.model.layers) // self.cuts.degrees.pp
        host = over.step_s + over.per_layer_s * depth + over.per_seq_s * seqs
        return np.asarray(host + self._plain(self._decoding(seqs)))

    def experts(self, seqs: Floats) -> Floats:
        """Products of the experts in that step: they grow ever slower with its sequences."""
        return self._experts(self._decoding(seqs))

    def prompt(self, tokens: Floats) -> Floats:
        """A step of `tokens` prompt tokens, their attention apart."""
        rank, times = tokens / self.cuts.degrees.cp, self.profile.multipliers
        shared = Tokens(rank / self.cuts.degrees.dp, rank, np.ones_like(rank), "prefill")
        return np.asarray((self._plain(shared) + self._experts(shared) * times.moe_prefill) * times.prefill)

    def context_s(self) -> Floats:
        """Reading one cached token in a decode step."""
        hardware, nothing = self.cuts.hardware, np.zeros(len(self.cuts.degrees.tp))
        peak = hardware.flop_per_s(hardware.rate("bf16"))

        def read(mixer: Attention | None) -> Floats:
            ops = [op for op in cache_reads(self.cuts, mixer, 1.0) if not op.window] if mixer else []
            parts = [np.maximum(op.bytes_per_token / hardware.bandwidth, op.flop_per_token / peak) for op in ops]
            return np.asarray(nothing + sum(parts))

        each = np.array([read(kind.attention) for kind in self.stack.kinds])
        per_rank = self.stack.over_stages(each, nothing, nothing, _least)
        return np.asarray(per_rank / self.cuts.degrees.dp)

    def _decoding(self, seqs: Floats) -> Tokens:
        return Tokens(seqs, seqs * self.cuts.degrees.dp, seqs, "decode")

    def _plain(self, tokens: Tokens) -> Floats:
        """Everything in a stage but the products of the experts."""
        each = np.array([self._layer(kind, tokens) for kind in self.stack.kinds])
        first = self.price.elementwise(embedding_head.embedding(self.cuts, tokens.rank))
        last = self.share * self.price.gemm(embedding_head.head(self.cuts, tokens.sampling, self.model.vocab))
        return self.stack.over_stages(each, first, last, _least)

    def _experts(self, tokens: Tokens) -> Floats:
        nothing = np.zeros(len(tokens.rank))
        if not self.model.is_moe:
            return nothing
        routed = [self._fed_products(kind, tokens)[1] for kind in self.stack.kinds]
        each = np.array([nothing + self.share * sum(self.price.moe(op) for op in ops) for ops in routed])
        return self.stack.over_stages(each, nothing, nothing, _least)

    def _layer(self, layer: Layer, tokens: Tokens) -> Floats:
        rows = tokens.rank
        gemms = projections(self.cuts, layer.attention, rows, 1.0) if layer.attention is not None else []
        gemms = gemms + self._fed_products(layer, tokens)[0]
        products = self.share * sum(self.price.gemm(op) * op.count for op in gemms)
        return self._passes(layer, tokens) + self.share * self._messages(layer, tokens) + products

    def _fed_products(self, layer: Layer, tokens: Tokens) -> tuple[list[Gemm], list[Moe]]:
        if layer.ffn is None:
            return [], []
        return feed_forward(self.cuts, layer.ffn, tokens, 1.0, self.model.coverage)

    def _passes(self, layer: Layer, tokens: Tokens) -> Floats:
        """Norms, states and activations; of the rotary kernel its launch."""
        cuts, rows, found = self.cuts, tokens.rank, []
        if layer.norms:
            found.append(elementwise.norms(cuts, rows, layer.norms))
        if isinstance(layer.attention, LinearAttention):
            state = linear_attention.decode_state if tokens.phase == "decode" else linear_attention.prefill_state
            found.append(state(cuts, layer.attention, rows, 1.0))
        elif layer.attention is not None and not isinstance(layer.attention, CrossAttention):
            found.append(elementwise.rope_and_cache(cuts, rows, 0.0, 0.0, 1.0))
        if isinstance(layer.ffn, DenseFfn):
            found.append(elementwise.activation(rows, layer.ffn.inner / cuts.degrees.tp, 1.0))
        return np.zeros(len(rows)) + sum(self.price.elementwise(op) * op.count for op in found)

    def _messages(self, layer: Layer, tokens: Tokens) -> Floats:
        """An all-reduce behind the mixer and one behind the feed-forward network, or the exchange of the experts."""
        rows = tokens.rank * self.cuts.hidden * 2.0
        found = self._message("all_reduce", rows) if layer.attention is not None else np.zeros(len(rows))
        return found + self._fed(layer.ffn, tokens) if layer.ffn is not None else found

    def _fed(self, ffn: Ffn, tokens: Tokens) -> Floats:
        degrees, row = self.cuts.degrees, self.cuts.hidden * 2.0
        together = self._message("all_reduce", tokens.rank * row)
        if not isinstance(ffn, MoeFfn) or not np.any(degrees.dp > 1):
            return together
        gathered = 2.0 * self._message("all_gather", tokens.replica * row)
        sent = tokens.rank / degrees.tp * np.minimum(ffn.top_k, degrees.ep) * row
        spread = self._message("all_to_all", sent / 2.0) + self._message("all_to_all", sent)
        return np.where(degrees.dp == 1, together, np.minimum(gathered, np.where(degrees.ep > 1, spread, np.inf)))

    def _message(self, kind: Kind, payload: Floats) -> Floats:
        fixed_s, byte_s = self.lines[kind]
        return fixed_s + byte_s * payload


def _lines(cuts: Cuts, price: Analytic | Roofline) -> dict[Kind, tuple[Floats, Floats]]:
    """Every collective is a line over its bytes: all-reduces over tensor-parallel ranks, exchanges over all of them."""
    degrees, found = cuts.degrees, dict[Kind, tuple[Floats, Floats]]()
    exchanged = degrees.tp * degrees.dp
    over: dict[Kind, Any] = {"all_reduce": degrees.tp, "all_gather": exchanged, "all_to_all": exchanged}
    for kind, ranks in over.items():
        counts, place = np.unique(ranks, return_inverse=True)
        ends = np.zeros((len(counts), 2))
        for i, count in enumerate(counts):
            for op in collective(cuts, kind, np.array([0.0, ONE_GB]), int(count), 1.0):
                ends[i] = price.collective(op)
        found[kind] = ends[place, 0], (ends[place, 1] - ends[place, 0]) / ONE_GB
    return found


def floors_of(model: Model, cuts: Cuts, profile: EngineProfile, weights: Dtype, estimator: str | None) -> Floors | None:
    """Floors under this source of step times; None when it has none, or when measurements of its own correct it."""
    board = cuts.hardware.accelerator
    source, family = estimator or board.estimator or DEFAULT, family_of(board)
    corrected = source == DEFAULT and profile.correction(family, board.name, model.name, weights)
    if source not in SHARES or corrected:
        return None
    profile = profile.on(family, weights)
    price = (Roofline if source == "roofline" else Analytic)(cuts.hardware, profile)
    return Floors(model, cuts, profile, price, SHARES[source], stack_of(model, cuts.degrees.pp), _lines(cuts, price))


def _least(sums: Floats) -> Floats:
    found: Floats = sums.min(axis=0)
    return found
