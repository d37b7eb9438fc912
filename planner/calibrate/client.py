"""The benchmark client: how many requests, of which lengths, started how. Not a property of any engine.

Closed loops start with a burst of `concurrency` requests and end with a drain; both are part of what was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.calibrate.rows import Row
from planner.spec.requests import Requests

Ints = NDArray[np.int64]

# InferenceX sends 10 x concurrency requests (its benchmark script); other closed loops rarely say, and 10 waves are
# also past the start-up.
WAVES = 10
# Long closed loops are simulated for a few waves; the rest is taken to be like the later ones (`Sample.weights`).
SIMULATED_WAVES, SIMULATED_REQUESTS = 4, 600
# Open loops and jobs whose length is not published are taken as long ones, of which the middle is what counts.
OPEN_LOOP_S, OPEN_LOOP_REQUESTS, OFFLINE_REQUESTS, MOST_REQUESTS = 200.0, 1500, 1000, 6000
OFFLINE_REQUESTS_PER_GPU = 3000  # MLPerf: 24,576 samples on 8 accelerators

# Mean prompt tokens of data sets whose runs do not publish them.
# OpenOrca: 294 Llama tokens (MLPerf Inference v4.0 description of llama2-70b); the mix with GSM8K and MBXP is of the
# same order. ShareGPT: 226 (lengths of the public file). Chat, question and code prompts of ML.ENERGY: assumed.
DATASET_INPUT = {
    "openorca": 294.0, "openorca+gsm8k+mbxp": 220.0, "sharegpt": 226.0, "gpqa": 250.0, "lm-arena-chat": 250.0,
    "sourcegraph-fim": 600.0, "ml.energy chat": 180.0, "ml.energy code": 130.0,
}  # fmt: skip
UNKNOWN_INPUT, UNKNOWN_OUTPUT = 300.0, 1.0
# The requests of the opening burst also meet what the engine does for the first time (kernel selection, allocator,
# connections). Fitted on runs of current versions, by engine; single runs took up to 98 s.
COLD_START_S = {"vllm": 0.05, "trtllm": 0.5, "sglang": 0.6}
# The client of ML.ENERGY v3 reads every stream in the same host as the engine: its runs need this much more per step
# and per sequence and step than InferenceX runs of the same engine versions (25 groups, fitted; TPOT bias -14 and -30 %
# without it on Hopper and Blackwell).
SHARED_HOST_STEP_S, SHARED_HOST_SEQ_S = 1.5e-3, 28e-6
# Whether requests of one nominal length stay in phase: half width of the spread of their outputs. An engine that runs
# prompts before decodes holds them together: all of them see the same decode steps, so all end together and the next
# prompts stand in one queue (84 runs of SGLang with Qwen3-32B: TPOT free of prompts, first tokens a wave late; TPOT
# error 41 % with 5 % of spread, 9 % with .6 %). Where prompts and decodes share steps a request keeps the delay of its
# own prompt, and measured runs show no waves: the first token does not depend on the output length (267 runs of vLLM
# 0.12 and TensorRT-LLM 1.0: TTFT error 100 % with 0, 24 % with 5 %, 18 % with 15 % of spread).
FIXED_SPREAD = {"sglang": 0.006, "vllm": 0.15, "trtllm": 0.15}
OTHER_SPREAD = 0.05
# Recipes of InferenceX let TensorRT-LLM hold prompts back until every attention-DP rank has one (attention_dp_config:
# enable_balance; timeout_iters 60 in those of DeepSeek, its default 50 in those of gpt-oss; public benchmark scripts).
BALANCE_STEPS = {"gpt-oss": 50, "deepseek": 60}
# Spread of real prompts and answers: coefficients of variation of ShareGPT-like sets are .7-1.5.
DATASET_INPUT_CV, DATASET_OUTPUT_CV = 1.0, 0.7


@dataclass(frozen=True, slots=True)
class Client:
    """One benchmark run of a whole deployment, and how its recipe sets the engine. Lengths are mean tokens.

    steady: the run reports a steady state, so start-up and drain are not scored. gaps_as_tpot: the TPOT columns hold
    gaps between tokens instead of a mean per request.
    """

    kind: str
    concurrency: int
    rate_per_s: float
    requests: int
    input_mean: float
    output_mean: float
    input_shape: str
    output_shape: str
    fixed_spread: float = OTHER_SPREAD
    steady: bool = False
    gaps_as_tpot: bool = False
    cold_start_s: float = 0.0
    host_step_s: float = 0.0
    host_seq_s: float = 0.0
    balance_steps: int = 0


def client_of(row: Row) -> Client:
    """The client that load, length and data-set columns describe; unstated lengths get those usual for the data set."""
    if row.load_kind == "offline" and row.load_value:
        # a job behind a batch limit: what is beyond it waits outside the engine, and its first token is timed inside
        row = replace(row, load_kind="concurrency")
    dataset = row.dataset.lower()
    measured_gaps = dataset in ("gpqa", "lm-arena-chat", "sourcegraph-fim")
    concurrency = int(row.load_value) if row.load_kind in ("concurrency", "static_batch") else 0
    shape = _shape(row)
    return Client(
        kind=row.load_kind, concurrency=max(concurrency, 1) if row.load_kind != "rate" else 0,
        rate_per_s=row.load_value if row.load_kind == "rate" else 0.0, requests=_count(row),
        input_mean=row.input_mean or DATASET_INPUT.get(dataset, UNKNOWN_INPUT),
        output_mean=row.output_mean or UNKNOWN_OUTPUT, input_shape=shape,
        output_shape="nearly_fixed" if shape == "fixed" and row.load_kind == "concurrency" else shape,
        fixed_spread=FIXED_SPREAD.get(row.engine, OTHER_SPREAD),
        steady=measured_gaps or dataset.startswith("ml.energy") or (_unending(row) and not row.requests),
        gaps_as_tpot=measured_gaps, host_step_s=SHARED_HOST_STEP_S if measured_gaps else 0.0,
        host_seq_s=SHARED_HOST_SEQ_S if measured_gaps else 0.0,
        balance_steps=_balance_steps(row, shape),
        cold_start_s=COLD_START_S.get(row.engine, 0.0) if row.load_kind == "concurrency" and concurrency > 1 else 0.0,
    )  # fmt: skip


def _balance_steps(row: Row, shape: str) -> int:
    """Of a recipe of InferenceX, whose clients are the ones that draw lengths in this shape."""
    if row.engine != "trtllm" or row.mode == "disagg" or shape != "uniform_0.8_1.0":
        return 0
    return next((steps for family, steps in BALANCE_STEPS.items() if row.model.lower().startswith(family)), 0)


@dataclass(frozen=True, slots=True)
class Sample:
    """The part of a run that is simulated. first: requests of the opening burst. total: requests of the whole run."""

    requests: Requests
    first: int
    total: int

    @property
    def weights(self) -> NDArray[np.float64]:
        """How many real requests each simulated one stands for: later waves stand for the ones left out."""
        n = len(self.requests)
        weights = np.ones(n)
        if n < self.total and n > self.first:
            weights[self.first :] = (self.total - self.first) / (n - self.first)
        return weights


def sample_of(client: Client, share: float = 1.0) -> Sample:
    """Draw the run for a part of the deployment that serves `share` of the load (0 < share <= 1)."""
    concurrency = max(1, round(client.concurrency * share))
    total = max(1, round(client.requests * share))
    closed = client.kind == "concurrency"
    count = min(total, max(SIMULATED_WAVES * concurrency, SIMULATED_REQUESTS)) if closed else total
    rng = np.random.default_rng(20260)
    inputs = draw(client.input_shape, client.input_mean, count, rng, DATASET_INPUT_CV)
    spread = client.fixed_spread if client.output_shape == "nearly_fixed" else DATASET_OUTPUT_CV
    outputs = draw(client.output_shape, client.output_mean, count, rng, spread)
    arrivals = np.zeros(count)
    if client.kind == "rate":
        arrivals = np.cumsum(rng.exponential(1.0 / (client.rate_per_s * share), count))
    classes = np.zeros(count, dtype=np.int64)
    drawn = Requests(arrivals, inputs, outputs, classes, ("measured",), concurrency if closed else 0)
    return Sample(drawn, concurrency if closed else 0, total)


def draw(shape: str, mean: float, count: int, rng: np.random.Generator, spread: float) -> Ints:
    """`count` token counts with that mean: stratified over the quantiles, so that short runs have no lucky draws.

    spread: coefficient of variation of a data set, half width of nearly fixed lengths.
    """
    levels = rng.permutation((np.arange(count) + 0.5) / count)
    if shape == "uniform_0.8_1.0":  # mean 0.9 of the nominal length
        values = mean / 0.9 * (0.8 + 0.2 * levels)
    elif shape == "uniform_0_2":
        values = 2.0 * mean * levels
    elif shape == "dataset":
        values = _lognormal(levels, mean, spread)
    elif shape == "nearly_fixed":
        values = mean * (1.0 + spread * (2.0 * levels - 1.0))
    else:
        values = np.full(count, mean)
    whole: Ints = np.maximum(1, np.rint(values)).astype(np.int64)
    return whole


def _lognormal(levels: NDArray[np.float64], mean: float, cv: float) -> NDArray[np.float64]:
    """Lognormal quantiles, cut at 8 means and rescaled to the mean; the normal quantile by Acklam's central formula."""
    sigma = math.sqrt(math.log1p(cv * cv))
    # logistic approximation of the normal quantile: within .02 between levels .005 and .995, enough for lengths
    normal = np.sign(levels - 0.5) * 5.5556 * (1.0 - ((1.0 - np.abs(2 * levels - 1)) / 2 / 0.5) ** 0.1186)
    values = np.minimum(np.exp(sigma * normal), 8.0)
    scaled: NDArray[np.float64] = values * (mean / values.mean())
    return scaled


def _shape(row: Row) -> str:
    """`random` prompts of the SGLang and vLLM clients are uniform from 0 to the nominal length unless stated."""
    if row.length_dist == "dataset" and row.dataset.lower() == "random":
        return "uniform_0_2"
    return row.length_dist or "fixed"


def _unending(row: Row) -> bool:
    """Loads that go on for as long as one likes; without a published length they are taken as long ones."""
    return row.load_kind in ("rate", "offline")


def _count(row: Row) -> int:
    value = int(row.load_value)
    if row.load_kind == "static_batch":
        return max(1, value)
    if row.requests:
        return min(row.requests, max(MOST_REQUESTS, 2 * value))
    if row.load_kind == "concurrency":
        return WAVES * max(1, value)
    if row.load_kind == "rate":
        return int(min(max(OPEN_LOOP_REQUESTS, OPEN_LOOP_S * row.load_value), 12 * MOST_REQUESTS))
    return max(OFFLINE_REQUESTS, OFFLINE_REQUESTS_PER_GPU * row.gpus)
