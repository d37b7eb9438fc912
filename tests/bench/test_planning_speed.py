"""Whole planning commands: seconds, CPU and peak memory; printed, not asserted, because machines differ."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


def measured(root: Path, words: list[str]) -> str:
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "planner", *words], cwd=root, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    wall_s, cpu_s = time.perf_counter() - start, used.ru_utime + used.ru_stime
    return f"{wall_s:.1f} s, {cpu_s:.1f} s CPU, {used.ru_maxrss / 1024:.0f} MiB"


@pytest.mark.bench
@pytest.mark.parametrize("name", ["quickstart", "qwen3-32b-h200", "llama-3.3-70b-chat", "mixed-fleet"])
def test_a_plan_from_the_command_line(root: Path, tmp_path: Path, name: str) -> None:
    words = ["plan", f"scenarios/{name}.yaml", "-o", str(tmp_path / "plan.json"), "--quiet"]
    subprocess.run([sys.executable, "-m", "planner", *words], cwd=root, check=True, stdout=subprocess.DEVNULL)
    print(f"\nserveplan plan {name}: {measured(root, words)} (compiled before)")
