"""Readers of recorded runs on small made-up files: what a stage draws, what a cache holds, what a mistake says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from planner.calibrate.runs import apex, blis, lss
from planner.calibrate.runs.experiment import whole_blocks
from planner.catalog import Catalog
from planner.errors import BadInput

BLIS: dict[str, Any] = {
    "id": "one", "engine": "vllm", "engine_version": "0.15.1", "model": "llama-3.1-8b", "gpu": "H100-SXM5-80GB",
    "tp": 1, "dp": 1, "ep": 1, "weight_dtype": "fp16", "max_num_batched_tokens": 2048, "max_num_seqs": 128,
    "gpu_memory_utilization": 0.9, "prefix_caching": True, "kv_block_size": 16, "kv_num_gpu_blocks": None,
    "stages": [{"rate": 2.5, "duration": 60}, {"rate": 5, "duration": 60}], "num_unique_system_prompts": 3,
    "num_users_per_system_prompt": 4, "system_prompt_len": 100, "question_len": 447, "output_len": 20,
    "not_recorded": ["kv_num_gpu_blocks"],
}  # fmt: skip
LSS: dict[str, Any] = {
    "name": "trace", "engine": "vllm", "engine_version": "0.19.0", "model": "llama-3.1-8b", "tp": 1, "dp": 1, "ep": 1,
    "gpu": "RTX-PRO-6000-Blackwell-Server", "max_num_seqs": 128, "max_num_batched_tokens": 2048, "kv_block_size": None,
    "kv_num_gpu_blocks": 500, "gpu_memory_utilization": None, "enable_prefix_caching": None, "not_recorded": [],
    "requests_file": "lss_trace.csv",
}  # fmt: skip
LSS_HEAD = "input_tokens,output_tokens,planned_arrival_s,ttft_ms,tpot_ms,e2e_ms,shared_prefix_tokens,shared_prefix_with"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.open()


def blis_folder(folder: Path, **changes: Any) -> Path:
    (folder / "blis_x.json").write_text(json.dumps([BLIS | changes]))
    head = "id,stage," + ",".join(blis.METRICS)
    (folder / "blis_x.csv").write_text(f"{head}\none,all,1,2,3,4,5,6,7\none,1,1,2,3,4,5,6,7\n")
    return folder


def test_a_stage_holds_rate_times_duration_requests_and_its_parts_index_them(tmp_path: Path, catalog: Catalog) -> None:
    (run,) = blis.read(blis_folder(tmp_path), catalog)
    assert [len(phase) for phase in run.phases] == [150, 300]
    assert [phase.arrival_s[-1] for phase in run.phases] == pytest.approx([60.0, 60.0])
    assert [(part.name, len(part.members), part.members[0]) for part in run.parts] == [("all", 450, 0), ("1", 300, 150)]
    assert run.parts[0].measured["pace_mean_ms"] == 4.0
    assert run.settings.memory_fraction == 0.9
    assert run.pool.parallelism.tp == 1


def test_prompts_are_computed_once_and_their_whole_blocks_come_from_the_cache_later(
    tmp_path: Path, catalog: Catalog
) -> None:
    (run,) = blis.read(blis_folder(tmp_path), catalog)
    first, second = (phase.cached_tokens for phase in run.phases)
    assert first is not None
    assert second is not None
    assert first[:13].tolist() == [0, 0, 0] + [96] * 9 + [544]
    assert set(first[12:]) == set(second) == {544}


def test_the_same_experiment_draws_the_same_arrivals(tmp_path: Path, catalog: Catalog) -> None:
    folder = blis_folder(tmp_path)
    one, two = (blis.read(folder, catalog)[0].phases[0].arrival_s for _ in range(2))
    assert np.array_equal(one, two)


def test_without_a_prefix_cache_nothing_is_cached(tmp_path: Path, catalog: Catalog) -> None:
    (run,) = blis.read(blis_folder(tmp_path, prefix_caching=False), catalog)
    assert run.phases[0].cached_tokens is None


@pytest.mark.parametrize(("shared", "held"), [(0, 0), (15, 0), (16, 16), (47, 32), (48, 32), (64, 32)])
def test_a_cache_gives_whole_blocks_and_never_the_last_token(shared: int, held: int) -> None:
    assert whole_blocks(np.array([shared]), np.array([48]), 16).tolist() == [held]


def lss_folder(folder: Path, **changes: Any) -> Path:
    (folder / "lss_trace.json").write_text(json.dumps(LSS | changes))
    rows = ("64,3,0.5,10,5,20,,", "64,3,1.5,20,5,30,33,0", "64,3,0.0,30,5,40,33,1")
    (folder / "lss_trace.csv").write_text("\n".join((LSS_HEAD, *rows)))
    return folder


def test_a_trace_keeps_its_schedule_and_its_shared_prefixes(tmp_path: Path, catalog: Catalog) -> None:
    (run,) = lss.read(lss_folder(tmp_path), catalog)
    (requests,) = run.phases
    assert requests.arrival_s.tolist() == [0.0, 0.5, 1.5]
    assert requests.cached_tokens is not None
    assert requests.cached_tokens.tolist() == [32, 0, 32]
    assert run.settings.kv_blocks == 500
    assert run.engine_clock
    assert run.parts[0].measured["ttft_mean_ms"] == pytest.approx(20.0)
    assert run.parts[0].measured["e2e_p50_ms"] == pytest.approx(30.0)


def test_ranks_that_take_turns_share_only_what_came_to_the_same_rank(tmp_path: Path, catalog: Catalog) -> None:
    (run,) = lss.read(lss_folder(tmp_path, dp=2), catalog)
    assert run.phases[0].cached_tokens is not None
    assert run.phases[0].cached_tokens.tolist() == [0, 0, 0]
    assert run.pool.max_seqs == 256
    assert run.pool.max_tokens_per_step == 4096


APEX_HEAD = ("model,weight_dtype,kv_dtype,gpu,engine,engine_version,gpu_memory_utilization,config,tp,replicas,trace,"
             "trace_variant,rate_req_s,ttft_mean_ms,tpot_ms,e2e_mean_ms")  # fmt: skip


def apex_folder(folder: Path) -> Path:
    row = "llama-3.1-70b,bf16,bf16,H100-SXM5-80GB,vllm,0.6.0,0.97,{},{},{},chat,full,0.5,40,14,1000"
    rows = [row.format("tp8", 8, 1), row.format("dp2tp4", 4, 2), row.format("tp4_single", 4, 1)]
    (folder / "apex_vllm060_x.csv").write_text("\n".join((APEX_HEAD, *rows)))
    lengths = "prompt_tokens_tp8,output_tokens_tp8,prompt_tokens_dp2tp4,output_tokens_dp2tp4"
    head = f"trace,trace_variant,rate_req_s,arrival_s,{lengths}"
    text = "\n".join((head, "chat,full,0.5,1.0,10,20,10,21", "other,full,0.5,2,1,1,1,1"))
    (folder / "apex_requests_x.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder


def test_each_plan_is_replayed_with_the_lengths_it_served(tmp_path: Path, catalog: Catalog) -> None:
    runs = apex.read(apex_folder(tmp_path), catalog)
    assert [run.id for run in runs] == ["chat full 0.5 tp8", "chat full 0.5 dp2tp4"]
    assert [run.pool.replicas for run in runs] == [1, 2]
    assert [run.phases[0].output_tokens.tolist() for run in runs] == [[20], [21]]
    assert runs[0].parts[0].measured == {"ttft_mean_ms": 40.0, "tpot_pooled_ms": 14.0, "e2e_mean_ms": 1000.0}


def test_a_file_that_is_no_run_is_refused_by_name(tmp_path: Path, catalog: Catalog) -> None:
    folder = blis_folder(tmp_path)
    (folder / "blis_x.csv").write_text("id,stage\none,all\n")
    with pytest.raises(BadInput, match=r"blis_x\.csv: has no column ttft_mean_ms"):
        blis.read(folder, catalog)
    (folder / "blis_x.csv").unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        blis.read(folder, catalog)


def test_broken_json_and_broken_gzip_are_refused(tmp_path: Path, catalog: Catalog) -> None:
    folder = lss_folder(tmp_path)
    (folder / "lss_trace.json").write_text("{")
    with pytest.raises(BadInput, match=r"lss_trace\.json:1:2: is not JSON"):
        lss.read(folder, catalog)
    packed = apex_folder(tmp_path) / "apex_requests_x.csv.gz"
    packed.write_bytes(b"no gzip")
    with pytest.raises(BadInput, match="cannot be read"):
        apex.read(tmp_path, catalog)


def test_a_run_that_lacks_settings_is_refused_with_their_names(tmp_path: Path, catalog: Catalog) -> None:
    entry = {key: value for key, value in BLIS.items() if key not in ("tp", "stages")}
    (blis_folder(tmp_path) / "blis_x.json").write_text(json.dumps([entry, 3]))
    with pytest.raises(BadInput) as error:
        blis.read(tmp_path, catalog)
    found = [problem.what for problem in error.value.problems]
    assert found == ["a run states no tp, stages", "holds something that describes no run"]


def test_a_folder_without_runs_gives_none(tmp_path: Path, catalog: Catalog) -> None:
    assert blis.read(tmp_path, catalog) == lss.read(tmp_path, catalog) == apex.read(tmp_path, catalog) == ()
