"""Seconds of one engine step from the replica's price tables. Not where the prices come from (`planner.perf`).

Two kinds: StepCost (the formula in `planner.spec.step`) and TableCost, a plain look-up by token counts.
With attention-data-parallel ranks the chunks of a step are spread evenly: everything attention does for chunks is
divided by min(dp, chunks). The decode tables are indexed by the whole batch and account for dp themselves. The context
of a decode is all tokens it attends to, the newest included: input + 1 in its first decode step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

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
    pool = s.pool[p]
    k = min(tokens // pool.linear_stride, pool.linear_points - 2)
    low, high = s.linear_s[p, k], s.linear_s[p, k + 1]
    return float(low + (high - low) * ((tokens - k * pool.linear_stride) / pool.linear_stride))


def windowed_pairs(cached: int, new: int, window: int) -> int:
    """Query-context pairs of `new` queries after `cached` tokens when each sees at most `window`, itself included."""
    short = min(max(window - cached, 0), new)
    return short * cached + short * (short + 1) // 2 + (new - short) * window


def count(s: State, r: int, flight: Any, seats: Any, window: int) -> None:
    """Fill the counts of a flight that its price rests on."""
    decodes = context = in_window = chunks = chunk_tokens = cached = pairs = window_pairs = 0
    if flight.crowd > 0:
        crowd = s.crowd[r, flight.crew]
        decodes, context, in_window = crowd.size, crowd.context, crowd.window
    for k in range(flight.requests):
        new, done = seats[k].tokens, s.request[seats[k].request].done
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
    flight.decodes, flight.context, flight.in_window = decodes, context, in_window
    flight.chunks, flight.chunk_tokens, flight.cached = chunks, chunk_tokens, cached
    flight.pairs, flight.window_pairs = pairs, window_pairs


def price(s: State, r: int, slot: int) -> float:
    """Seconds of the step in flight[r, slot], whose counts it fills."""
    flight, p = s.flight[r, slot], s.replica[r].pool
    pool = s.pool[p]
    count(s, r, flight, s.batch[r, slot], pool.window)
    if pool.cost_kind != STEP_COST:
        return table_price(s, r, slot)
    n = flight.decodes
    decode = s.decode_price[p, n]
    step = decode.fixed_s + decode.context_s * flight.context + decode.window_s * flight.in_window
    if flight.chunks == 0:
        return float(step)
    attention = pool.pair_s * flight.pairs + pool.window_pair_s * flight.window_pairs
    attention += pool.context_s * flight.cached + pool.chunk_s * flight.chunks
    step += linear_s(s, p, n + flight.chunk_tokens) - linear_s(s, p, n) + attention / min(pool.dp, flight.chunks)
    captured = n + flight.chunk_tokens <= pool.graph_tokens
    return float(step if captured else max(step, pool.prefill_floor_s))


def table_price(s: State, r: int, slot: int) -> float:
    """The same for a TableCost; the token table stands in `linear_s`."""
    flight, seats, p = s.flight[r, slot], s.batch[r, slot], s.replica[r].pool
    bucket, several = s.pool[p].bucket, s.pool[p].several
    x = s.linear_s[p, flight.decodes + flight.chunk_tokens]
    if flight.chunks > 0:
        rows = squares = 0
        for k in range(flight.requests):
            if seats[k].tokens > 0:
                rows += (s.request[seats[k].request].done + bucket - 1) // bucket
                squares += seats[k].tokens * seats[k].tokens
        part = s.prefill_table[rows, half_even(math.sqrt(squares))]
        x += part * several if flight.chunks > 1 else part
    if flight.decodes > 0:
        mean = flight.context // flight.decodes
        part = s.decode_table[flight.decodes, (mean + bucket - 1) // bucket]
        x += part * several if flight.decodes > 1 else part
    return float(s.pool[p].layers * x / s.pool[p].per_s)


def half_even(x: float) -> int:
    """Round to the nearest integer, halves to even, for x >= 0."""
    low = int(math.floor(x))
    rest = x - low
    if rest > 0.5 or (rest == 0.5 and low % 2 == 1):
        return low + 1
    return low


def affine(s: State, r: int, slot: int, most: int) -> tuple[int, float]:
    """How many decode steps of a flight, up to `most`, have prices that rise evenly, and by how many seconds each.

    The next one after them sees a window fill up or a bucket change.
    """
    flight, seats, p = s.flight[r, slot], s.batch[r, slot], s.replica[r].pool
    pool, n = s.pool[p], flight.decodes
    if pool.cost_kind != STEP_COST:
        mean = flight.context // n
        return min(most, pool.bucket * ((mean + pool.bucket - 1) // pool.bucket) - mean + 1), 0.0
    inside = s.crowd[r, 0].inside
    if pool.window > 0:
        for k in range(flight.requests):
            room = pool.window - s.request[seats[k].request].done
            if room > 0:
                inside += 1
                most = min(most, room + 1)
    return most, s.decode_price[p, n].context_s * n + s.decode_price[p, n].window_s * inside
