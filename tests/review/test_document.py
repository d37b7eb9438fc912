"""Reading plan.json: versions, located errors, and the same bytes again."""

import json
from pathlib import Path

import pytest

from planner.errors import BadInput
from planner.review import dump_plan, parse_plan, read_plan, write_plan
from planner.testing import tiny_plan


def changed(**fields: object) -> str:
    return json.dumps({**json.loads(dump_plan(tiny_plan())), **fields})


def test_a_plan_comes_back_equal_and_with_equal_bytes(tmp_path: Path) -> None:
    write_plan(tiny_plan(), tmp_path / "plan.json")
    again = read_plan(tmp_path / "plan.json")
    assert again == tiny_plan()
    assert dump_plan(again).encode() == (tmp_path / "plan.json").read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_a_newer_minor_version_is_read_and_its_additions_are_ignored() -> None:
    data = json.loads(changed(schema_version="1.9", added=1))
    data["deployment"]["pools"][0]["sequence_parallel"] = 2
    data["bill"]["water_l"] = 3.0
    plan = parse_plan(json.dumps(data))
    assert plan.deployment == tiny_plan().deployment
    assert plan.schema_version == "1.9"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            changed(schema_version="2.0"),
            "p.json: schema_version 2.0 cannot be read, this serveplan reads 1.x - install",
        ),
        (changed(schema_version="10.0"), "this serveplan reads 1.x - install a newer serveplan"),
        (changed(schema_version="0.3"), "this serveplan reads 1.x - plan the scenario again"),
        (changed(schema_version=1), "p.json: not a plan: `schema_version` is missing"),
        ("[1, 2]", "p.json: not a plan: `schema_version` is missing"),
        ('{"a": 1,\n  "b": }', "p.json:2:8: not JSON: Expecting value"),
        ("", "p.json:1:1: not JSON"),
        ("[" * 100_000, "p.json: not a plan: nested too deeply"),
        (changed(seed="seven"), "p.json: seed: input should be a valid integer"),
        (changed(status="perfect"), "p.json: status: input should be 'optimal' or 'feasible'"),
        (changed(pools=[]), "p.json: pools must be those of the deployment, in the same order"),
    ],
    ids=[
        "newer",
        "newer-two-digits",
        "older",
        "number",
        "no-object",
        "syntax",
        "empty",
        "deep",
        "type",
        "word",
        "pools",
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_plan(text, "p.json")
    assert said in str(caught.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(BadInput) as caught:
        parse_plan(changed(seed="seven", status="perfect", bill={}))
    assert len(caught.value.problems) >= 3


def test_a_missing_file_and_bytes_that_are_no_text_are_bad_input(tmp_path: Path) -> None:
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="cannot read: No such file"):
        read_plan(tmp_path / "absent.json")
    with pytest.raises(BadInput, match="not UTF-8 text"):
        read_plan(tmp_path / "binary.json")


def test_a_plan_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(BadInput, match="cannot write"):
        write_plan(tiny_plan(), tmp_path / "plan.json")
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]
