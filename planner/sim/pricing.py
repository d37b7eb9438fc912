"""Seconds of one engine step from the replica's price tables. Not where the prices come from (`planner.perf`).

Two kinds: StepCost (the formula in `planner.spec.step`) and TableCost, a plain look-up by token counts.
With attention-data-parallel ranks the chunks of a step are spread evenly: everything attention does for chunks is divided
by min(dp, chunks). The decode tables are indexed by the whole batch and account for dp themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.sim.state import STEP_COST, State

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TableCost:
    """Step prices looked up by token counts, as profilers that interpolate nothing publish them. At most one per run.

    step = repeat * x / per_s with x = token[N] + prefill[ceil-blocks of cached tokens][root mean square chunk]
    + decode[n][ceil(mean context / bucket)]; N = all tokens. A second chunk or decode multiplies its part by `several`.
    """

    token: Floats
    decode: Floats
    prefill: Floats
    bucket: int
    several: float
    repeat: float
    per_s: float


def linear_s(s: State, p: int, tokens: int) -> float:
    """Token-proportional time, interpolated between samples; the last segment continues."""
    stride = s.pool.linear_stride[p]
    k = min(tokens // stride, s.pool.linear_points[p] - 2)
    low, high = s.linear_s[p, k], s.linear_s[p, k + 1]
    return float(low + (high - low) * ((tokens - k * stride) / stride))


def windowed_pairs(cached: int, new: int, window: int) -> int:
    """Query-context pairs of `new` queries after `cached` tokens when each sees at most `window`, itself included."""
    short = min(max(window - cached, 0), new)
    return short * cached + short * (short + 1) // 2 + (new - short) * window


def price(s: State, r: int, slot: int) -> float:
    """Seconds of the step in flight[r, slot]; fills its decode, chunk, context and pair counts."""
    flight, request = s.flight, s.request
    p = s.replica.pool[r]
    window = s.pool.window[p]
    decodes = chunks = chunk_tokens = context = in_window = cached = pairs = window_pairs = 0
    for k in range(flight.requests[r, slot]):
        i, new = s.batch[r, slot, k], s.chunk[r, slot, k]
        done = request.done[i]
        if new == 0:
            decodes += 1
            context += done
            in_window += min(done, window)
        else:
            chunks += 1
            chunk_tokens += new
            cached += done
            pairs += new * done + new * (new + 1) // 2
            if window > 0:
                window_pairs += windowed_pairs(done, new, window)
    flight.decodes[r, slot] = decodes
    flight.chunks[r, slot] = chunks
    flight.chunk_tokens[r, slot] = chunk_tokens
    flight.context[r, slot] = context
    flight.pairs[r, slot] = pairs
    if s.pool.cost_kind[p] != STEP_COST:
        return table_price(s, r, slot)
    step = (
        s.decode_s[p, decodes] + s.decode_context_s[p, decodes] * context + s.decode_window_s[p, decodes] * in_window
    )
    if chunks == 0:
        return float(step)
    ranks = min(s.pool.dp[p], chunks)
    attention = (
        s.pool.pair_s[p] * pairs
        + s.pool.window_pair_s[p] * window_pairs
        + s.pool.context_s[p] * cached
        + s.pool.chunk_s[p] * chunks
    ) / ranks
    step += linear_s(s, p, decodes + chunk_tokens) - linear_s(s, p, decodes) + attention
    return float(max(step, s.pool.prefill_floor_s[p]))


def table_price(s: State, r: int, slot: int) -> float:
    """The same for a TableCost; scale = (bucket, several, repeat, per_s)."""
    flight, scale = s.flight, s.table_scale
    bucket, several = int(scale[0]), scale[1]
    decodes, chunks = flight.decodes[r, slot], flight.chunks[r, slot]
    x = s.token_table[decodes + flight.chunk_tokens[r, slot]]
    if chunks > 0:
        rows = squares = 0
        for k in range(flight.requests[r, slot]):
            new = s.chunk[r, slot, k]
            if new > 0:
                rows += (s.request.done[s.batch[r, slot, k]] + bucket - 1) // bucket
                squares += new * new
        part = s.prefill_table[rows, half_even(math.sqrt(squares))]
        x += part * several if chunks > 1 else part
    if decodes > 0:
        mean = flight.context[r, slot] // decodes
        part = s.decode_table[decodes, (mean + bucket - 1) // bucket]
        x += part * several if decodes > 1 else part
    return float(scale[2] * x / scale[3])


def half_even(x: float) -> int:
    """Round to the nearest integer, halves to even, for x >= 0."""
    low = int(math.floor(x))
    rest = x - low
    if rest > 0.5 or (rest == 0.5 and low % 2 == 1):
        return low + 1
    return low


def slope_s(s: State, r: int, slot: int) -> float:
    """What each further decode step of the same batch costs more than the one before, while `affine_steps` hold."""
    p = s.replica.pool[r]
    if s.pool.cost_kind[p] != STEP_COST:
        return 0.0
    n = s.flight.decodes[r, slot]
    window, inside = s.pool.window[p], 0
    if window > 0:
        for k in range(n):
            if s.request.done[s.batch[r, slot, k]] < window:
                inside += 1
    return float(s.decode_context_s[p, n] * n + s.decode_window_s[p, n] * inside)


def affine_steps(s: State, r: int, slot: int, most: int) -> int:
    """Up to `most` decode steps whose price rises by the same amount each: no window fills, no bucket changes."""
    p = s.replica.pool[r]
    n = s.flight.decodes[r, slot]
    if s.pool.cost_kind[p] != STEP_COST:
        bucket = int(s.table_scale[0])
        mean = s.flight.context[r, slot] // n
        return min(most, bucket * ((mean + bucket - 1) // bucket) - mean + 1)
    window = s.pool.window[p]
    if window > 0:
        for k in range(n):
            done = s.request.done[s.batch[r, slot, k]]
            if done < window:
                most = min(most, window - done + 1)
    return most
