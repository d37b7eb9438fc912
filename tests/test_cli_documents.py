"""Commands that read plans: stdout is the result, stderr the rest, and every ending has its exit code."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from planner.review import write_plan
from planner.testing import tiny_plan


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    write_plan(tiny_plan(), tmp_path / "plan.json")
    return tmp_path / "plan.json"


@pytest.fixture
def changed_file(tmp_path: Path, plan_file: Path) -> Path:
    changed = tmp_path / "changed.json"
    changed.write_text(plan_file.read_text().replace('"replicas": 2', '"replicas": 3'))
    return changed


def test_help_and_version_come_on_stdout(serveplan) -> None:
    shown = serveplan("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    for command in ("plan", "check", "diff", "report", "catalog", "schema", "init"):
        assert re.search(rf"^  {command}\b", shown.stdout, re.MULTILINE)
        assert serveplan(command, "--help").returncode == 0
    assert re.fullmatch(r"serveplan \d+\.\d+\.\d+\n", serveplan("--version").stdout)


@pytest.mark.parametrize("words", [["plan"], ["nonsense"], ["plan", "--frobnicate", "x.yaml"], ["diff", "one.json"]])
def test_wrong_usage_is_2_and_says_so_on_stderr(serveplan, words: list[str]) -> None:
    ended = serveplan(*words)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    assert "Usage: serveplan" in ended.stderr


def test_report_prints_the_plan(serveplan, plan_file: Path) -> None:
    ended = serveplan("report", plan_file, env={"COLUMNS": "80"})
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "2 x h100-tp1" in ended.stdout
    assert "$13.76/h" in ended.stdout
    assert "\x1b" not in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80


def test_diff_is_0_unless_asked_for_an_exit_code(serveplan, plan_file: Path, changed_file: Path) -> None:
    same = serveplan("diff", plan_file, plan_file, "--exit-code")
    assert (same.returncode, same.stdout) == (0, "no difference beyond tolerance\n")
    told = serveplan("diff", plan_file, changed_file)
    assert (told.returncode, told.stdout) == (0, "pools.h100-tp1.replicas: 2 -> 3 (+50.0%)\n")
    assert serveplan("diff", plan_file, changed_file, "--exit-code").returncode == 1


def test_diff_as_json_is_one_document(serveplan, plan_file: Path, changed_file: Path) -> None:
    document = json.loads(serveplan("diff", plan_file, changed_file, "--json").stdout)
    assert document["equal"] is False
    assert document["changes"] == [
        {"path": "pools.h100-tp1.replicas", "before": 2, "after": 3, "tolerance": None, "relative": 0.5}
    ]


@pytest.mark.parametrize("command", [["report"], ["diff", "plan.json"], ["check"]])
def test_a_file_that_is_no_plan_is_bad_input(serveplan, tmp_path: Path, plan_file: Path, command: list[str]) -> None:
    (tmp_path / "broken.json").write_text('{"schema_version": "1.0",\n "seed": }')
    ended = serveplan(*command, "broken.json")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "broken.json:2:10: not JSON: Expecting value\n"


def test_bad_input_with_json_is_a_json_document_too(serveplan, plan_file: Path) -> None:
    ended = serveplan("diff", plan_file, "absent.json", "--json")
    assert ended.returncode == 2
    document = json.loads(ended.stdout)
    assert document["error"] == "BadInput"
    assert document["problems"][0]["file"] == "absent.json"
    assert ended.stderr.startswith("absent.json: cannot read")


def test_a_reader_that_goes_away_is_no_error(plan_file: Path, root: Path) -> None:
    command = f"{sys.executable} -m planner report {plan_file}; echo $? >&2"
    piped = subprocess.run(
        ["bash", "-c", f"({command}) | true"], capture_output=True, text=True, cwd=root, env=dict(os.environ)
    )
    assert piped.stderr.splitlines() == ["0"]


def test_an_internal_error_is_70_with_its_traceback_only_on_debug(serveplan, tmp_path: Path, root: Path) -> None:
    broken = tmp_path / "sitecustomize.py"
    broken.write_text("import planner.review as r\ndef fail(path): raise TypeError('boom')\nr.read_plan = fail\n")
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    ended = serveplan("report", "plan.json", env=env)
    assert (ended.returncode, ended.stdout) == (70, "")
    assert "internal error: TypeError: boom" in ended.stderr
    assert "report it" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Traceback" in serveplan("--debug", "report", "plan.json", env=env).stderr


def test_another_owner_of_the_package_name_is_refused(serveplan, tmp_path: Path, root: Path, plan_file: Path) -> None:
    other = tmp_path / "site" / "llm_d_planner-0.3.3.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-d-planner\nVersion: 0.3.3\n")
    (other / "RECORD").write_text("planner/__init__.py,sha256=x,0\nplanner/cli/__init__.py,sha256=y,0\n")
    env = {"PYTHONPATH": os.pathsep.join([str(root), str(other.parent)])}
    ended = serveplan("report", plan_file, env=env)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert len(ended.stderr.splitlines()) == 1
    assert "llm-d-planner also installs a package called `planner`" in ended.stderr


def test_init_writes_a_scenario_once(serveplan, tmp_path: Path) -> None:
    first = serveplan("init", "mine.yaml")
    assert (first.returncode, first.stdout) == (0, "")
    assert "wrote mine.yaml" in first.stderr
    again = serveplan("init", "mine.yaml")
    assert again.returncode == 2
    assert "mine.yaml: exists already - --force overwrites it" in again.stderr
    assert serveplan("init", "mine.yaml", "--force").returncode == 0
    assert serveplan("init", "no/such/folder.yaml").returncode == 2
