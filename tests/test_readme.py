"""The README tells the truth: its `serveplan` commands and Python examples run in order, its make targets exist."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = ("sh", "bash", "console", "shell")


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def commands(block: str, first_word: str) -> list[str]:
    lines = (line.removeprefix("$ ").strip() for line in block.replace("\\\n", " ").splitlines())
    return [line for line in lines if line.split(" ")[0] == first_word]


def scripts(text: str) -> list[str]:
    """One shell script per block: its serveplan commands, or its Python code on standard input."""
    found = []
    for language, block in BLOCK.findall(text):
        if language in SHELL and (lines := commands(block, "serveplan")):
            found.append("\n".join(lines))
        if language == "python":
            found.append(f"{sys.executable} - <<'END'\n{block}END")
    return found


def test_the_examples_run(readme: str, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "scenarios", tmp_path / "scenarios")
    env = {**os.environ, "PYTHONPATH": str(root)}
    prelude = f'set -eu\nserveplan() {{ {sys.executable} -m planner "$@"; }}\n'
    wanted = scripts(readme)
    assert wanted, "the README shows no command"
    for script in wanted:
        ended = subprocess.run(
            ["bash", "-c", prelude + script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600
        )
        assert ended.returncode == 0, f"{script}\n{ended.stdout}{ended.stderr}"


def test_the_make_targets_exist(readme: str, root: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE))
    named = {line.split()[1] for _, block in BLOCK.findall(readme) for line in commands(block, "make")}
    assert named
    assert named <= targets


def test_the_files_it_links_to_exist(readme: str, root: Path) -> None:
    links = [
        link for link in re.findall(r"\]\(([^)#\s]+)", readme) if not link.startswith(("http:", "https:", "mailto:"))
    ]
    assert [link for link in links if not (root / link).exists()] == []
