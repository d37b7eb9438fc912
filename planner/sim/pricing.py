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

    step = layers * x / per_s with x = token[N] + prefill[ceil-blocks of cached tokens][root mean square chunk]
    + decode[n][ceil(mean context / bucket)]; N = all tokens. A second chunk or decode multiplies its part by `several`.
    """

    token: Floats
    decode: Floats
    prefill: Floats
    bucket: int
    several: float
    layers: float
    per_s: float


def linear_s(s: State, p: int, tokens: int) -> float:
    """Token-proportional time, interpolated between samples; the last segment continues."""
    stride = s.pool[p].linear_stride
    k = min(tokens // stride, s.pool[p].linear_points - 2)
    low, high = s.linear_s[p, k], s.linear_s[p, k + 1]
    return float(low + (high - low) * ((tokens - k * stride) / stride))


def windowed_pairs(cached: int, new: int, window: int) -> int:
    """Query-context pairs of `new` queries after `cached` tokens when each sees at most `window`, itself included."""
    short = min(max(window - cached, 0), new)
    return short * cached + short * (short + 1) // 2 + (new - short) * window


def price(s: State, r: int, slot: int) -> float:
    """Seconds of the step in flight[r, slot]; fills its decode, chunk, context and pair counts."""
    flight, request = s.flight, s.request
    p = s.replica[r].pool
    window = s.pool[p].window
    decodes = chunks = chunk_tokens = context = in_window = cached = pairs = window_pairs = 0
    for k in range(flight[r, slot].requests):
        i, new = s.batch[r, slot, k].request, s.batch[r, slot, k].tokens
        done = request[i].done
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
    flight[r, slot].decodes = decodes
    flight[r, slot].chunks = chunks
    flight[r, slot].chunk_tokens = chunk_tokens
    flight[r, slot].context = context
    flight[r, slot].pairs = pairs
    if s.pool[p].cost_kind != STEP_COST:
        return table_price(s, r, slot)
    decode = s.decode_price
    step = decode[p, decodes].fixed_s + decode[p, decodes].context_s * context + decode[p, decodes].window_s * in_window
    if chunks == 0:
        return float(step)
    ranks = min(s.pool[p].dp, chunks)
    attention = (
        s.pool[p].pair_s * pairs
        + s.pool[p].window_pair_s * window_pairs
        + s.pool[p].context_s * cached
        + s.pool[p].chunk_s * chunks
    ) / ranks
    step += linear_s(s, p, decodes + chunk_tokens) - linear_s(s, p, decodes) + attention
    return float(max(step, s.pool[p].prefill_floor_s))


def table_price(s: State, r: int, slot: int) -> float:
    """The same for a TableCost."""
    flight, p = s.flight, s.replica[r].pool
    bucket, several = s.pool[p].bucket, s.pool[p].several
    decodes, chunks = flight[r, slot].decodes, flight[r, slot].chunks
    x = s.linear_s[p, decodes + flight[r, slot].chunk_tokens]
    if chunks > 0:
        rows = squares = 0
        for k in range(flight[r, slot].requests):
            new = s.batch[r, slot, k].tokens
            if new > 0:
                rows += (s.request[s.batch[r, slot, k].request].done + bucket - 1) // bucket
                squares += new * new
        part = s.prefill_table[rows, half_even(math.sqrt(squares))]
        x += part * several if chunks > 1 else part
    if decodes > 0:
        mean = flight[r, slot].context // decodes
        part = s.decode_table[decodes, (mean + bucket - 1) // bucket]
        x += part * several if decodes > 1 else part
    return float(s.pool[p].layers * x / s.pool[p].per_s)


def half_even(x: float) -> int:
    """Round to the nearest integer, halves to even, for x >= 0."""
    low = int(math.floor(x))
    rest = x - low
    if rest > 0.5 or (rest == 0.5 and low % 2 == 1):
        return low + 1
    return low


def slope_s(s: State, r: int, slot: int) -> float:
    """What each further decode step of the same batch costs more than the one before, while `affine_steps` hold."""
    p = s.replica[r].pool
    if s.pool[p].cost_kind != STEP_COST:
        return 0.0
    n = s.flight[r, slot].decodes
    window, inside = s.pool[p].window, 0
    if window > 0:
        for k in range(n):
            if s.request[s.batch[r, slot, k].request].done < window:
                inside += 1
    return float(s.decode_price[p, n].context_s * n + s.decode_price[p, n].window_s * inside)


def affine_steps(s: State, r: int, slot: int, most: int) -> int:
    """Up to `most` decode steps whose price rises by the same amount each: no window fills, no bucket changes."""
    p = s.replica[r].pool
    n = s.flight[r, slot].decodes
    if s.pool[p].cost_kind != STEP_COST:
        bucket = s.pool[p].bucket
        mean = s.flight[r, slot].context // n
        return min(most, bucket * ((mean + bucket - 1) // bucket) - mean + 1)
    window = s.pool[p].window
    if window > 0:
        for k in range(n):
            done = s.request[s.batch[r, slot, k].request].done
            if done < window:
                most = min(most, window - done + 1)
    return most
