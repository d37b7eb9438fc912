"""Bounds: what no schedule can beat - most requests per second of a replica, least latency of a request. No simulation.

The capacity bound comes from the replica's own price table, so it bounds the simulator, not nature; the physical floor
(weights over bandwidth, FLOP over peak) is for words when nothing can meet an SLO.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.perf.hardware import Hardware
from planner.search.space import Candidate
from planner.sim.metrics import LEVELS
from planner.spec.counting import active_parameters
from planner.spec.model import Model
from planner.spec.precision import BYTES_PER_WEIGHT
from planner.spec.requests import Requests
from planner.spec.slo import Slo
from planner.spec.step import Replica, StepCost

Floats = NDArray[np.float64]


def capacity_bound(replica: Replica, requests: Requests, role: str) -> float:
    """Requests per second of one replica that no batching can exceed, for traffic like `requests`."""
    busy_s = 0.0
    if role != "decode":
        busy_s += prefill_floor_s(replica, requests)
    if role != "prefill":
        busy_s += decode_floor_s(replica, requests)
    return len(requests) / busy_s if busy_s > 0 else np.inf


def promised_bound(replica: Replica, requests: Requests, role: str, slos: Mapping[str, Slo]) -> float:
    """As `capacity_bound` where promises are kept: no schedule serves more per second and keeps each TPOT promised."""
    if role == "prefill":
        return capacity_bound(replica, requests, role)
    busy_s = prefill_floor_s(replica, requests) if role == "aggregated" else 0.0
    busy_s += max(decode_floor_s(replica, requests), promised_decode_s(replica, requests, slos))
    return len(requests) / busy_s if busy_s > 0 else np.inf


def promised_decode_s(replica: Replica, requests: Requests, slos: Mapping[str, Slo]) -> float:
    """Least time of the decode steps of all requests if as many as promised keep their mean time per token.

    A step of n sequences takes x >= A + B n seconds, of which each token costs x / n >= B x / (x - A). That is convex
    in x, so tokens whose steps last L on average cost at least B L / (L - A) each (Jensen), whatever else shares the
    steps. Requests that may come late cost what they do in the cheapest step. Any line below the steps will do.
    """
    cost, after_first = replica.cost, (requests.output_tokens - 1).astype(float)
    most = min(replica.max_seqs, len(cost.decode_s) - 1)
    shared, slope = float(requests.input_tokens.min()), float(np.min(cost.decode_context_s[1 : most + 1]))
    n = np.arange(1, most + 1)
    lasting = cost.decode_s[1 : most + 1] + slope * shared * n
    cheapest = float(np.min(lasting / n))
    total = slope * float(np.sum(after_first * (requests.input_tokens + requests.output_tokens / 2 - shared)))
    for number, name in enumerate(requests.class_names):
        tokens = np.sort(after_first[requests.class_index == number])
        limit_s, share = tpot_limit(slos[name])
        kept = float(tokens[: int(share * len(tokens))].sum())
        each = max(cheapest, _token_s(lasting, limit_s / replica.stages)) if kept else cheapest
        total += kept * each + (float(tokens.sum()) - kept) * cheapest
    return total


def tpot_limit(slo: Slo) -> tuple[float, float]:
    """(seconds, share of the requests that must keep them): the tightest promise about TPOT; a mean counts as none."""
    stated = [(limit, LEVELS[name]) for metric, name, limit in slo.targets if metric == "tpot" and name in LEVELS]
    if "tpot" in slo.per_request:
        stated.append((slo.per_request["tpot"], slo.attainment))
    return max(stated, key=lambda row: row[1] / row[0], default=(np.inf, 0.0))


def _token_s(lasting: Floats, limit_s: float) -> float:
    """Least cost of a token in steps that last `limit_s` on average: the best of a few lines below `lasting`."""
    n = np.arange(1, len(lasting) + 1)
    fits = int(np.searchsorted(lasting, limit_s))
    found = 0.0
    for end in {len(lasting) - 1, min(fits, len(lasting) - 1), min(2 * fits, len(lasting) - 1)} - {0}:
        slope = max(float(lasting[end] - lasting[0]) / end, 0.0)
        start = float(np.min(lasting - slope * n))
        if start > 0.0:
            found = max(found, slope * limit_s / (limit_s - start) if limit_s > start else np.inf)
    return found


def computed(requests: Requests) -> tuple[Floats, Floats]:
    """Per request: prompt tokens to compute, and query-key pairs; what a prefix cache holds costs no tokens."""
    prompt = requests.input_tokens.astype(float)
    cached = np.zeros_like(prompt) if requests.cached_tokens is None else requests.cached_tokens.astype(float)
    return prompt - cached, (prompt * (prompt + 1) - cached * (cached + 1)) / 2


def prefill_floor_s(replica: Replica, requests: Requests) -> float:
    """Least time to prefill all requests: every token at the cheapest slope of the linear part, every pair once.

    A chunk of q tokens adds at least q times the least slope. Attention-data-parallel ranks share the pairs evenly at
    best; windows are taken to save all of them.
    """
    cost, (tokens, pairs) = replica.cost, computed(requests)
    slope = float(np.min(np.diff(cost.linear_s))) / cost.linear_stride
    return max(slope, 0.0) * float(tokens.sum()) + cost.pair_s * float(pairs.sum()) / replica.dp


def least_ttft_s(replica: Replica, requests: Requests) -> Floats:
    """Per request: time to its first token in an empty replica: its chunks in turn, the last through all stages."""
    cost, (tokens, pairs) = replica.cost, computed(requests)
    budget, start_s = float(replica.max_tokens_per_step), cost.decode_s[0] - cost.linear_s[0]
    full, rest = np.divmod(tokens, budget)
    full, rest = np.where(rest > 0, full, full - 1), np.where(rest > 0, rest, budget)
    whole_s = np.maximum(start_s + _linear_s(cost, np.array([budget]))[0], cost.prefill_floor_s)
    last_s = np.maximum(start_s + _linear_s(cost, rest), cost.prefill_floor_s)
    computing = full * whole_s + last_s
    reading = np.maximum(cost.pair_s * pairs - (full + 1) * cost.prefill_floor_s, 0.0)
    return np.asarray(replica.request_s + computing + reading + (replica.stages - 1) * (last_s + replica.hop_s))


def _linear_s(cost: StepCost, tokens: Floats) -> Floats:
    return np.interp(tokens, np.arange(len(cost.linear_s)) * float(cost.linear_stride), cost.linear_s)


def least_tpot_s(replica: Replica, requests: Requests) -> Floats:
    """Per request: mean time of its decode steps when it decodes alone; nan for one output token."""
    cost, outputs = replica.cost, requests.output_tokens.astype(float)
    context = requests.input_tokens + outputs / 2
    least = np.minimum.accumulate(cost.decode_s[:0:-1])[-1] + float(np.min(cost.decode_context_s[1:])) * context
    return np.where(outputs > 1, replica.stages * least + (replica.stages - 1) * replica.hop_s, np.nan)


def decode_floor_s(replica: Replica, requests: Requests) -> float:
    """Least time to decode all requests: the better of two bounds on steps.

    Each decode token costs at least min over n of decode_s[n] / n; and the steps are at least as many as the cache and
    the batch limit demand, each costing the intercept of a line below decode_s.
    """
    cost, after_first = replica.cost, (requests.output_tokens - 1).astype(float)
    tokens = float(after_first.sum())
    context = float(np.sum(after_first * (requests.input_tokens + requests.output_tokens / 2)))
    most = min(replica.max_seqs, len(cost.decode_s) - 1)
    n = np.arange(1, most + 1)
    batch_s = cost.decode_s[1 : most + 1]
    reading_s = float(np.min(cost.decode_context_s[1 : most + 1])) * context
    cache = replica.kv_blocks * replica.block_tokens
    steps = max(context / cache if cache else 0.0, tokens / most)
    slope = max(float(batch_s[-1] - batch_s[0]) / most, 0.0)
    intercept = max(float(np.min(batch_s - slope * n)), 0.0)
    per_token_s = float(np.min(batch_s / n))
    return reading_s + max(tokens * per_token_s, steps * intercept + tokens * slope)


@dataclass(frozen=True, slots=True)
class Floor:
    """Least seconds that physics allows, and the term that sets it."""

    seconds: float
    term: str


def tpot_floor(model: Model, candidate: Candidate, hardware: Hardware) -> Floor:
    """A decode step reads the active weights once from the memories of one replica."""
    size = active_parameters(model) * BYTES_PER_WEIGHT[candidate.weights]
    ranks = candidate.tp * candidate.dp
    seconds = size / (hardware.bandwidth * ranks)
    return Floor(seconds, f"{size / 1e9:.1f} GB of active weights over {ranks} x {hardware.bandwidth / 1e12:.2f} TB/s")


def ttft_floor(model: Model, candidate: Candidate, hardware: Hardware, input_tokens: float) -> Floor:
    """A prompt costs two FLOP per active parameter and token on the ranks that share it."""
    flop = 2.0 * active_parameters(model) * input_tokens
    peak = hardware.flop_per_s(hardware.rate(candidate.weights))
    ranks = candidate.tp * candidate.dp * candidate.cp
    seconds = flop / (peak * ranks)
    return Floor(seconds, f"{flop / 1e12:.1f} TFLOP of prefill over {ranks} x {peak / 1e12:.0f} TFLOP/s")
