"""Gaps between tokens of a request, counted in a histogram without expanding them. Quantiles are in `metrics`.

Bins split each octave into 256 equal parts (relative width at most 1/256), by exact float arithmetic, from 2**-22 s
(0.24 us) to 2**10 s; smaller and larger gaps fall into the end bins. Sums are kept apart, so means are exact.
"""

from __future__ import annotations

import math

from planner.sim.state import State

PARTS = 256
LOWEST = -22
BINS = PARTS * 32


def gap_bin(gap_s: float) -> int:
    """Bin of a gap."""
    if gap_s <= 2.0**LOWEST:
        return 0
    mantissa, exponent = math.frexp(gap_s)
    b = (exponent - 1 - LOWEST) * PARTS + int((mantissa - 0.5) * (2 * PARTS))
    return min(b, BINS - 1)


def bin_end_s(b: int) -> float:
    """Upper end of a bin."""
    mantissa = 0.5 + (b % PARTS + 1) / (2 * PARTS)
    return math.ldexp(mantissa, b // PARTS + 1 + LOWEST)


def record_gap(s: State, i: int, gap_s: float, b: int) -> None:
    """One gap of request i, which belongs in bin b."""
    request = s.request[i]
    request.largest_gap_s = max(request.largest_gap_s, gap_s)
    if i >= s.clock[0].measured_from:
        s.gap_count[request.class_index, b] += 1
        s.totals[request.class_index].gap_sum_s += gap_s


def record_ramp(s: State, first_s: float, slope_s: float, steps: int) -> None:
    """Gaps first + slope, first + 2 slope, ... of `steps` steps, each for the `tally` requests of every class."""
    j = 1
    while j <= steps:
        b = gap_bin(first_s + slope_s * j)
        last = last_in_bin(first_s, slope_s, j, steps, b)
        for c in range(s.totals.shape[0]):
            s.gap_count[c, b] += s.totals[c].tally * (last - j + 1)
        j = last + 1
    total = steps * first_s + slope_s * (steps * (steps + 1) / 2)
    for c in range(s.totals.shape[0]):
        s.totals[c].gap_sum_s += s.totals[c].tally * total


def last_in_bin(first_s: float, slope_s: float, j: int, steps: int, b: int) -> int:
    """The last step up to `steps` whose gap falls into bin b, given that the gap of step j does."""
    if slope_s <= 0.0 or b == BINS - 1:
        return steps
    end = bin_end_s(b)
    guess = (end - first_s) / slope_s
    last = steps if guess > steps else max(int(guess), j)
    while last > j and first_s + slope_s * last >= end:
        last -= 1
    while last < steps and first_s + slope_s * (last + 1) < end:
        last += 1
    return last
