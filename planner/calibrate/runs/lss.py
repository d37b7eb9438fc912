"""Reader of the LLMServingSim traces (vLLM 0.19): single requests with planned arrivals, forced lengths, engine times.

Not a simulator of the client: the planned schedule is replayed. Times count from the engine's queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from planner.calibrate.runs.experiment import (
    POOL,
    Experiment,
    Floats,
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

COLUMNS = ("input_tokens", "output_tokens", "planned_arrival_s", "ttft_ms", "tpot_ms", "e2e_ms",
           "shared_prefix_tokens", "shared_prefix_with")  # fmt: skip
FIELDS = ("name", "engine", "engine_version", "model", "gpu", "tp", "dp", "ep", "max_num_seqs",
          "max_num_batched_tokens", "kv_block_size", "kv_num_gpu_blocks", "gpu_memory_utilization",
          "enable_prefix_caching", "not_recorded", "requests_file")  # fmt: skip
DEFAULT_BLOCK_TOKENS = 16
STATISTICS = {"mean": -1.0, "p50": 50.0, "p90": 90.0, "p99": 99.0}


def read(folder: Path, catalog: Catalog) -> tuple[Experiment, ...]:
    """Every trace of `lss_*.json` in `folder`."""
    entries = [entry for file in sorted(folder.glob("lss_*.json")) for entry in entries_of(file, FIELDS)]
    return tuple(_experiment(entry, rows_of(folder / entry["requests_file"], COLUMNS), catalog) for entry in entries)


def _experiment(entry: Mapping[str, Any], rows: Sequence[Mapping[str, str]], catalog: Catalog) -> Experiment:
    inputs, outputs = _ints(rows, "input_tokens"), _ints(rows, "output_tokens")
    block = entry["kv_block_size"] or DEFAULT_BLOCK_TOKENS
    cached = None if entry["enable_prefix_caching"] is False else whole_blocks(_reusable(entry, rows), inputs, block)
    requests = requests_of(_floats(rows, "planned_arrival_s"), inputs, outputs, cached)
    pool = pool_on(
        catalog, name=POOL, model=entry["model"], gpu=entry["gpu"],
        parallelism=Parallelism(tp=entry["tp"], dp=entry["dp"], ep=entry["ep"]), replicas=1,
        max_seqs=entry["max_num_seqs"] * entry["dp"],
        max_tokens_per_step=entry["max_num_batched_tokens"] * entry["dp"],
    )  # fmt: skip
    return Experiment(
        id=entry["name"],
        deployment=one_pool(pool),
        settings=Settings(
            entry["engine"], entry["engine_version"], entry["gpu_memory_utilization"], entry["kv_num_gpu_blocks"] or 0
        ),
        phases=(requests,),
        parts=(Part("all", np.arange(len(rows)), _measured(rows)),),
        engine_clock=True,
        doubts=(f"not recorded: {', '.join(entry['not_recorded'])}",),
    )


def _reusable(entry: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> Ints:
    """Prompt tokens an earlier request shares; with several ranks only where both came to the same (taking turns)."""
    shared = np.array([int(row["shared_prefix_tokens"] or 0) for row in rows], dtype=np.int64)
    partner = np.array([int(row["shared_prefix_with"] or 0) for row in rows], dtype=np.int64)
    same_rank = (np.arange(len(rows)) - partner) % entry["dp"] == 0
    return np.where(same_rank, shared, 0)


def _measured(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for kind in ("ttft", "tpot", "e2e"):
        values = _floats(rows, f"{kind}_ms")
        for name, level in STATISTICS.items():
            found[f"{kind}_{name}_ms"] = float(values.mean() if level < 0 else np.percentile(values, level))
    return found


def _ints(rows: Sequence[Mapping[str, str]], column: str) -> Ints:
    return np.array([int(row[column]) for row in rows], dtype=np.int64)


def _floats(rows: Sequence[Mapping[str, str]], column: str) -> Floats:
    return np.array([float(row[column]) for row in rows], dtype=np.float64)
