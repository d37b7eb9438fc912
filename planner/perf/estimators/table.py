"""A user's own table of measured operators or whole steps over the fitted default, which fills in what it lacks.

A measured shape scales the fitted price by measured / fitted, interpolated in the logarithm of what it was measured
along and held beyond its ends. Never below the roofline: a row that is gets refused. It fits nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.errors import BadInput, Problem
from planner.perf.collectives import Collective
from planner.perf.estimators.base import ESTIMATORS, Floats
from planner.perf.estimators.fitted import Fitted
from planner.perf.hardware import Hardware
from planner.perf.measured import MeasuredTable, Row, measured_table
from planner.perf.operators.attention_decode import DecodeAttention
from planner.perf.operators.attention_prefill import PrefillAttention
from planner.perf.operators.elementwise import Elementwise
from planner.perf.operators.gemm import Gemm
from planner.perf.operators.moe import Moe
from planner.perf.work import StageWork
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.model import Model
from planner.spec.step import StepCost

REPEATED = 0.05
"""What a repeated measurement of a step differs by, the least error of a table of whole steps (80 %)."""
Z80 = 1.2816
OCTAVE = 1.0
"""Held to be inside: half and twice of what was measured."""


@dataclass(frozen=True, slots=True)
class Line:
    """log(measured / model) along log2 of one size."""

    at: Floats
    ratio: Floats

    def factor(self, size: Floats) -> Floats:
        return np.exp(np.interp(np.log2(np.maximum(size, 1e-9)), self.at, self.ratio))

    @property
    def mean(self) -> float:
        return float(np.exp(self.ratio.mean()))

    def beyond(self, least: float, most: float) -> bool:
        """Whether sizes from `least` to `most` leave the measured range."""
        return bool(np.log2(most) > self.at[-1] + OCTAVE or np.log2(least) < self.at[0] - OCTAVE)


@ESTIMATORS.register("table")
class Table:
    """The fitted estimator with the levels of a user's table."""

    def __init__(self, hardware: Hardware, profile: EngineProfile):
        board = hardware.accelerator
        if not board.measurements:
            hint = "give its catalog entry `measurements: FILE.csv` (docs/estimators.md)"
            raise BadInput(Problem(f"estimator table: {board.name} names no table", hint=hint))
        self.fitted, self.board = Fitted(hardware, profile), board.name
        self.bound, self.bandwidth = self.fitted.model.bound, hardware.bandwidth
        self.table: MeasuredTable = measured_table(board.measurements)
        self.source = f"table {board.measurements.rpartition('/')[2]} over {self.fitted.source}"

    def gemm(self, op: Gemm) -> Floats:
        rows = self.table.find("gemm", op.weights, float(op.n), float(op.k)) if op.batch == 1 else ()
        return self._scaled(op.rows, rows, self.fitted.gemm, self.bound.gemm, op, lambda x: replace(op, rows=x))

    def moe(self, op: Moe) -> Floats:
        shape = tuple(map(float, (op.experts, op.top_k, op.ep, op.width, op.inner)))
        rows = self.table.find("moe", op.weights, *shape)
        return self._scaled(op.tokens, rows, self.fitted.moe, self.bound.moe, op, lambda x: _with_tokens(op, x))

    def elementwise(self, op: Elementwise) -> Floats:
        return self.fitted.elementwise(op)

    def decode_attention(self, op: DecodeAttention, seqs: Floats, context: float) -> Floats:
        rows = self.table.find("decode_attention", *_kv(op), op.heads, op.kv_heads, float(op.head_dim))
        price = self.fitted.decode_attention(op, seqs, context)
        if not rows:
            return price
        model = np.array([self.fitted.decode_attention(op, np.array([n]), c)[0] for n, c in (r.along for r in rows)])
        least = np.array([self.bound.decode_attention(op, np.array([n]), c)[0] for n, c in (r.along for r in rows)])
        line = self._line(rows, np.array([n * c for n, c in (r.along for r in rows)]), model, least)
        return np.maximum(price * line.factor(seqs * context), self.bound.decode_attention(op, seqs, context))

    def prefill_attention(self, op: PrefillAttention, tokens: float) -> float:
        rows = self.table.find("prefill_attention", op.heads, op.kv_heads, float(op.head_dim))
        price = self.fitted.prefill_attention(op, tokens)
        if not rows:
            return price
        sizes = np.array([row.along[0] for row in rows])
        model = np.array([self.fitted.prefill_attention(op, size) for size in sizes])
        least = np.array([self.bound.prefill_attention(op, size) for size in sizes])
        factor = self._line(rows, sizes, model, least).factor(np.array([tokens]))[0]
        return max(price * float(factor), self.bound.prefill_attention(op, tokens))

    def collective(self, op: Collective) -> Floats:
        rows = self.table.find(op.kind, float(op.gpus))
        priced, bound = self.fitted.collective, self.bound.collective
        return self._scaled(op.payload, rows, priced, bound, op, lambda x: replace(op, payload=x))

    def doubts(self, work: StageWork) -> tuple[str, ...]:
        """What the fitted estimator doubts, for what the table does not hold."""
        held = [op for op in work.gemms if self.table.find("gemm", op.weights, float(op.n), float(op.k))]
        whole = sum(op.weight_bytes * op.count for op in work.gemms)
        whole += sum(op.weight_bytes * op.count for op in work.moes)
        share = sum(op.weight_bytes * op.count for op in held) / whole if whole else 1.0
        return self.fitted.doubts(work) if share < 0.5 else ()

    def settle(self, cost: StepCost, model: Model, pool: Pool) -> StepCost:
        """Measured whole steps of this model and cut set the level of decode and prefill."""
        degrees = pool.parallelism
        shape = (model.name, pool.weights, pool.kv, float(degrees.tp), float(degrees.dp), float(degrees.ep))
        decode, prefill = self.table.find("decode_step", *shape), self.table.find("prefill_step", *shape)
        if degrees.pp > 1 or degrees.cp > 1 or not (decode or prefill):
            return cost
        errors: list[float] = []
        doubts = [doubt for doubt in cost.doubts if not decode]
        if decode:
            cost, line = self._with_decode(cost, decode, pool, errors)
            if line.beyond(line_least(decode), pool.max_seqs):
                doubts.append(f"decode batches beyond those measured (up to {2 ** line.at[-1]:.0f})")
        if prefill:
            cost, line = self._with_prefill(cost, prefill, errors)
            if line.beyond(line_least(prefill), pool.max_tokens_per_step):
                doubts.append(f"prompts beyond those measured (up to {2 ** line.at[-1]:.0f} tokens)")
        spread = Z80 * float(np.sqrt(np.mean(np.square(errors)))) if errors else 0.0
        error = max(REPEATED, float(np.expm1(spread)))
        wide = error if decode and prefill and not doubts else max(error, cost.rel_error)
        return replace(cost, rel_error=wide, doubts=tuple(doubts))

    def _with_decode(
        self, cost: StepCost, rows: Sequence[Row], pool: Pool, errors: list[float]
    ) -> tuple[StepCost, Line]:
        batches, contexts = (np.array([row.along[i] for row in rows]) for i in (0, 1))
        n = np.minimum(batches, len(cost.decode_s) - 1).astype(int)
        seen = np.minimum(contexts, cost.window_tokens or np.inf)
        own = cost.decode_context_s[n] * contexts + (cost.decode_window_s[n] * seen if cost.window_tokens else 0.0)
        line = self._line(rows, batches, cost.decode_s[n] + batches * own, np.zeros(len(rows)))
        errors += list(np.log([row.seconds for row in rows]) - np.log((cost.decode_s[n] + batches * own)
                                                                     * line.factor(batches)))  # fmt: skip
        factor = line.factor(np.arange(len(cost.decode_s), dtype=float))
        scaled = {name: getattr(cost, name) * factor for name in ("decode_s", "decode_context_s", "decode_window_s")}
        return replace(cost, **scaled), line

    def _with_prefill(self, cost: StepCost, rows: Sequence[Row], errors: list[float]) -> tuple[StepCost, Line]:
        """The prefill share beside the overhead of a step; a measured step below the launch floor lowers the floor."""
        tokens = np.array([row.along[0] for row in rows])
        seconds = np.array([row.seconds for row in rows])
        grid = np.arange(len(cost.linear_s)) * float(cost.linear_stride)
        start = float(cost.decode_s[0] - cost.linear_s[0])
        model = np.interp(tokens, grid, cost.linear_s) + (cost.pair_s + cost.window_pair_s) * tokens * (tokens + 1) / 2
        share = np.maximum(seconds - start, 0.2 * seconds)
        line = self._line([replace(r, seconds=s) for r, s in zip(rows, share, strict=True)], tokens,
                          model + cost.chunk_s, np.zeros(len(rows)))  # fmt: skip
        errors += list(np.log(share) - np.log((model + cost.chunk_s) * line.factor(tokens)))
        linear = np.maximum.accumulate(cost.linear_s * line.factor(np.maximum(grid, 1.0)))
        rest = {name: getattr(cost, name) * line.mean for name in ("pair_s", "window_pair_s", "context_s", "chunk_s")}
        floor = min(cost.prefill_floor_s, float(seconds.min()))
        return replace(cost, linear_s=linear, prefill_floor_s=floor, **rest), line

    def _scaled(
        self, sizes: Floats, rows: Sequence[Row], price: Callable[..., Floats], bound: Callable[..., Floats],
        op: object, at: Callable[[Floats], object],
    ) -> Floats:  # fmt: skip
        if not rows:
            return price(op)
        measured = np.array([row.along[0] for row in rows])
        line = self._line(rows, measured, price(at(measured)), bound(at(measured)))
        return np.maximum(price(op) * line.factor(sizes), bound(op))

    def _line(self, rows: Sequence[Row], sizes: Floats, model: Floats, least: Floats) -> Line:
        """Repeats of one size count as their mean; BadInput for a time below the roofline."""
        for row, limit in zip(rows, least, strict=True):
            if row.seconds < limit * (1 - 1e-6):
                what = f"seconds: {row.seconds:.4g} is faster than {self.board} can be"
                raise BadInput(Problem(what, row.where, f"at least {limit:.4g}"))
        at = np.unique(np.log2(sizes))
        ratio = np.log(np.array([row.seconds for row in rows]) / model)
        return Line(at, np.array([ratio[np.log2(sizes) == x].mean() for x in at]))


def line_least(rows: Sequence[Row]) -> float:
    return min(row.along[0] for row in rows)


def _with_tokens(op: Moe, tokens: Floats) -> Moe:
    return replace(op, tokens=tokens, touched=np.interp(tokens, op.tokens, op.touched))


def _kv(op: DecodeAttention) -> tuple[str]:
    return ("fp8" if op.kv_bytes == 1.0 else "bf16",)
