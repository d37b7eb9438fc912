"""Output: color only where it belongs, progress that does not flood a log."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from planner.cli import output
from planner.review import write_plan
from planner.testing import tiny_plan

pty = pytest.importorskip("pty", reason="pseudo-terminals are a Unix thing")


def on_a_terminal(root: Path, words: list[str], **env: str) -> str:
    """What a command writes to a terminal of 90 columns."""
    ours, theirs = pty.openpty()
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
    with subprocess.Popen(
        [sys.executable, "-m", "planner", *words],
        stdout=theirs, stderr=theirs, cwd=root, env={**clean, "TERM": "xterm", "COLUMNS": "90", **env},
    ) as process:  # fmt: skip
        os.close(theirs)
        text = b""
        while chunk := _read(ours):
            text += chunk
    os.close(ours)
    assert process.returncode == 0
    return text.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux ends a terminal whose other side has closed with EIO
        return b""


@pytest.fixture
def report(tmp_path: Path) -> list[str]:
    write_plan(tiny_plan(), tmp_path / "plan.json")
    return ["report", str(tmp_path / "plan.json")]


def test_a_terminal_gets_color(root: Path, report: list[str]) -> None:
    text = on_a_terminal(root, report)
    assert "\x1b[" in text
    assert "$13.76/h" in text


@pytest.mark.parametrize(
    ("words", "env"),
    [([], {"NO_COLOR": "1"}), (["--no-color"], {}), ([], {"TERM": "dumb"})],
    ids=["env", "flag", "dumb"],
)
def test_color_can_be_refused(root: Path, report: list[str], words: list[str], env: dict[str, str]) -> None:
    assert "\x1b" not in on_a_terminal(root, report + words, **env)


def test_progress_in_a_log_is_one_line_per_phase_and_then_one_every_few_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now_s)
    with output.Progress() as progress:
        for done in range(1, 12):
            now_s += 1.0
            progress(done, 11, "pools")
        progress(1, 9, "confirm")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == ["pools: 1/11", "pools: 6/11", "pools: 11/11", "confirm: 1/9"]


def test_quiet_means_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with output.Progress(quiet=True) as progress:
        progress(1, 1, "pools")
    output.note("wrote plan.json", quiet=True)
    assert capsys.readouterr() == ("", "")
