"""A static batch: equal requests started together and run in lock-step. A closed form, no simulation."""

from __future__ import annotations

import math

import numpy as np

from planner.calibrate.cases import Case
from planner.spec.step import Replica, StepCost, Work


def in_lockstep(case: Case, replica: Replica) -> bool:
    """Whether the whole batch runs together: it fits, or the engine knows no other way than waves of what fits."""
    return replica.scheduler == "static_batch" or _at_once(case, replica) >= _batch(case)


def static_batch(case: Case, replica: Replica) -> tuple[dict[str, float], Work]:
    """Metric columns of a row: ttft is the prefill of the whole batch, e2e the whole batch. Also the work of one wave.

    A batch that exceeds the KV cache runs in waves.
    """
    pool = case.pools[0]
    batch, (prompt, answer) = _batch(case), _lengths(case)
    waves = math.ceil(batch / max(1, _at_once(case, replica)))
    n = math.ceil(batch / waves)
    prefill = prefill_s(replica, n, prompt)
    steps = math.ceil((answer - 1) / case.token_yield)
    decode = decode_s(replica.cost, n, prompt, steps) * replica.stages
    wave = prefill + decode
    whole = waves * wave  # the benchmark calls the engine inside its own process: no API, no client
    per_second = batch * pool.replicas / whole
    metrics = {
        "out_tok_s": per_second * answer, "total_tok_s": per_second * (prompt + answer), "req_s": per_second,
        "e2e_mean_ms": 1e3 * whole, **_repeated("ttft", prefill),
    }  # fmt: skip
    if answer > 1:
        metrics |= _repeated("tpot", decode / (answer - 1))
    return metrics, _work(n, prompt, steps, wave, prefill)


def _batch(case: Case) -> int:
    return max(1, round(case.client.concurrency / case.pools[0].replicas))


def _lengths(case: Case) -> tuple[int, int]:
    return max(1, round(case.client.input_mean)), max(1, round(case.client.output_mean))


def _at_once(case: Case, replica: Replica) -> int:
    """Sequences of the batch whose whole answers the KV cache holds together."""
    blocks = -(-sum(_lengths(case)) // replica.block_tokens)
    return min(_batch(case), replica.kv_blocks // blocks)


def prefill_s(replica: Replica, batch: int, prompt: int) -> float:
    """Whole prompts in steps of at most the token budget; each step is at least the launch floor of its kernels."""
    cost, budget = replica.cost, replica.max_tokens_per_step
    per_step = max(1, min(batch, budget // prompt))
    whole, rest = divmod(batch, per_step)
    pieces = math.ceil(prompt / budget)  # a prompt longer than the budget is cut
    seconds = whole * _prefill_step(cost, per_step, prompt, pieces)
    seconds += _prefill_step(cost, rest, prompt, pieces) if rest else 0.0
    return seconds * replica.stages


def _prefill_step(cost: StepCost, prompts: int, prompt: int, pieces: int) -> float:
    chunk = prompt / pieces
    pairs = prompts * prompt * (prompt + 1) / 2
    linear = pieces * (float(_at(cost, prompts * chunk)) + float(cost.decode_s[0] - cost.linear_s[0]))
    again = prompts * chunk * pieces * (pieces - 1) / 2
    seconds = linear + cost.pair_s * pairs + _window_pairs(cost, prompts, prompt) + cost.context_s * again
    return max(seconds + pieces * prompts * cost.chunk_s, pieces * cost.prefill_floor_s)


def _window_pairs(cost: StepCost, prompts: int, prompt: int) -> float:
    window = cost.window_tokens
    if not window:
        return 0.0
    seen = prompt * (prompt + 1) / 2 if prompt <= window else window * (window + 1) / 2 + (prompt - window) * window
    return cost.window_pair_s * prompts * seen


def _at(cost: StepCost, tokens: float) -> float:
    grid = np.arange(len(cost.linear_s)) * cost.linear_stride
    if tokens <= grid[-1]:
        return float(np.interp(tokens, grid, cost.linear_s))
    slope = (cost.linear_s[-1] - cost.linear_s[-2]) / cost.linear_stride
    return float(cost.linear_s[-1] + slope * (tokens - grid[-1]))


def decode_s(cost: StepCost, batch: int, prompt: int, steps: int) -> float:
    """`steps` decode steps of `batch` sequences whose contexts grow from `prompt` + 1."""
    n = min(batch, len(cost.decode_s) - 1)
    contexts = np.arange(prompt + 1, prompt + 1 + steps, dtype=float)
    windowed = np.minimum(contexts, cost.window_tokens or np.inf)
    per_context = cost.decode_context_s[n] * batch * contexts.sum()
    per_window = cost.decode_window_s[n] * batch * windowed.sum() if cost.window_tokens else 0.0
    return float(steps * cost.decode_s[n] + per_context + per_window)


def _repeated(name: str, seconds: float) -> dict[str, float]:
    return {f"{name}_{statistic}_ms": 1e3 * seconds for statistic in ("mean", "p50", "p99")}


def _work(batch: int, prompt: int, steps: int, wave: float, prefill: float) -> Work:
    contexts = batch * (steps * (prompt + 1) + steps * (steps - 1) / 2)
    return Work(
        span_s=wave, busy_s=wave, prefill_busy_s=prefill, steps=steps + 1, prefill_tokens=batch * prompt,
        decode_tokens=batch * steps, decode_context_tokens=contexts, prefill_pairs=batch * prompt * (prompt + 1) / 2,
    )  # fmt: skip
