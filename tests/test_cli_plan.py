"""Commands that plan: the same bytes however they are run, bad input located, infeasible explained, work kept."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from planner.spec.plan import Plan
from planner.testing import TINY_YAML


def write(folder: Path, *edits: tuple[str, str], name: str = "tiny.yaml") -> None:
    text = TINY_YAML
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    (folder / name).write_text(text)


@pytest.fixture(scope="module")
def planned(serveplan_in, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with a scenario and its plan.json, and how the command ended."""
    folder = tmp_path_factory.mktemp("planned")
    write(folder)
    return folder, serveplan_in(folder, "plan", "tiny.yaml", "-o", "plan.json", "--jobs", "1")


def test_plan_prints_the_plan_and_writes_it(planned) -> None:
    folder, ended = planned
    assert ended.returncode == 0, ended.stderr
    assert "What runs" in ended.stdout
    assert "wrote plan.json" in ended.stderr
    assert "wrote" not in ended.stdout
    plan = Plan.model_validate_json((folder / "plan.json").read_text())
    assert plan.scenario["name"] == "tiny"
    assert f"${plan.bill.usd_per_hour:.2f}/h" in ended.stdout


def test_finished_work_leaves_no_journal(planned) -> None:
    folder, _ = planned
    assert list(folder.glob(".*")) == []


def test_the_same_bytes_with_other_processes_another_time_and_on_stdout(planned, serveplan_in) -> None:
    folder, _ = planned
    again = serveplan_in(folder, "plan", "tiny.yaml", "--jobs", "2", "--json", "--quiet")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.encode() == (folder / "plan.json").read_bytes()


def test_check_stands_and_then_does_not(planned, serveplan_in) -> None:
    folder, _ = planned
    data = json.loads((folder / "plan.json").read_text())
    data["bill"]["usd_per_hour"] = 99.0
    (folder / "changed.json").write_text(json.dumps(data))
    ended = serveplan_in(folder, "check", "plan.json", "changed.json", "--quiet", "--junit", "junit.xml")
    assert ended.returncode == 1
    assert "plan.json: stands\n" in ended.stdout
    assert re.search(r"changed.json: no longer stands\n.*bill.usd_per_hour: 99 -> ", ended.stdout, re.DOTALL)
    assert 'tests="2" failures="1"' in (folder / "junit.xml").read_text()
    assert serveplan_in(folder, "check", "plan.json", "--quiet").returncode == 0


def test_check_by_a_scenario_goes_by_its_tolerances(planned, serveplan_in) -> None:
    """A plan that carries loose tolerances of its own gains nothing by them."""
    folder, _ = planned
    plan = json.loads((folder / "plan.json").read_text())
    plan["scenario"]["check"] = {"usd_per_hour": 0.9, "metrics": 0.9}
    plan["bill"]["usd_per_hour"] *= 1.5
    (folder / "loose.json").write_text(json.dumps(plan))
    for more in ([], ["--scenario", "tiny.yaml"]):
        assert serveplan_in(folder, "check", "loose.json", "--quiet", *more).returncode == 1
    assert serveplan_in(folder, "check", "plan.json", "--quiet", "--scenario", "tiny.yaml").returncode == 0
    missing = serveplan_in(folder, "check", "plan.json", "--scenario", "none.yaml")
    assert missing.returncode == 2
    assert "none.yaml: no such file" in missing.stderr


def test_simulate_serves_the_planned_deployment(planned, serveplan_in) -> None:
    folder, _ = planned
    ended = serveplan_in(folder, "simulate", "tiny.yaml", "--plan", "plan.json", "--json")
    assert ended.returncode == 0, ended.stderr
    found, plan = json.loads(ended.stdout), json.loads((folder / "plan.json").read_text())
    assert found["classes"] == plan["classes"]
    assert found["bill"] == plan["bill"]
    assert "What runs" in serveplan_in(folder, "simulate", "tiny.yaml", "--plan", "plan.json").stdout
    assert serveplan_in(folder, "simulate", "tiny.yaml", "--plan", "plan.json", "--factor", "0").returncode == 2
    assert serveplan_in(folder, "simulate", "tiny.yaml").returncode == 2


def test_a_plan_of_another_scenario_is_not_simulated(planned, serveplan_in) -> None:
    folder, _ = planned
    write(folder, ("chat", "talk"), ("name: h100", "name: mine"), name="other.yaml")
    ended = serveplan_in(folder, "simulate", "other.yaml", "--plan", "plan.json")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "node 'h100' of the plan is not in the scenario" in ended.stderr
    assert "class 'chat' of the plan is not in the scenario" in ended.stderr
    assert "no pool of the plan serves the class 'talk'" in ended.stderr


def test_every_mistake_of_a_scenario_is_told_with_its_place(serveplan, tmp_path: Path) -> None:
    write(tmp_path, ("slo:", "sloo:"), ("llama-3.1-8b", "lama-3.1-8b"), ("2/s", "2"), ("count: 2", "count: 0"))
    ended = serveplan("plan", "tiny.yaml")
    assert (ended.returncode, ended.stdout) == (2, "")
    places = [line.split(": ")[0] for line in ended.stderr.splitlines()]
    assert [place.rsplit(":", 1)[0] for place in places] == [
        "tiny.yaml:4",
        "tiny.yaml:9",
        "tiny.yaml:10",
        "tiny.yaml:13",
    ]
    assert "did you mean 'slo'" in ended.stderr
    assert "did you mean 'llama-3.1-8b'" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "text", ["", "version: 1", "- a\n- b", "a: [1, 2", "\t", "version: 99\nname: x", "\x00", "version: 1\nversion: 1"]
)
def test_no_text_is_an_internal_error(serveplan, tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    ended = serveplan("plan", "odd.yaml")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("odd.yaml")


def test_files_that_cannot_be_used_are_bad_input(serveplan, tmp_path: Path) -> None:
    write(tmp_path)
    assert serveplan("plan", "absent.yaml").returncode == 2
    assert serveplan("plan", tmp_path).returncode == 2
    ended = serveplan("plan", "tiny.yaml", "--quiet", "-o", "no/such/folder/plan.json")
    assert ended.returncode == 2
    assert "cannot write" in ended.stderr


def test_an_infeasible_scenario_is_3_with_reasons(serveplan, tmp_path: Path) -> None:
    write(tmp_path, ("2/s", "5000/s"))
    ended = serveplan("plan", "tiny.yaml", "--quiet", "--json", "-o", "plan.json")
    assert ended.returncode == 3
    assert "h100" in ended.stderr
    document = json.loads(ended.stdout)
    assert (document["error"], document["exit_code"]) == ("Infeasible", 3)
    assert len(document["problems"]) >= 1
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupt_is_130_keeps_the_journal_and_the_next_run_goes_on(
    serveplan, serveplan_env, tmp_path: Path, jobs: str
) -> None:
    write(
        tmp_path,
        ("per_probe: 200", "per_probe: 2000"),
        ("count: 2}", "count: 2}\n    - {name: l40s, node: aws-g6e.xlarge, count: 8}"),
    )
    command = [sys.executable, "-m", "planner", "plan", "tiny.yaml", "-o", "plan.json", "--jobs", jobs]
    with subprocess.Popen(
        command, cwd=tmp_path, env=serveplan_env, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert "0/" not in process.stderr.readline()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "the same command goes on" in err
    (journal,) = tmp_path.glob(".plan.json.*.sqlite")
    kept = journal.stat().st_size
    assert kept > 0
    ended = serveplan("plan", "tiny.yaml", "-o", "plan.json", "--quiet", "--jobs", "1")
    assert ended.returncode == 0, ended.stderr
    assert not journal.exists()


def test_out_of_time_is_4_with_the_best_plan_so_far(serveplan_in, tmp_path: Path) -> None:
    """No time at all is time for the first family of candidates; the rest is counted, and nothing is called optimal."""
    write(tmp_path)
    ended = serveplan_in(tmp_path, "plan", "tiny.yaml", "-o", "plan.json", "--jobs", "1", "--time-limit", "0.001")
    assert ended.returncode == 4, ended.stderr
    plan = Plan.model_validate_json((tmp_path / "plan.json").read_text())
    assert plan.status == "feasible"
    assert [one.goal for one in plan.objectives]
    assert all(one.gap >= 0 for one in plan.objectives)
    assert any("stopped at the time limit" in one and "were not evaluated" in one for one in plan.warnings)


def test_out_of_time_without_a_plan_is_4_and_writes_none(serveplan_in, tmp_path: Path) -> None:
    """Decode pools are simulated before the prefill pools that they need."""
    apart = "search: {requests_per_probe: 200, roles: [disaggregated]}"
    write(tmp_path, ("search: {requests_per_probe: 200}", apart))
    ended = serveplan_in(tmp_path, "plan", "tiny.yaml", "-o", "plan.json", "--jobs", "1", "--time-limit", "0.001")
    assert ended.returncode == 4, ended.stderr
    assert "no plan yet" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "plan.json").exists()
