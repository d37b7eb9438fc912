"""Scenarios with graphs: the examples run, and what is wrong in one is said at its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from planner.catalog import Catalog, load_deployment, load_scenario, parse_scenario
from planner.cli.app import app
from planner.errors import BadInput
from planner.search.plan import plan
from planner.search.predict import simulate

EXAMPLES = Path(__file__).parents[1] / "scenarios" / "graphs"


@pytest.mark.parametrize("name", ["agent", "vision"])
def test_the_examples_run_and_keep_their_promises(name: str) -> None:
    catalog = Catalog.open()
    asked = load_scenario(EXAMPLES / f"{name}.yaml", catalog)
    deployment = load_deployment(EXAMPLES / f"{name}.deployment.yaml", catalog, asked.scenario)
    found = simulate(asked, deployment, catalog=catalog)
    assert all(row.met for one in found.classes for row in one.slo)
    assert any(warning.startswith("service ") for warning in found.warnings)
    assert found.classes[0].completed_per_s == found.classes[0].offered_per_s


def test_a_plan_of_a_graph_is_refused_where_the_graph_begins() -> None:
    with pytest.raises(BadInput, match=r"agent\.yaml:18:7: class 'agent' has a graph, .* not planned"):
        plan(load_scenario(EXAMPLES / "agent.yaml"))


def wrongs(tmp_path: Path, old: str, new: str) -> str:
    """What is said about the agent example with a change."""
    text = (EXAMPLES / "agent.yaml").read_text(encoding="utf-8")
    assert old in text
    with pytest.raises(BadInput) as caught:
        parse_scenario(text.replace(old, new), Catalog.open(), file="agent.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("search, target: read}", "search, target: reed}", "agent.yaml:31:36: .*no node is called 'reed'"),
        ("entry: think", "entry: start", "agent.yaml:18:14: .*no node is called 'start'"),
        ("probability: 70%, max_visits: 6", "probability: 70%", "agent.yaml:33:11: .*closes a loop through 'think'"),
        ("probability: 30%", "probability: 40%", "agent.yaml:34:55: .*add up to 1.1, more than 1"),
        ("- {source: shell, target: read}", "", "read.join.*waits for nobody"),
        ("target: answer, probability", "target: read, probability", "answer.*is never reached from the entry"),
        ("{phase: tool, seconds", "{phase: llm, seconds", "agent.yaml:25:16: .*a node of phase llm needs `input`"),
        ("{phase: retrieve, seconds", "{phase: retrieve, model: llama, seconds", "means nothing in phase retrieve"),
        ("answer: {phase: llm,", "answer: {phase: llm, model: qwen,", "no model of this scenario is called 'qwen'"),
        ("arrivals: {rate: 0.5/s}", "arrivals: {rate: 0.5/s}\n    preset: azure-conv-2023", "give exactly one of"),
    ],
)  # fmt: skip
def test_mistakes_are_placed(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert re.search(said, wrongs(tmp_path, old, new)), wrongs(tmp_path, old, new)


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("vision", "  - {source: eyes, target: reader, bandwidth: 3 GB/s, latency: 100 us}\n", "",
         "deployment.yaml:9:3: .*from node 'see' to 'say' of pictures, but no edge leads from eyes to reader"),
        ("vision", "  - {request_class: pictures, pool: eyes}\n", "",
         "deployment.yaml:12:.*no route of pictures leads to a pool that runs node 'see'"),
        ("agent", "pool: index}", "pool: indexes}", "deployment.yaml:8:.*no pool is called 'indexes'"),
        ("agent", "pool: index}", "pool: index, share: 0.5}", "shares of node 'search' of agent sum to 0.5, not 1"),
    ],
)  # fmt: skip
def test_a_deployment_that_lacks_something_is_refused(tmp_path: Path, name: str, old: str, new: str, said: str) -> None:
    catalog = Catalog.open()
    text = (EXAMPLES / f"{name}.deployment.yaml").read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "deployment.yaml"
    file.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load_deployment(file, catalog, load_scenario(EXAMPLES / f"{name}.yaml", catalog).scenario)
    assert re.search(said, str(caught.value)), str(caught.value)


def test_the_command_shows_services_and_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[Any] = [EXAMPLES / "vision.yaml", "--deployment", EXAMPLES / "vision.deployment.yaml"]
    done = CliRunner().invoke(app, ["simulate", *map(str, files), "--no-color"])
    assert done.exit_code == 0, done.output
    assert "1 x host  preprocess, 4 at a time each" in done.output
    assert "results eyes -> reader at 3 GB/s" in done.output
    assert "KV cache reader -> writer" in done.output
