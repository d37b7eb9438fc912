"""Whole steps from the step oracle of the PyPI package aiconfigurator-core 0.12 (extra `serveplan[silicon]`).

The one file that imports it. Its times are measured kernels added up without the host, so the overheads of the engine
profile come on top. Shapes there are homogeneous: a step is sampled with equal contexts and made affine in them.
Anything the tables lack is refused with the package's own words, never replaced by a guess.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from planner.errors import BadInput, NotPriced, Problem, did_you_mean
from planner.perf.cut import cut_of
from planner.perf.estimators.base import WHOLE_STEPS
from planner.perf.hardware import Hardware
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile
from planner.spec.model import Model
from planner.spec.step import StepCost

Floats = NDArray[np.float64]

SUPPORTED = "0.12."
SYSTEMS = {
    "a100-sxm4-80gb": "a100_sxm", "h100-sxm5-80gb": "h100_sxm", "h200-sxm-141gb": "h200_sxm",
    "b200-sxm-180gb": "b200_sxm", "b300-sxm-288gb": "b300_sxm", "gb200-nvl72": "gb200", "gb300-nvl72": "gb300",
    "l40s": "l40s", "rtx-pro-6000-blackwell-server": "rtx_pro_6000_server",
}  # fmt: skip
GEMM_MODES = {"bf16": "bfloat16", "fp16": "bfloat16", "fp8": "fp8", "nvfp4": "nvfp4", "int4": "int4_wo"}
MOE_MODES = {**GEMM_MODES, "mxfp4": "w4a16_mxfp4"}
CONTEXTS = (512, 8192)
PROMPT = 4096
REL_ERROR = 0.25
"""80 % half-width of a step: TPOT errors of the package on the public samples (median 18.5 %, mean 21.4 %)."""


class Sampled(NamedTuple):
    """What the oracle says, seconds: decode intercept and slope by batch, prompts by tokens, one query-key pair."""

    seqs: Floats
    fixed_s: Floats
    context_s: Floats
    tokens: Floats
    linear_s: Floats
    pair_s: float


@WHOLE_STEPS.register("silicon")
def silicon_step_cost(model: Model, pool: Pool, hardware: Hardware, profile: EngineProfile) -> StepCost:
    """Step prices of one replica from measured kernels; NotPriced names what the package does not know."""
    sampled = _sampled(model, pool.model_copy(update={"name": "any", "replicas": 1}), hardware, profile.engine)
    over, depth, stages = profile.overhead, len(model.layers), pool.parallelism.pp
    stride = max(8, (pool.max_tokens_per_step + pool.max_seqs) // 2048)
    tokens = np.arange(0, pool.max_tokens_per_step + pool.max_seqs + 2 * stride, stride, dtype=float)
    seqs = np.arange(pool.max_seqs + 1, dtype=float)
    host = over.step_s + (over.per_layer_s * depth) / stages
    decode_s = (
        host + over.per_seq_s * seqs / pool.parallelism.dp + np.interp(seqs, sampled.seqs, sampled.fixed_s) / stages
    )
    decode_s[0] = host
    return StepCost(
        decode_s=decode_s,
        decode_context_s=np.interp(seqs, sampled.seqs, sampled.context_s) / stages,
        decode_window_s=np.zeros_like(seqs),
        linear_s=np.interp(tokens, sampled.tokens, sampled.linear_s) / stages,
        linear_stride=stride,
        pair_s=sampled.pair_s / stages,
        window_pair_s=0.0,
        context_s=0.0,
        chunk_s=over.chunk_s,
        prefill_floor_s=over.prefill_floor_per_layer_s * depth / stages,
        window_tokens=0,
        source=f"aiconfigurator-core {SYSTEMS[hardware.accelerator.name]} {profile.engine}",
        rel_error=REL_ERROR,
    )


@lru_cache(maxsize=512)
def _sampled(model: Model, pool: Pool, hardware: Hardware, engine: str) -> Sampled:
    """Asked once for each cut: admission, evaluation and confirmation of a search price the same pools."""
    try:
        return _sample(_oracle(model, pool, hardware, engine), pool)
    except (ValueError, RuntimeError) as refused:  # the bases of every error of the package
        where = f"{model.name} {pool.weights} at {pool.parallelism} on {hardware.accelerator.name} under {engine}"
        raise NotPriced(Problem(f"silicon: {where}: {refused}")) from refused


def _sample(oracle: Any, pool: Pool) -> Sampled:
    dp = pool.parallelism.dp
    ranks = np.unique(np.geomspace(1, max(1, pool.max_seqs // dp), 14).round())
    low, high = (np.array([oracle.decode_step_latency(int(n), c, 2) for n in ranks]) * 1e-3 for c in CONTEXTS)
    slope = np.maximum(high - low, 0.0) / (ranks * (CONTEXTS[1] - CONTEXTS[0]))
    tokens = np.unique(np.geomspace(16, max(32, pool.max_tokens_per_step), 12).round())
    whole = np.array([oracle.predict_prefill_latency(1, int(t)) for t in tokens]) * 1e-3
    # The same tokens as one prompt and as four differ only in their query-key pairs.
    split_s = (oracle.predict_prefill_latency(1, PROMPT) - oracle.predict_prefill_latency(4, PROMPT // 4)) * 1e-3
    pair_s = max(split_s, 0.0) / (PROMPT**2 / 2 * (1 - 1 / 4))
    linear = np.maximum.accumulate(np.maximum(whole - pair_s * tokens**2 / 2, 0.0))
    return Sampled(
        np.concatenate([[0.0], ranks * dp]), np.concatenate([[0.0], low - slope * ranks * CONTEXTS[0]]),
        np.concatenate([[slope[0]], slope]) / dp, np.concatenate([[0.0], tokens * dp]),
        np.concatenate([[0.0], linear]), pair_s / dp,
    )  # fmt: skip


def _oracle(model: Model, pool: Pool, hardware: Hardware, engine: str) -> Any:
    """The compiled step oracle of this model, cut and formats."""
    core = _package()
    from aiconfigurator_core.sdk.engine import compile_engine

    system = SYSTEMS.get(hardware.accelerator.name)
    if system is None:
        raise NotPriced(
            Problem(f"silicon: no operator tables of {hardware.accelerator.name}", hint=f"known: {', '.join(SYSTEMS)}")
        )
    degrees, cut = pool.parallelism, cut_of(model, pool, hardware)
    spec = compile_engine(
        _bundled_id(core, model), system, engine,
        tp_size=degrees.tp, pp_size=degrees.pp, attention_dp_size=degrees.dp,
        moe_tp_size=int(cut.expert_tp) if model.is_moe else None, moe_ep_size=degrees.ep if model.is_moe else None,
        gemm_quant_mode=_mode(GEMM_MODES, cut.formats.attention, cut.block_scaled),
        moe_quant_mode=_mode(MOE_MODES, cut.formats.experts, cut.block_scaled) if model.is_moe else None,
        kvcache_quant_mode="fp8" if pool.kv == "fp8" else "bfloat16", fmha_quant_mode="bfloat16",
    )  # fmt: skip
    return core.AicEngine.from_spec(spec)


def _bundled_id(core: Any, model: Model) -> str:
    """Hub id under which the package carries this architecture; it would ask the network for any other."""
    folder = Path(core.__file__).parent / "model_configs"
    ids = [f.name.removesuffix("_config.json").replace("--", "/", 1) for f in sorted(folder.glob("*_config.json"))]
    for known in ids:
        if known == model.hf_id or known.split("/")[-1].lower().removeprefix("meta-") == model.name:
            return known
    raise NotPriced(
        Problem(f"silicon: no tables for the architecture of {model.name}", hint=did_you_mean(model.hf_id, ids))
    )


def _mode(modes: dict[str, str], weights: str, block_scaled: bool) -> str:
    if weights not in modes:
        raise NotPriced(Problem(f"silicon: no tables of {weights} weights", hint=f"known: {', '.join(modes)}"))
    return "fp8_block" if weights == "fp8" and block_scaled else modes[weights]


def _package() -> Any:
    try:
        found = version("aiconfigurator-core")
    except PackageNotFoundError:
        raise BadInput(
            Problem("the silicon estimator is not installed", hint="pip install 'serveplan[silicon]'")
        ) from None
    if not found.startswith(SUPPORTED):
        raise BadInput(
            Problem(
                f"silicon: aiconfigurator-core {found} is not supported", hint="install aiconfigurator-core==0.12.0"
            )
        )
    import aiconfigurator_core

    return aiconfigurator_core
