"""How long the command line takes before it does anything; printed, not asserted, because machines differ."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest


def cpu_s(root: Path, *words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "planner", *words], cwd=root, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.bench
@pytest.mark.parametrize("words", [["--help"], ["catalog", "list"], ["schema", "scenario"]], ids=" ".join)
def test_cpu_time_of_a_command(root: Path, words: list[str]) -> None:
    best_s = min(cpu_s(root, *words) for _ in range(5))
    print(f"\nserveplan {' '.join(words)}: {best_s:.3f} s CPU (best of 5)")
