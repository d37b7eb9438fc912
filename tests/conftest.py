"""What tests of the command line share: running it as users do, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
Ended = subprocess.CompletedProcess[str]
Serveplan = Callable[..., Ended]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture
def serveplan(tmp_path: Path) -> Serveplan:
    """Run the command line in an empty folder with a cache of its own; keyword `env` adds variables."""

    def run(*words: str | Path, env: dict[str, str] | None = None) -> Ended:
        inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "SERVEPLAN_DEBUG")}
        own = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONWARNINGS": "error"}
        command = [sys.executable, "-m", "planner", *map(str, words)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env={**inherited, **own, **(env or {})}, timeout=300
        )

    return run
