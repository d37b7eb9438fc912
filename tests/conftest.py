"""What tests of the command line share: running it as users do, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
Ended = subprocess.CompletedProcess[str]
FROM_OUTSIDE = ("NO_COLOR", "COLUMNS", "SERVEPLAN_DEBUG", "SERVEPLAN_CATALOG")


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def serveplan_env() -> dict[str, str]:
    """Environment in which the command line runs; every warning is an error."""
    inherited = {name: value for name, value in os.environ.items() if name not in FROM_OUTSIDE}
    return inherited | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


@pytest.fixture(scope="session")
def serveplan_in(serveplan_env: dict[str, str]) -> Callable[..., Ended]:
    """Run the command line in a folder; keyword `env` adds variables."""

    def run(folder: Path, *words: str | Path, env: dict[str, str] | None = None) -> Ended:
        command = [sys.executable, "-m", "planner", *map(str, words)]
        variables = serveplan_env | (env or {})
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=variables, timeout=300)

    return run


@pytest.fixture
def serveplan(serveplan_in: Callable[..., Ended], tmp_path: Path) -> Callable[..., Ended]:
    """Run the command line in the empty folder of this test."""
    return partial(serveplan_in, tmp_path)
