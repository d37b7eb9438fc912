"""serveplan simulate: long runs show how far they are, and Ctrl-C keeps what is done."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from planner.testing import TINY_YAML

SCENARIO = TINY_YAML.replace("rate: 2/s", "rate: 8/s").replace("requests_per_probe: 200", "requests_per_probe: 1000")
DEPLOYMENT = """\
pools:
  - {name: chat, model: llama-3.1-8b, node: h100, accelerator: h100-sxm-80gb, replicas: 1, weights: fp8, kv: fp8}
routes:
  - {request_class: chat, pool: chat}
"""
LONG = "requests_per_probe: 3000000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.yaml").write_text(SCENARIO)
    (tmp_path / "long.yaml").write_text(SCENARIO.replace("requests_per_probe: 1000", LONG))
    (tmp_path / "one.yaml").write_text(DEPLOYMENT)
    return tmp_path


def interrupted(folder: Path, env: dict[str, str], *words: str) -> tuple[str, str, int]:
    """(stdout, stderr, exit code) of a long run that gets one Ctrl-C when it shows its progress."""
    command = [sys.executable, "-m", "planner", "simulate", "long.yaml", "--deployment", "one.yaml", *words]
    running = subprocess.Popen(
        command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=1
    )
    assert running.stderr is not None
    seen = ""
    while "simulating chat: " not in seen:
        line = running.stderr.readline()
        assert line, seen
        seen += line
    os.kill(running.pid, signal.SIGINT)
    begin = time.monotonic()
    out, rest = running.communicate(timeout=60)
    assert time.monotonic() - begin < 30
    return out, seen + rest, running.returncode


def test_ctrl_c_prints_what_is_done(folder: Path, serveplan_env: dict[str, str]) -> None:
    out, err, code = interrupted(folder, serveplan_env, "--json")
    assert code == 130
    assert "stopping: what is done follows" in err
    assert "Traceback" not in err
    found = json.loads(out)
    assert found["interrupted"] is True
    assert any("interrupted after" in warning and "of 3,000,000 requests" in warning for warning in found["warnings"])
    (one,) = found["classes"]
    assert 100 < one["requests"] < 3_000_000
    assert one["metrics"]["ttft"]["p50"]["value"] > 0


def test_a_short_run_shows_no_progress_and_is_whole(folder: Path, serveplan_in) -> None:
    done = serveplan_in(folder, "simulate", "tiny.yaml", "--deployment", "one.yaml", "--json")
    assert done.returncode == 0, done.stderr
    assert "simulating" not in done.stderr
    assert json.loads(done.stdout)["interrupted"] is False


def test_metrics_and_a_timeline_as_json(folder: Path, serveplan_in) -> None:
    words = ("tiny.yaml", "--deployment", "one.yaml", "--json", "--timeline", "t.json", "--timeline-requests", "20")
    done = serveplan_in(folder, "simulate", *words, "--seeds", "2")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (ttft,) = [r for r in found["metrics"] if (r["metric"], r["statistic"]) == ("ttft", "p90")]
    assert ttft["lo"] < ttft["value"] < ttft["hi"]
    assert (found["seeds"], found["saturated"]) == (2, [])
    events = json.loads((folder / "t.json").read_text())["traceEvents"]
    assert len({event["id"] for event in events if event["ph"] == "b"}) == 20
    assert "wrote t.json" in done.stderr


def test_overload_is_said(folder: Path, serveplan_in) -> None:
    done = serveplan_in(folder, "simulate", "tiny.yaml", "--deployment", "one.yaml", "--factor", "20")
    assert "saturated at" in done.stdout
    assert "req/s of 160" in done.stdout
    assert "TTFT    ≥" in done.stdout


def test_more_periods_than_anybody_reads_are_refused(folder: Path, serveplan_in) -> None:
    done = serveplan_in(folder, "simulate", "tiny.yaml", "--deployment", "one.yaml", "--period=1 us")
    assert done.returncode == 2
    assert "take at least" in done.stderr


@pytest.mark.parametrize("period", ["1", "-1 h", "0 s", "soon"])
def test_a_period_needs_a_unit(folder: Path, serveplan_in, period: str) -> None:
    done = serveplan_in(folder, "simulate", "tiny.yaml", "--deployment", "one.yaml", f"--period={period}")
    assert done.returncode == 2
    assert "--period" in done.stderr
