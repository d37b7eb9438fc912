"""Reader of the BLIS experiments (vLLM 0.15.1): open-loop stages of repeated prompts, means and percentiles per stage.

Not a benchmark client: it draws the arrivals that the experiments' client draws. What that client (inference-perf,
shared_prefix data) does, by its source and by what the measurements show:

- arrivals of a stage are exponential gaps scaled to its duration, rate x duration of them; a stage starts when the one
  before has drained;
- only `prompts x users` different prompts exist and are asked round and round, so after the first round the prefix
  cache of vLLM holds every whole block of every prompt. The measured TTFT says so: 2.5 decode steps and a few
  milliseconds, where computing the questions would add 12-40 ms on H100 and 25-70 ms on A100. Growing conversations are
  ruled out too: they would exceed the context limit after five turns and hold a user to one request at a time;
- ITL is the mean over requests of e2e / output tokens. The client counts the tokens of the text again, so it may differ
  from the asked ones (llama-2-7b: 195 of 247), which no simulation can know.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from planner.calibrate.runs.experiment import (
    POOL,
    Experiment,
    Ints,
    Part,
    Settings,
    one_pool,
    requests_of,
    whole_blocks,
)
from planner.calibrate.runs.files import entries_of, rows_of
from planner.calibrate.runs.setting import pool_on
from planner.catalog import Catalog
from planner.spec.deployment import Parallelism
from planner.spec.requests import Requests

METRICS = {
    "ttft_mean_ms": "ttft_mean_ms", "ttft_p90_ms": "ttft_p90_ms", "ttft_p99_ms": "ttft_p99_ms",
    "itl_mean_ms": "pace_mean_ms", "e2e_mean_ms": "e2e_mean_ms", "e2e_p90_ms": "e2e_p90_ms",
    "e2e_p99_ms": "e2e_p99_ms",
}  # fmt: skip
DEFAULT_BLOCK_TOKENS = 16
FIELDS = ("id", "engine", "engine_version", "model", "gpu", "tp", "dp", "ep", "weight_dtype", "max_num_seqs",
          "max_num_batched_tokens", "gpu_memory_utilization", "prefix_caching", "kv_block_size", "kv_num_gpu_blocks",
          "stages", "num_unique_system_prompts", "num_users_per_system_prompt", "system_prompt_len", "question_len",
          "output_len", "not_recorded")  # fmt: skip


def read(folder: Path, catalog: Catalog) -> tuple[Experiment, ...]:
    """Every experiment of `blis_*.json` in `folder` with the rows of the CSV beside it."""
    found: list[Experiment] = []
    for file in sorted(folder.glob("blis_*.json")):
        rows = rows_of(file.with_suffix(".csv"), ("id", "stage", *METRICS))
        measured = {(row["id"], row["stage"]): _measured(row) for row in rows}
        found += [_experiment(entry, measured, catalog) for entry in entries_of(file, FIELDS)]
    return tuple(found)


def _measured(row: Mapping[str, str]) -> dict[str, float]:
    return {ours: float(row[theirs]) for theirs, ours in METRICS.items() if row[theirs]}


def _experiment(
    entry: Mapping[str, Any], measured: Mapping[tuple[str, str], Mapping[str, float]], catalog: Catalog
) -> Experiment:
    pool = pool_on(
        catalog, name=POOL, model=entry["model"], gpu=entry["gpu"],
        parallelism=Parallelism(tp=entry["tp"], dp=entry["dp"], ep=entry["ep"]), replicas=1,
        weights=entry["weight_dtype"], kv="fp16" if entry["weight_dtype"] == "fp16" else "bf16",
        max_seqs=entry["max_num_seqs"], max_tokens_per_step=entry["max_num_batched_tokens"],
    )  # fmt: skip
    phases = tuple(stage_requests(entry, stage) for stage in range(len(entry["stages"])))
    return Experiment(
        id=entry["id"],
        deployment=one_pool(pool),
        settings=Settings(
            entry["engine"], entry["engine_version"], entry["gpu_memory_utilization"], entry["kv_num_gpu_blocks"] or 0
        ),
        phases=phases,
        parts=tuple(_parts(entry["id"], phases, measured)),
        doubts=(f"not recorded: {', '.join(entry['not_recorded'])}",),
    )


def _parts(
    name: str, phases: tuple[Requests, ...], measured: Mapping[tuple[str, str], Mapping[str, float]]
) -> list[Part]:
    """The whole run and each stage, as far as they were measured."""
    counts = np.cumsum([0, *(len(requests) for requests in phases)])
    spans = {"all": (0, int(counts[-1]))}
    spans |= {str(k): (int(counts[k]), int(counts[k + 1])) for k in range(len(phases))}
    return [
        Part(stage, np.arange(first, last), measured[name, stage])
        for stage, (first, last) in spans.items()
        if (name, stage) in measured
    ]


def stage_requests(entry: Mapping[str, Any], stage: int) -> Requests:
    """The requests of one stage; the same for the same experiment every time."""
    load = entry["stages"][stage]
    n = int(load["rate"] * load["duration"])
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(f"{entry['id']} {stage}".encode())))
    gaps = rng.exponential(1.0, n)
    inputs = np.full(n, entry["system_prompt_len"] + entry["question_len"], dtype=np.int64)
    outputs = np.full(n, entry["output_len"], dtype=np.int64)
    return requests_of(
        np.cumsum(gaps) * (load["duration"] / gaps.sum()), inputs, outputs, _cached(entry, stage, inputs)
    )


def _cached(entry: Mapping[str, Any], stage: int, inputs: Ints) -> Ints | None:
    """Nothing of the first prompts, the system prompt once its group was asked, everything once the prompt was."""
    if entry["prefix_caching"] is False:
        return None
    groups = entry["num_unique_system_prompts"]
    prompts = groups * entry["num_users_per_system_prompt"]
    turn = np.arange(len(inputs)) if stage == 0 else np.full(len(inputs), prompts)
    shared = np.where(turn < groups, 0, np.where(turn < prompts, entry["system_prompt_len"], inputs))
    return whole_blocks(shared, inputs, entry["kv_block_size"] or DEFAULT_BLOCK_TOKENS)
