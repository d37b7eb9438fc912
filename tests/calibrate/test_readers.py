"""Result readers: known formats give the cells of the measured table; anything else is told with its place."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from planner.calibrate.readers import READERS, read_results
from planner.errors import BadInput

VLLM = {
    "date": "20260401-101010", "backend": "vllm", "label": None, "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "num_prompts": 80, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 8, "duration": 40.0,
    "completed": 80, "failed": 0, "total_input_tokens": 81920, "total_output_tokens": 10240,
    "request_throughput": 2.0, "output_throughput": 256.0, "total_token_throughput": 2304.0,
    "mean_ttft_ms": 60.0, "median_ttft_ms": 50.0, "p99_ttft_ms": 150.0,
    "mean_tpot_ms": 8.0, "median_tpot_ms": 7.9, "p99_tpot_ms": 9.0,
}  # fmt: skip


def stats(mean: float, **more: float) -> dict[str, Any]:
    percentiles = {"percentiles": {"p99": more.pop("p99")}} if "p99" in more else {}
    return {"successful": {"mean": mean, **more, **percentiles}}


def guidellm(version: object = 2, **changes: Any) -> dict[str, Any]:
    metrics = {
        "request_totals": {"successful": 100, "errored": 0, "incomplete": 1, "total": 101},
        "requests_per_second": stats(2.0), "prompt_token_count": stats(512.0), "output_token_count": stats(101.0),
        "output_tokens_per_second": stats(202.0), "request_latency": stats(1.1),
        "time_to_first_token_ms": stats(100.0, median=90.0, p99=300.0),
        "time_per_output_token_ms": stats(1100 / 101), "inter_token_latency_ms": stats(10.0, median=9.9, p99=12.0),
        **changes,
    }  # fmt: skip
    strategy = {"type_": "concurrent", "streams": 4}
    benchmark = {
        "config": {"strategy": strategy},
        "metrics": {name: value for name, value in metrics.items() if value is not None},
    }
    return {"metadata": {"version": version, "guidellm_version": "0.5.0"}, "args": {}, "benchmarks": [benchmark]}


def aiperf(**changes: Any) -> dict[str, Any]:
    return {
        "schema_version": "1.5",
        "aiperf_version": "0.13.0",
        "input_config": {"loadgen": {"concurrency": 16}, "endpoint": {"model_names": ["llama-3.1-8b"]}},
        "time_to_first_token": {"unit": "ms", "avg": 70.0, "p50": 65.0, "p99": 200.0},
        "inter_token_latency": {"unit": "ms", "avg": 9.0, "p50": 8.9, "p99": 11.0},
        "request_latency": {"unit": "ms", "avg": 1000.0},
        "input_sequence_length": {"unit": "tokens", "avg": 1000.0},
        "output_sequence_length": {"unit": "tokens", "avg": 104.0},
        "request_throughput": {"unit": "requests/sec", "avg": 15.0},
        "request_count": {"unit": "requests", "avg": 160.0},
        **changes,
    }


def saved(folder: Path, content: Any, name: str = "result.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))
    return path


def cells(folder: Path, content: Any, name: str = "result.json") -> dict[str, str]:
    (point,) = read_results(saved(folder, content, name))
    return point.cells


def numbers(found: dict[str, str], *names: str) -> list[float]:
    return [float(found[name]) for name in names]


def test_vllm_bench(tmp_path: Path) -> None:
    found = cells(tmp_path, VLLM)
    assert found["model"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert (found["load_kind"], float(found["load_value"])) == ("concurrency", 8)
    assert numbers(found, "isl_mean", "osl_mean", "num_requests") == [1024, 128, 80]
    assert numbers(found, "ttft_mean_ms", "ttft_p50_ms", "tpot_mean_ms", "tpot_p99_ms") == [60, 50, 8, 9]


def test_vllm_bench_loads(tmp_path: Path) -> None:
    rate = cells(tmp_path, VLLM | {"request_rate": 3.5, "max_concurrency": None})
    assert (rate["load_kind"], rate["load_value"]) == ("rate", "3.5")
    assert cells(tmp_path, VLLM | {"max_concurrency": None})["load_kind"] == "offline"
    with pytest.raises(BadInput, match=r"request_rate: a rate and a limit"):
        cells(tmp_path, VLLM | {"request_rate": 3.5})


def test_vllm_bench_metadata_is_configuration(tmp_path: Path) -> None:
    found = cells(tmp_path, VLLM | {"gpu": "H100", "tp": "2", "engine_version": "0.19.0"})
    assert (found["gpu"], found["tp"], found["engine_version"]) == ("H100", "2", "0.19.0")


def test_appended_results_are_points_with_their_lines(tmp_path: Path) -> None:
    text = "\n".join(json.dumps(VLLM | {"max_concurrency": c}) for c in (1, 8)) + "\n"
    points = read_results(saved(tmp_path, text))
    assert [(point.where.line, float(point.cells["load_value"])) for point in points] == [(1, 1), (2, 8)]


def test_guidellm_reads_its_inter_token_latency(tmp_path: Path) -> None:
    for version in (1, 2):
        found = cells(tmp_path, guidellm(version))
        assert numbers(found, "tpot_mean_ms", "tpot_p50_ms", "ttft_p50_ms", "e2e_mean_ms") == [10, 9.9, 90, 1100]
        assert (found["load_kind"], float(found["load_value"])) == ("concurrency", 4)


def test_guidellm_time_per_output_token_is_converted(tmp_path: Path) -> None:
    found = cells(tmp_path, guidellm(inter_token_latency_ms=None))
    assert float(found["tpot_mean_ms"]) == pytest.approx(10.0)  # (1100 - 100) / (101 - 1), not 1100 / 101
    assert "tpot_p50_ms" not in found


def test_aiperf_summary(tmp_path: Path) -> None:
    found = cells(tmp_path, aiperf())
    assert numbers(found, "ttft_mean_ms", "tpot_mean_ms", "isl_mean", "load_value") == [70, 9, 1000, 16]
    assert found["model"] == "llama-3.1-8b"
    in_seconds = aiperf(time_to_first_token={"unit": "sec", "avg": 0.07})
    assert float(cells(tmp_path, in_seconds)["ttft_mean_ms"]) == pytest.approx(70)


AIPERF_CSV = """\
Metric,avg,min,max,sum,p1,p5,p10,p25,p50,p75,p90,p95,p99,std
Time to First Token (ms),165.73,56.5,2506,11601,57,60,61,76,153,170,189,196,985,287
Inter Token Latency (ms),12.57,11.8,13.0,879,11.8,11.8,12.4,12.5,12.6,12.7,12.9,12.9,13.0,0.26
Input Sequence Length (tokens),"1,024.00",1024,1024,71680,1024,1024,1024,1024,1024,1024,1024,1024,1024,0

Metric,Value
Output Token Throughput (tokens/sec),42.19
Request Count,70.00
"""


def test_aiperf_csv(tmp_path: Path) -> None:
    found = cells(tmp_path, AIPERF_CSV, "result.csv")
    assert numbers(found, "ttft_mean_ms", "ttft_p99_ms", "tpot_p50_ms") == [165.73, 985, 12.6]
    assert numbers(found, "isl_mean", "num_requests", "out_tok_s") == [1024, 70, 42.19]


def test_table_and_gzip(tmp_path: Path) -> None:
    path = tmp_path / "points.csv.gz"
    path.write_bytes(gzip.compress(b"id,gpu,model,ttft_mean_ms\na,H100,llama-3.1-8b,50\n\nb,H100,llama-3.1-8b,60\n"))
    points = read_results(path)
    assert [(p.where.line, p.cells["id"]) for p in points] == [(2, "a"), (4, "b")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty"),
        ("hello\n", "no known result format"),
        ('{"mean_ttft_ms": 1,\n "x" 2}', r"result.json:2:6: not JSON"),
        (VLLM | {"total_input_tokens": "many"}, r"result.json:\d+:\d+: total_input_tokens: expected a finite number"),
        ({k: v for k, v in VLLM.items() if k != "completed"}, r"result.json:1:1: completed: is missing"),
        (VLLM | {"completed": 0}, "completed: no request was completed"),
        (VLLM | {"failed": 40}, "failed: 40 requests failed"),
        (VLLM | {"mean_tpot_ms": -1}, "mean_tpot_ms: expected a finite number, not negative"),
        (VLLM | {"mean_tpot_ms": True}, "mean_tpot_ms: expected a finite number"),
        (guidellm(3), "metadata.version: unknown version 3 of the GuideLLM report"),
        ({"benchmarks": []}, "unknown version '\\(none\\)' of the GuideLLM report"),
        (guidellm(time_to_first_token_ms=None), r"benchmarks\[0\].metrics.time_to_first_token_ms: is missing"),
        (aiperf(schema_version="2.0"), "schema_version: unknown schema version '2.0' of AIPerf"),
        (aiperf(was_cancelled=True), "was_cancelled: the run was cancelled"),
        (aiperf(time_to_first_token={"unit": "hours", "avg": 1}), "time_to_first_token.unit: unknown unit 'hours'"),
        (AIPERF_CSV.replace("165.73", "fast"), r"result.json:2:1: Time to First Token \(ms\), column avg: 'fast'"),
        (AIPERF_CSV.replace("Time to First", "Time to Last"), "no row that gives ttft_mean_ms"),
        ("id,ttft_mean_ms\na,1,2\n", r"result.json:2:1: 3 cells under 2 column names"),
        ("id,ttft_mean_ms\n", "it holds no measured point"),
        ("[" * 100_000, "no known result format"),
        ('{"mean_ttft_ms": ' + "[" * 100_000, "not JSON"),
        ('{"mean_ttft_ms": ' + "9" * 10_000 + "}", "not JSON to read here: a number has too many digits"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_results(saved(tmp_path, content))


def test_files_that_are_no_text_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"id,ttft_mean_ms\n" * 100)[:30])
    for name in ("binary", "cut.gz", "missing.json", "."):
        with pytest.raises(BadInput, match="cannot read it|not UTF-8 text"):
            read_results(tmp_path / name)


def leaves(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all parts of a document."""
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(leaf for key, value in inside for leaf in leaves(value, (*path, key)))]


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = replaced(data[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize(
    "document", [VLLM | {"input_lens": [512, 512]}, guidellm(), aiperf()], ids=["vllm", "guide", "aiperf"]
)
def test_no_value_of_a_document_breaks_a_reader(tmp_path: Path, document: dict[str, Any]) -> None:
    """Any part may hold anything: the answer is points or a problem, never another error."""
    refused = 0
    for path in leaves(document):
        for odd in (None, "x", -1, [{}], 10**400):
            try:
                read_results(saved(tmp_path, replaced(document, path, odd)))
            except BadInput as error:
                refused += bool(error.problems)
    assert refused > 50


def test_lengths_one_by_one_say_whether_they_vary(tmp_path: Path) -> None:
    assert cells(tmp_path, VLLM | {"input_lens": [512, 512], "output_lens": [10, 90]})["length_dist"] == "dataset"
    assert cells(tmp_path, VLLM | {"input_lens": [512, 512], "output_lens": [64, 64]})["length_dist"] == "fixed"


def test_every_reader_says_what_its_tpot_is() -> None:
    for name in READERS:
        assert READERS.get(name).tpot, name
