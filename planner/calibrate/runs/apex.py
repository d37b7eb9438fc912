"""Reader of the APEX runs (vLLM 0.6.0, Llama-3.1-70B on 8 H100): one trace served by TP8, 2 x TP4 and 4 x TP2.

Not the single-replica runs, which used other flags. Lengths are the ones actually served. vLLM 0.6.0 chunks prompts of
models with a context above 32k by itself, 512 tokens a step (its default then), and computes decodes first. Its times
are those of the engine: e2e = TTFT + decode without a gap, so they leave out the API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from planner.calibrate.runs.experiment import POOL, Experiment, Ints, Part, Settings, one_pool, requests_of
from planner.calibrate.runs.files import rows_of
from planner.calibrate.runs.setting import pool_on
from planner.catalog import Catalog
from planner.spec.deployment import Parallelism
from planner.spec.requests import Requests

Rows = Sequence[Mapping[str, str]]
PLANS = ("tp8", "dp2tp4", "dp4tp2")
KEYS = ("trace", "trace_variant", "rate_req_s")
METRICS = {"ttft_mean_ms": "ttft_mean_ms", "tpot_ms": "tpot_pooled_ms", "e2e_mean_ms": "e2e_mean_ms"}
CHUNKED_SCHEDULER, CHUNK_TOKENS = "sarathi", 512


def read(folder: Path, catalog: Catalog) -> tuple[Experiment, ...]:
    """Every trace x rate x plan of `apex_vllm*.csv` in `folder` that is one of PLANS."""
    found: list[Experiment] = []
    for file in sorted(folder.glob("apex_vllm*.csv")):
        requests = folder / f"apex_requests_{file.stem.partition('_')[2].partition('_')[2]}.csv.gz"
        traces = rows_of(requests, (*KEYS, "arrival_s"))
        rows = rows_of(file, (*KEYS, "config", *METRICS))
        found += [_experiment(row, traces, catalog) for row in rows if row["config"] in PLANS]
    return tuple(found)


def _experiment(row: Mapping[str, str], traces: Rows, catalog: Catalog) -> Experiment:
    mine = [r for r in traces if all(r[key] == row[key] for key in KEYS)]
    requests = _requests(mine, row["config"])
    pool = pool_on(
        catalog, name=POOL, model=row["model"], gpu=row["gpu"], parallelism=Parallelism(tp=int(row["tp"])),
        replicas=int(row["replicas"]), weights=row["weight_dtype"], kv=row["kv_dtype"],
        max_seqs=256, max_tokens_per_step=CHUNK_TOKENS,
    )  # fmt: skip
    measured = {ours: float(row[theirs]) for theirs, ours in METRICS.items() if row[theirs]}
    return Experiment(
        id=" ".join(row[key] for key in ("trace", "trace_variant", "rate_req_s", "config")),
        deployment=one_pool(pool),
        settings=Settings(
            row["engine"], row["engine_version"], float(row["gpu_memory_utilization"]), scheduler=CHUNKED_SCHEDULER
        ),
        phases=(requests,),
        parts=(Part("all", np.arange(len(requests)), measured),),
        engine_clock=True,
        doubts=("token budget and chunking are the release's defaults, not recorded",),
    )


def _requests(rows: Rows, plan: str) -> Requests:
    def column(name: str) -> Ints:
        return np.array([int(row[f"{name}_{plan}"]) for row in rows], dtype=np.int64)

    arrivals = np.array([float(row["arrival_s"]) for row in rows])
    return requests_of(arrivals, column("prompt_tokens"), column("output_tokens"))
