"""Which prompts begin alike: texts shared by a class, hashes of a trace, classes that share nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planner.errors import BadInput
from planner.spec.requests import Chains, Requests
from planner.spec.workload import RequestClass
from planner.traffic import load

TRACE = (
    '{"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [7, 8, 9]}\n'
    '{"timestamp": 0, "input_length": 1600, "output_length": 5, "hash_ids": [7, 8, 4, 5]}\n'
    '{"timestamp": 9000, "input_length": 300, "output_length": 5, "hash_ids": [6]}\n'
)


def a_class(name: str = "chat", **changes: object) -> RequestClass:
    given = {
        "name": name, "model": "m", "arrivals": {"rate": "2/s"},
        "lengths": {"input": {"uniform": {"low": 40, "high": 400}}, "output": {"fixed": 10}},
    }  # fmt: skip
    return RequestClass.model_validate({**given, **changes})


def drawn(*classes: RequestClass, folder: Path = Path(), requests: int = 60) -> Requests:
    return load(classes, folder).draw(seed=3, requests=requests)


def links(requests: Requests, i: int) -> list[int]:
    assert requests.chains is not None
    start, count = requests.chains.start[i], requests.chains.count[i]
    return requests.chains.links[start : start + count].tolist()


def test_without_a_prefix_there_are_no_chains() -> None:
    assert drawn(a_class()).chains is None


def test_a_prefix_changes_no_length_and_no_time() -> None:
    plain, same = drawn(a_class()), drawn(a_class(prefix={"tokens": 200, "variants": 4}))
    assert np.array_equal(plain.arrival_s, same.arrival_s)
    assert np.array_equal(plain.input_tokens, same.input_tokens)


def test_prompts_share_whole_links_of_their_text() -> None:
    requests = drawn(a_class(prefix={"tokens": 200, "variants": 3}))
    assert requests.chains is not None
    assert requests.chains.link_tokens == 16
    assert np.array_equal(requests.chains.count, np.minimum(requests.input_tokens // 16, 200 // 16))
    texts = {links(requests, i)[0] // 12 for i in range(len(requests))}
    assert texts == {0, 1, 2}
    for i in range(len(requests)):
        first = links(requests, i)[0]
        assert links(requests, i) == list(range(first, first + len(links(requests, i))))


def test_classes_share_nothing() -> None:
    both = drawn(a_class("a", prefix={"tokens": 64}), a_class("b", prefix={"tokens": 64}), a_class("c"))
    seen = [{one for i in np.flatnonzero(both.class_index == c) for one in links(both, int(i))} for c in range(3)]
    assert seen[0]
    assert seen[1]
    assert seen[0].isdisjoint(seen[1])
    assert seen[2] == set()


def test_a_trace_brings_its_hashes_and_only_whole_ones(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(TRACE)
    recorded = RequestClass.model_validate({"name": "t", "model": "m", "trace": {"file": "t.jsonl"}})
    requests = drawn(recorded, folder=tmp_path)
    assert [links(requests, i) for i in range(3)] == [[7, 8], [7, 8, 4], []]
    beside = drawn(recorded, a_class(prefix={"tokens": 1024}), folder=tmp_path)
    assert isinstance(beside.chains, Chains)
    assert beside.chains.link_tokens == 512


@pytest.mark.parametrize("hashes", ['"7"', "[1.5]", "[-1]", "[true]"])
def test_hashes_that_are_none(tmp_path: Path, hashes: str) -> None:
    (tmp_path / "t.jsonl").write_text(TRACE.replace("[6]", hashes))
    recorded = RequestClass.model_validate({"name": "t", "model": "m", "trace": {"file": "t.jsonl"}})
    with pytest.raises(BadInput, match=r"t\.jsonl:3:1: 'hash_ids' is not a list of whole numbers"):
        drawn(recorded, folder=tmp_path)


def test_a_trace_takes_no_prefix_of_the_scenario() -> None:
    with pytest.raises(ValueError, match="hash_ids"):
        RequestClass.model_validate({"name": "t", "model": "m", "trace": {"file": "t.jsonl"}, "prefix": {"tokens": 9}})


def a_session(**graph: object) -> RequestClass:
    lengths = {"input": {"fixed": 100}, "output": {"fixed": 60}}
    given: dict[str, object] = {"name": "talk", "model": "m", "arrivals": {"rate": "1/s"}, "lengths": lengths}
    given["session"] = {"turns": {"fixed": 3}, "think": {"fixed": "1 s"}}
    return RequestClass.model_validate({**given, **graph})


def test_turns_of_a_session_lie_on_one_line() -> None:
    requests = drawn(a_session(), requests=2)
    rows = [links(requests, i) for i in range(6)]
    assert [len(row) for row in rows] == [160 // 16, 320 // 16, 480 // 16] * 2
    assert rows[2][: len(rows[0])] == rows[0]
    assert rows[2][: len(rows[1])] == rows[1]
    assert set(rows[2]).isdisjoint(rows[5])


def test_two_that_go_on_from_one_point_share_only_what_was_before() -> None:
    llm = {"phase": "llm", "input": {"fixed": 80}, "output": {"fixed": 80}}
    nodes = {"ask": llm, "left": llm, "right": llm}
    edges = [{"source": "ask", "target": "left"}, {"source": "ask", "target": "right"}]
    fork = {"entry": "ask", "nodes": nodes, "edges": edges}
    requests = drawn(a_session(session=None, lengths=None, graph=fork), requests=1)
    ask, left, right = (links(requests, i) for i in range(3))
    assert left[:10] == right[:10] == ask
    assert len(left) == len(right) == 20
    assert set(left[10:]).isdisjoint(right[10:])


def test_texts_that_nobody_drew_take_no_room() -> None:
    requests = drawn(a_class(prefix={"tokens": 10**9, "variants": 10**9}))
    assert requests.chains is not None
    assert len(requests.chains.links) <= 60 * (400 // 16)
