"""serveplan calibrate: from benchmark files to a plan that names them and is surer; bad input is told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from planner.testing import TINY_YAML

Run = Callable[..., CompletedProcess[str]]
SETTINGS = ("gpu=H100-SXM5-80GB", "engine=vllm", "version=0.19.0", "tp=1", "weights=bf16")
SCENARIO = TINY_YAML.replace("count: 2", "count: 1")


def bench(concurrency: int, ttft_ms: float, tpot_ms: float, **changes: Any) -> str:
    """What `vllm bench serve --save-result` writes, as far as it is read."""
    return json.dumps({
        "model_id": "llama-3.1-8b", "request_rate": "inf", "max_concurrency": concurrency, "completed": 100,
        "failed": 0, "total_input_tokens": 102400, "total_output_tokens": 12800, "request_throughput": 1.0,
        "output_throughput": 128.0,
        "mean_ttft_ms": ttft_ms, "mean_tpot_ms": tpot_ms, **changes,
    }, indent=1)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three results and a scenario."""
    found = tmp_path_factory.mktemp("measured")
    for name, point in {"c1": (1, 45, 7.6), "c8": (8, 80, 8.9), "c32": (32, 190, 13.0)}.items():
        (found / f"{name}.json").write_text(bench(*point))
    (found / "tiny.yaml").write_text(SCENARIO)
    return found


def words(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def test_results_make_the_next_plan_surer(serveplan_in: Run, folder: Path) -> None:
    ended = serveplan_in(folder, "calibrate", "c1.json", "c8.json", "c32.json", "-o", "own", *words(*SETTINGS))
    assert ended.returncode == 0, ended.stderr
    assert "llama-3.1-8b bf16 on h100-sxm5-80gb, vllm 0.19.0: 3 points" in ended.stdout
    assert "held out" in ended.stdout
    assert "decode" in ended.stdout
    assert (folder / "own" / "engines" / "vllm-0.19.0.yaml").exists()
    pools = {}
    for name, extra in {"plain": [], "own": ["--catalog", "own"]}.items():
        planned = serveplan_in(folder, "plan", "tiny.yaml", "--json", "--quiet", "--jobs", "1", *extra)
        assert planned.returncode == 0, planned.stderr
        (pools[name],) = json.loads(planned.stdout)["pools"]
    assert "3 measured points (c1.json" in pools["own"]["source"]
    assert re.search(r"held-out error TPOT \d+% -> \d+%, TTFT \d+% -> \d+%", pools["own"]["source"])
    assert "measured points" not in pools["plain"]["source"]
    assert pools["own"]["rel_error"] < pools["plain"]["rel_error"]


def test_json_and_settings_from_a_scenario_and_a_file(serveplan_in: Run, folder: Path) -> None:
    (folder / "settings.yaml").write_text("tp: 1\nweights: bf16\n")
    results = ["c1.json", "c8.json", "c32.json"]
    ended = serveplan_in(
        folder,
        "calibrate",
        *results,
        "-o",
        "own2",
        "--scenario",
        "tiny.yaml",
        "--config",
        "settings.yaml",
        "--json",
        "-q",
    )
    assert ended.returncode == 0, ended.stderr
    (outcome,) = json.loads(ended.stdout)
    assert (outcome["engine"], outcome["version"], outcome["points"]) == ("vllm", "0.19.0", 3)
    assert set(outcome["held_out"]) == {"tpot", "ttft"}
    assert outcome["in_sample"]["tpot"] <= outcome["before"]["tpot"]


@pytest.mark.parametrize(
    ("results", "settings", "message"),
    [
        (["c1.json", "c8.json"], SETTINGS, "2 different point(s) of llama-3.1-8b bf16"),
        (["c1.json", "c1.json", "c1.json", "c8.json"], SETTINGS, "2 different point(s) of llama-3.1-8b bf16"),
        (["c1.json", "none.json"], SETTINGS, "none.json: cannot read it"),
        (["c1.json"], ("gqu=H100",), "unknown setting 'gqu' - did you mean 'gpu'?"),
        (["c1.json"], ("gpu",), "--set 'gpu': expected KEY=VALUE"),
        (["c1.json"], SETTINGS[:3], "c1.json:1:1: tp: how the model was cut is needed"),
        (["tiny.yaml"], SETTINGS, "tiny.yaml:1:1: no known result format"),
        (["fast.json"], SETTINGS, "is faster than h100-sxm5-80gb can be"),
        (["c8.json", "slow.json"], SETTINGS, "mean_ms is 8.9, but 30 at slow.json:1:1"),
    ],
)
def test_bad_input_is_told_and_nothing_is_written(
    serveplan_in: Run, folder: Path, results: list[str], settings: tuple[str, ...], message: str
) -> None:
    (folder / "fast.json").write_text(bench(8, 80, 0.5))
    (folder / "slow.json").write_text(bench(8, 80, 30.0))
    ended = serveplan_in(folder, "calibrate", *results, "-o", "nothing", *words(*settings))
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (folder / "nothing").exists()


def test_a_folder_that_cannot_be_written(serveplan_in: Run, folder: Path) -> None:
    (folder / "blocked").write_text("a file")
    ended = serveplan_in(folder, "calibrate", "c1.json", "c8.json", "c32.json", "-o", "blocked", *words(*SETTINGS))
    assert ended.returncode == 2
    assert "cannot write" in ended.stderr
