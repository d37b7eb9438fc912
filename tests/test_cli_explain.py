"""The command explain: from the file alone, and with fresh plans; how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from planner.review import write_plan
from planner.search.plan import plan
from planner.spec.plan import Plan
from planner.testing import tiny_scenario

FLEET = {"nodes": [{"name": "h100", "node": "aws-p5.4xlarge", "count": 2, "price": "$6.88/h"}]}
SEARCH = {"requests_per_probe": 100, "max_tokens_per_step": [2048], "pp": [1]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("explained")
    write_plan(plan(tiny_scenario(search=SEARCH, fleet=FLEET)), found / "plan.json")
    return found


def test_why_needs_nothing_but_the_file(serveplan_in, folder: Path) -> None:
    ended = serveplan_in(folder, "explain", "plan.json")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("1 x chat-h100-tp1: 6.88 USD/h\n\nPromises, the tightest first\n  chat ")
    assert ended.stderr == ""
    as_json = json.loads(serveplan_in(folder, "explain", "plan.json", "--json").stdout)
    assert [one["limit"] for one in as_json["limits"]] == ["nodes of h100"]


def test_forcing_what_was_chosen_costs_nothing(serveplan_in, folder: Path) -> None:
    ended = serveplan_in(folder, "explain", "plan.json", "why-not", "h100-tp1", "--json", "--jobs", "1")
    assert ended.returncode == 0, ended.stderr
    (row,) = json.loads(ended.stdout)["variants"]
    assert row["change"] == 0
    assert row["runs"] == json.loads(ended.stdout)["plan"]
    assert "planning with h100-tp1" in ended.stderr


def test_forcing_the_impossible_is_answered_with_reasons(serveplan_in, folder: Path) -> None:
    ended = serveplan_in(folder, "explain", "plan.json", "why-not", "tp8", "-q", "--jobs", "1")
    assert ended.returncode == 0, ended.stderr
    assert "tp8: no plan\n  chat: what `search` allows has no replica that a fleet of 2 like" in ended.stdout
    assert ended.stderr == ""


def test_costs_prices_every_promise(serveplan_in, folder: Path) -> None:
    ended = serveplan_in(folder, "explain", "plan.json", "costs", "--json", "-q", "--jobs", "1")
    assert ended.returncode == 0, ended.stderr
    rows = {row["what"]: row for row in json.loads(ended.stdout)["variants"]}
    assert list(rows) == ["chat ttft p95 2 s -> 2.5 s", "chat tpot p95 80 ms -> 100 ms", "limits.hold_at: pessimistic"]
    paid = Plan.model_validate_json((folder / "plan.json").read_text()).objectives[0].value
    assert all(row["base"] == paid for row in rows.values())
    assert rows["limits.hold_at: pessimistic"]["change"] >= 0
    assert all(row["change"] <= 0 for what, row in rows.items() if "->" in what)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["whynot"], "unknown question 'whynot' - did you mean 'why-not'"),
        (["why-not"], "why not what?"),
        (["costs", "tp2"], "costs takes no further words"),
        (["why-not", "h2o"], "nothing of this scenario is called 'h2o'"),
    ],
)
def test_questions_that_mean_nothing_are_bad_input(serveplan_in, folder: Path, words: list[str], said: str) -> None:
    ended = serveplan_in(folder, "explain", "plan.json", *words)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stdout == ""
