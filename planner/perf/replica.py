"""build_replica: a pool of a model on hardware under an engine -> the plain numbers that the simulator evaluates.

Prices one step of the slowest pipeline stage (`planner.spec.step` has the formula). It runs no requests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from planner.engines.families import family_of
from planner.perf.correction import corrected
from planner.perf.cut import Cut, Stage, cut_of, stages_of
from planner.perf.estimators import ESTIMATORS, WHOLE_STEPS, Estimator, StepSource
from planner.perf.estimators.remembered import Itself, estimator_of
from planner.perf.hardware import Hardware
from planner.perf.memory import kv_bytes_per_token, memory_of
from planner.perf.operators.attention_decode import DecodeAttention
from planner.perf.prefill import prefill_prices
from planner.perf.work import StageWork, Tokens, stage_work
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.model import Model
from planner.spec.step import Replica, StepCost

Floats = NDArray[np.float64]
DEFAULT = "fitted"
DP_GRAIN_TOKENS = 1024.0  # prompts do not split over attention-data-parallel ranks: a step is uneven by about one
OUTSIDE = 1.3
"""Exponent on the error of a price outside what its source was made from: errors grow so from left-out groups to
left-out GPUs (TPOT 13.9/13.3 to 18.6/14.0 in the calibration study)."""
CONTEXTS = (512.0, 8192.0)  # decode attention is made affine in the context through these two


def build_replica(
    model: Model, pool: Pool, hardware: Hardware, profile: EngineProfile, *, estimator: str | None = None
) -> Replica:
    """One replica of `pool` as the simulator sees it; a replica without room for its weights has no KV blocks.

    estimator: source of step times; without one that of the accelerator's catalog entry, else DEFAULT.
    """
    estimator = estimator or hardware.accelerator.estimator or DEFAULT
    phases = ("prefill",) if _prefills_only(pool) else ("prefill", "decode")
    alike = pool.model_copy(update={"name": "any", "replicas": 1, "phases": phases})
    build = _build.__wrapped__ if hardware.accelerator.measurements else _build  # a table's file may change
    return build(model, alike, hardware, Itself(profile), estimator)


@lru_cache(maxsize=512)
def _build(model: Model, pool: Pool, hardware: Hardware, given: Itself[EngineProfile], estimator: str) -> Replica:
    """The replica of pools that are alike: searches ask for the same one under each load and role."""
    family, board = family_of(hardware.accelerator), hardware.accelerator.name
    profile = _profile_on(given, family, pool.weights, _prefills_only(pool))
    memory = memory_of(model, pool, hardware, profile)
    price = WHOLE_STEPS.get(estimator) if estimator in WHOLE_STEPS else _from_operators(estimator)
    built = Replica(
        cost=price(model, pool, hardware, profile),
        scheduler=profile.scheduler,
        max_seqs=pool.max_seqs,
        max_tokens_per_step=pool.max_tokens_per_step,
        kv_blocks=memory.kv_blocks,
        block_tokens=profile.block_tokens,
        watermark=profile.memory.watermark,
        stages=pool.parallelism.pp,
        hop_s=_hop_s(model, pool, hardware),
        dp=pool.parallelism.dp,
        request_s=profile.overhead.request_s + (profile.overhead.handover_s if _prefills_only(pool) else 0.0),
        admission_lag_steps=profile.overhead.admission_lag_steps,
        kv_bytes_per_token=kv_bytes_per_token(model, pool),
        max_context=model.max_context,
        kv_layers=len(model.layers),
    )
    measured = profile.correction(family, board, model.name, pool.weights) if estimator == DEFAULT else None
    return corrected(built, measured, pool.parallelism)


def _rel_error(profile: EngineProfile, pool: Pool, hardware: Hardware, outside: bool) -> float:
    """The profile's error; wider outside what the source was made from, unless it was stated for this GPU family."""
    family = family_of(hardware.accelerator)
    stated = (profile.families.get(key) for key in (family, f"{family}/{pool.weights}"))
    if not outside or any(patch and patch.rel_error for patch in stated):
        return profile.rel_error
    return float((1.0 + profile.rel_error) ** OUTSIDE - 1.0)


def _prefills_only(pool: Pool) -> bool:
    return pool.phases == ("prefill",)


@lru_cache(maxsize=64)
def _profile_on(given: Itself[EngineProfile], family: str, weights: str, alone: bool) -> EngineProfile:
    """The profile on a GPU family, in a pool that only prefills (alone): no decode shares its steps, so prompts run
    closer to their kernels."""
    profile = given.thing.on(family, weights)
    if not alone:
        return profile
    times = profile.multipliers
    return profile.model_copy(
        update={"multipliers": times.model_copy(update={"prefill": times.prefill * times.prefill_alone})}
    )


def _from_operators(estimator: str) -> StepSource:
    """Step prices as the sum of operators, each priced by `estimator`; the slowest stage counts."""

    def cost(model: Model, pool: Pool, hardware: Hardware, profile: EngineProfile) -> StepCost:
        cut = replace(cut_of(model, pool, hardware), quantises_apart=profile.quantises_apart)
        price = estimator_of(ESTIMATORS.get(estimator, WHOLE_STEPS), hardware, profile)
        stages = stages_of(model, pool.parallelism.pp)
        slowest = max((_price_stage(model, pool, cut, stage, price, profile) for stage in stages), key=_size)
        return price.settle(slowest, model, pool)

    return cost


def step_cost(
    model: Model, pool: Pool, hardware: Hardware, profile: EngineProfile, *, estimator: str | None = None
) -> StepCost:
    """Only the prices of `build_replica`."""
    return build_replica(model, pool, hardware, profile, estimator=estimator).cost


@dataclass(frozen=True, slots=True)
class _Decode:
    """Decode prices by sequences on one rank: `seqs` is the grid, the other arrays run along it."""

    seqs: Floats
    linear_s: Floats
    fixed_s: Floats
    context_s: Floats
    window_s: Floats


def _price_stage(
    model: Model, pool: Pool, cut: Cut, stage: Stage, price: Estimator, profile: EngineProfile
) -> StepCost:
    dp, over = pool.parallelism.dp, profile.overhead
    decode = _price_decode(model, pool, cut, stage, price)
    stride, tokens = _token_grid(pool)
    prefill_work = stage_work(model, cut, stage, _prefill_tokens(tokens, pool))
    times = profile.multipliers
    linear = np.maximum.accumulate(_linear_s(prefill_work, price, times.moe_prefill)) * times.prefill
    chunk = prefill_prices(prefill_work, cut, price).scaled(times.prefill)
    every = np.arange(0, stride * _samples(pool, stride), stride, dtype=float)
    linear_s = np.interp(every, tokens, linear)
    of_rank, rank, rounded = _batches(pool, profile)
    overhead = over.step_s + over.per_layer_s * stage.depth
    decode_s = overhead + over.per_seq_s * rank + np.interp(rounded, decode.seqs, decode.linear_s + decode.fixed_s)
    decode_s[0] = overhead + linear_s[0]
    doubts = price.doubts(prefill_work)
    return StepCost(
        decode_s=decode_s[of_rank],
        decode_context_s=(np.interp(rank, decode.seqs, decode.context_s) / dp)[of_rank],
        decode_window_s=(np.interp(rank, decode.seqs, decode.window_s) / dp)[of_rank],
        linear_s=linear_s,
        linear_stride=stride,
        pair_s=chunk.pair_s,
        window_pair_s=chunk.window_pair_s,
        context_s=chunk.context_s,
        chunk_s=over.chunk_s + chunk.chunk_s,
        prefill_floor_s=over.prefill_floor_per_layer_s * stage.depth,
        window_tokens=_window(prefill_work),
        source=price.source,
        rel_error=_rel_error(profile, pool, cut.hardware, bool(doubts)),
        doubts=doubts,
        graph_tokens=max(profile.graph_sizes, default=0) if profile.graphs_hold_prompts else 0,
    )


def _price_decode(model: Model, pool: Pool, cut: Cut, stage: Stage, price: Estimator) -> _Decode:
    """Everything that depends on the number of decode sequences alone, on a coarse grid of rank batches."""
    dp = pool.parallelism.dp
    seqs = _spread(-(-pool.max_seqs // dp))
    work = stage_work(model, cut, stage, Tokens(seqs, seqs * dp, seqs, "decode"))
    fixed, context, window = np.zeros_like(seqs), np.zeros_like(seqs), np.zeros_like(seqs)
    for op in work.decode:
        constant, slope = _affine(op, seqs, price, cut.hardware)
        fixed = fixed + constant * op.count
        if op.window:
            window = window + slope * op.count
        else:
            context = context + slope * op.count
    return _Decode(seqs, _linear_s(work, price), fixed, context, window)


def _affine(op: DecodeAttention, seqs: Floats, price: Estimator, hardware: Hardware) -> tuple[Floats, Floats]:
    """time = constant + slope * (cached tokens of all sequences), through two contexts; never below the roofline."""
    low, high = CONTEXTS if not op.window else (op.window / 4.0, float(op.window))
    at_low, at_high = price.decode_attention(op, seqs, low), price.decode_attention(op, seqs, high)
    peak = hardware.flop_per_s(hardware.rate("bf16"))
    least = max(op.bytes_per_token / hardware.bandwidth, op.flop_per_token / peak)
    slope = np.maximum((at_high - at_low) / (seqs * (high - low)), least)
    return np.maximum(at_low - slope * seqs * low, 0.0), slope


def _linear_s(work: StageWork, price: Estimator, moe_factor: float = 1.0) -> Floats:
    """Token-proportional operators and messages of a stage, [tokens]."""
    parts = [price.gemm(op) * op.count for op in work.gemms]
    parts += [price.moe(op) * op.count * moe_factor for op in work.moes]
    parts += [price.elementwise(op) * op.count for op in work.passes]
    parts += [price.collective(op) * op.count for op in work.messages]
    return np.asarray(sum(parts))


def _prefill_tokens(tokens: Floats, pool: Pool) -> Tokens:
    """cp ranks hold copies of all weights and share the tokens, so each with its experts sees a part of the step."""
    cp, most = pool.parallelism.cp, pool.max_tokens_per_step
    return Tokens(_hot_tokens(tokens, pool.parallelism.dp, most) / cp, tokens / cp, np.ones_like(tokens), "prefill")


def _hot_tokens(tokens: Floats, dp: int, most: int) -> Floats:
    """Prompt tokens of the fullest attention-data-parallel rank; none gets more than its share of a full step."""
    uneven = tokens / dp + np.minimum(tokens, DP_GRAIN_TOKENS) * (1.0 - 1.0 / dp)
    return np.minimum(uneven, np.maximum(most / dp, tokens / dp))


def _batches(pool: Pool, profile: EngineProfile) -> tuple[NDArray[np.int64], Floats, Floats]:
    """For 0..max_seqs sequences of the replica those on the fullest rank; and for each number of these, itself and the
    captured batch that runs them."""
    of_rank = -(-np.arange(pool.max_seqs + 1) // pool.parallelism.dp)
    rank = np.arange(of_rank[-1] + 1, dtype=float)
    if not profile.graph_sizes:
        return of_rank, rank, rank
    sizes = np.array(profile.graph_sizes, dtype=float)
    place = np.searchsorted(sizes, rank)
    rounded = np.where(place < len(sizes), sizes[np.minimum(place, len(sizes) - 1)], rank)
    return of_rank, rank, np.maximum(rounded, 1.0)


def _token_grid(pool: Pool) -> tuple[int, Floats]:
    """Stride of `linear_s`, and the token counts at which it is computed."""
    most = pool.max_tokens_per_step + pool.max_seqs
    stride = max(8, 1 << max(0, (most // 512).bit_length() - 1))
    return stride, _spread(stride * _samples(pool, stride))


def _samples(pool: Pool, stride: int) -> int:
    return -(-(pool.max_tokens_per_step + pool.max_seqs) // stride) + 2


def _spread(most: int) -> Floats:
    """1..most: every count up to 4, then eight per octave on multiples of the step that kernels care for."""
    counts = [1.0, 2.0, 3.0, 4.0]
    while counts[-1] < most:
        counts.append(counts[-1] + max(2.0, 2.0 ** np.floor(np.log2(counts[-1]) - 2.0)))
    return np.array([c for c in counts if c < most] + [float(most)]) if most > 1 else np.array([1.0, 2.0])


def _window(work: StageWork) -> int:
    """One window serves all windowed layers of a stage: the widest."""
    return max((op.window for op in work.decode), default=0)


def _size(cost: StepCost) -> float:
    return float(cost.decode_s[-1] + cost.linear_s[-1])


def _hop_s(model: Model, pool: Pool, hardware: Hardware) -> float:
    """Activations of a decode batch to the next stage."""
    if pool.parallelism.pp == 1:
        return 0.0
    outside = pool.parallelism.gpus > hardware.node.accelerators
    fabric = hardware.scaleout if outside else hardware.scaleup
    speed = hardware.nic if outside else hardware.link
    moved = pool.max_seqs / pool.parallelism.dp * model.hidden * 2.0 / pool.parallelism.tp
    return ((fabric.alpha_s if fabric else 0.0) or 10e-6) + moved / (0.9 * speed)
