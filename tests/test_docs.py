"""The documents tell the truth: the worked example prints what it says, YAML can be laid over the quickstart."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from planner.catalog import Catalog, load_scenario

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ELLIPSIS = "..."


def blocks(root: Path, page: str, language: str) -> list[str]:
    text = (root / "docs" / page).read_text(encoding="utf-8")
    return [block for found, block in BLOCK.findall(text) if found == language]


def printed(block: str) -> Iterator[tuple[str, list[str]]]:
    """(command, the lines that it is said to print)."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        yield command, [line.rstrip() for line in lines if line.strip() and line != ELLIPSIS]


def test_the_worked_example_prints_what_it_says(root: Path, tmp_path: Path) -> None:
    (tmp_path / "scenarios").symlink_to(root / "scenarios")
    said = [one for block in blocks(root, "choosing.md", "console") for one in printed(block)]
    assert len(said) > 4
    for command, lines in said:
        words = command.removeprefix("serveplan ").split()
        ran = subprocess.run(
            [sys.executable, "-m", "planner", *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)},
            capture_output=True, text=True, timeout=600, check=True,
        )  # fmt: skip
        shown = {line.rstrip() for line in ran.stdout.splitlines()}
        assert [line for line in lines if line not in shown] == [], command


def test_the_lines_for_a_scenario_can_be_read(root: Path, tmp_path: Path) -> None:
    whole: dict[str, Any] = yaml.safe_load((root / "scenarios" / "quickstart.yaml").read_text(encoding="utf-8"))
    shown = [yaml.safe_load(block) for block in blocks(root, "choosing.md", "yaml")]
    assert len(shown) > 2
    for fragment in shown:
        path = tmp_path / "asked.yaml"
        path.write_text(yaml.safe_dump(whole | fragment), encoding="utf-8")
        assert set(fragment) <= load_scenario(path, Catalog.open()).scenario.model_fields_set
