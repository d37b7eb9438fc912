"""About: what a trace holds, in numbers to look at before planning with it. It draws and replays nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from planner.spec.requests import Chains, Floats, Ints
from planner.traffic.readers import read_named

QUANTILES = {"p1": 0.01, "p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


@dataclass(frozen=True, slots=True)
class About:
    """A trace described. Without times span_s is 0, rate and gaps_cv are None.

    failed: rows left out because the recorded service answered nothing. gaps_cv: deviation of the gaps between
    arrivals over their mean; 1 = Poisson. grid_s: times are multiples of it. input_tokens, output_tokens: by statistic.
    seen_before: share of prompt tokens that an earlier request began with too, None when the file does not say.
    """

    format: str
    requests: int
    failed: int
    span_s: float
    rate_per_s: float | None
    gaps_cv: float | None
    grid_s: float
    input_tokens: dict[str, float]
    output_tokens: dict[str, float]
    seen_before: float | None


def about(file: Path, format: str | None = None) -> About:
    """Read a trace file and describe it; BadInput as the readers say."""
    name, found = read_named(file, format)
    return About(
        format=name,
        requests=len(found),
        failed=found.failed,
        span_s=found.span_s,
        rate_per_s=found.rate_per_s,
        gaps_cv=_gaps_cv(found.arrival_s),
        grid_s=found.grid_s,
        input_tokens=_statistics(found.input_tokens),
        output_tokens=_statistics(found.output_tokens),
        seen_before=None if found.chains is None else seen_before(found.chains, found.input_tokens),
    )


def _statistics(tokens: Ints) -> dict[str, float]:
    found = {name: float(np.quantile(tokens, q, method="inverted_cdf")) for name, q in QUANTILES.items()}
    return {"mean": float(tokens.mean()), **found}


def _gaps_cv(arrival_s: Floats | None) -> float | None:
    if arrival_s is None or len(arrival_s) < 3 or arrival_s[-1] == 0:
        return None
    gaps = np.diff(arrival_s)
    return float(gaps.std() / gaps.mean())


def seen_before(chains: Chains, input_tokens: Ints) -> float:
    """Share of prompt tokens that an earlier request had in the same place: what an endless prefix cache would find."""
    if not chains.count.sum():
        return 0.0
    row = np.repeat(np.arange(len(chains.count)), chains.count)
    before = np.cumsum(chains.count) - chains.count
    links = chains.links[np.arange(len(row)) - np.repeat(before - chains.start, chains.count)]
    again = np.ones(len(links), np.bool_)
    again[np.unique(links, return_index=True)[1]] = False
    tokens = np.bincount(row[again], minlength=len(chains.count)) * chains.link_tokens
    return float(np.minimum(tokens, input_tokens).sum() / input_tokens.sum())
