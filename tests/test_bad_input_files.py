"""Whatever stands in a file, reading it gives a noun or BadInput with places - never another exception."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.catalog import NOUNS, Catalog, load_deployment, load_scenario, parse_scenario
from planner.catalog.validate import as_noun
from planner.catalog.yaml_reader import parse_yaml, read_yaml
from planner.errors import BadInput, Problem
from planner.spec.scenario import Scenario

HERE = Path(__file__).parent / "catalog" / "scenarios"
FULL = (HERE / "full.yaml").read_text()
SYNTAX = " \n\t:-[]{}'\"&*!|>%@#,x1.eé\x07"
FORBIDDEN = ("pydantic", "http", "Traceback", "Value error", "Input should", "instance of", "NoneType", "<class")
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.open()


def problems_of(read: Callable[[], object]) -> tuple[Problem, ...]:
    """What is said about an input; empty when it is right. Any other exception fails the test."""
    try:
        read()
    except BadInput as error:
        return error.problems
    return ()


def check_words(problems: tuple[Problem, ...]) -> None:
    """Each problem has its place and speaks our language, in one line."""
    for problem in problems:
        line = str(problem)
        assert problem.where.line >= 1
        assert problem.where.column >= 1
        assert "\n" not in line
        assert not any(word in line for word in FORBIDDEN), line


@given(st.binary(max_size=200))
@quick
def test_random_bytes(tmp_path: Path, catalog: Catalog, content: bytes) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_bytes(content)
    problems = problems_of(lambda: load_scenario(path, catalog))
    assert problems
    check_words(problems)


@given(st.data())
@quick
def test_a_scenario_with_some_characters_changed(catalog: Catalog, data: st.DataObject) -> None:
    text = FULL
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        gone = data.draw(st.integers(0, 12))
        text = text[:at] + data.draw(st.text(alphabet=SYNTAX, max_size=4)) + text[at + gone :]
    check_words(problems_of(lambda: parse_scenario(text, catalog, folder=HERE, file="s.yaml")))


def paths_in(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for step, part in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from paths_in(part, (*path, step))


ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**70, 0.5, 1e308,
    "", " ", "x", "1 s", "-1 s", "1e400 s", "5%", "\ud800", "é\u2028", "a" * 200,
    [], [[]], [None], ["x", "x"], {}, {"x": 1}, {"name": None}, {"": ""}, [{}], {"fixed": 1}, "\x00", "chat", "owned",
]  # fmt: skip


@given(st.data())
@quick
def test_a_scenario_with_some_parts_replaced(catalog: Catalog, data: st.DataObject) -> None:
    scenario = copy.deepcopy(parse_yaml(FULL).data)
    for _ in range(data.draw(st.integers(1, 2))):
        *above, last = data.draw(st.sampled_from([p for p in paths_in(scenario) if p]))
        parent = scenario
        for step in above:
            parent = parent[step]
        parent[last] = data.draw(st.sampled_from(ODD))
    text = json.dumps(scenario)
    check_words(problems_of(lambda: parse_scenario(text, catalog, folder=HERE, file="s.yaml")))


@pytest.mark.parametrize("path", [p for p in paths_in(parse_yaml(FULL).data) if p], ids=lambda p: ".".join(map(str, p)))
def test_each_part_replaced_by_a_thing_of_another_kind(catalog: Catalog, path: tuple[Any, ...]) -> None:
    """Every part has a type: of text, a number, a list and a mapping at least three are refused, at that part."""
    refused = 0
    for other in ("\u00a1odd!", -3.25, [["odd"]], {"odd": 1}):
        scenario = copy.deepcopy(parse_yaml(FULL).data)
        parent = scenario
        for step in path[:-1]:
            parent = parent[step]
        parent[path[-1]] = other
        text = json.dumps(scenario, indent=1)
        problems = problems_of(lambda text=text: parse_scenario(text, catalog, folder=HERE, file="s.yaml"))  # type: ignore[misc]
        check_words(problems)
        refused += bool(problems)
    assert refused >= 3


@pytest.mark.parametrize("kind", sorted(NOUNS))
def test_catalog_entries_with_parts_replaced(catalog: Catalog, kind: str) -> None:
    rng = random.Random(kind)
    entry = catalog.document(kind, rng.choice(catalog.names(kind))).data
    paths = [path for path in paths_in(entry) if path]
    for _ in range(60):
        changed = copy.deepcopy(entry)
        *above, last = rng.choice(paths)
        parent = changed
        for step in above:
            parent = parent[step]
        parent[last] = rng.choice(ODD)
        check_words(problems_of(lambda: as_noun(parse_yaml(json.dumps(changed), "e.yaml"), NOUNS[kind])))  # noqa: B023


@given(st.binary(max_size=100) | st.text(max_size=50).map(str.encode))
@settings(quick, max_examples=25)
def test_any_overlay_file(tmp_path: Path, content: bytes) -> None:
    for name in ("hardware_db/nodes/x.yaml", "hardware_db/aliases.yaml", "presets.yaml", "hardware_db/prices/x.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    catalog = Catalog.open([tmp_path])
    for ask in (lambda: catalog.node("x"), lambda: catalog.names("presets"), lambda: catalog.price("x:y")):
        check_words(tuple(p for p in problems_of(ask) if p.where.file))


def test_a_deployment_of_random_parts(tmp_path: Path, catalog: Catalog) -> None:
    rng = random.Random(0)
    for _ in range(200):
        keys = ("pools", "edges", "routes", "router", "odd")
        item = {"name": "a", "pool": "a", "source": "a", "share": rng.choice(ODD)}
        data = {key: rng.choice([*ODD, [item], [item, item]]) for key in keys}
        (tmp_path / "d.yaml").write_text(json.dumps(data))
        problems = problems_of(lambda: load_deployment(tmp_path / "d.yaml", catalog))
        assert problems
        check_words(problems)


HOSTILE = ["a\nb", "\x1b[31mred", "x" * 1000, "\u202eabc", "a: b - c", "[bold]"]


@pytest.mark.parametrize("word", HOSTILE, ids=range(len(HOSTILE)))
def test_no_word_of_a_file_breaks_a_message(catalog: Catalog, word: str) -> None:
    """Keys, names and values are shown as one short printable line, whatever stands in them."""
    scenario = parse_yaml(FULL).data
    scenario[word] = 1
    scenario["classes"][0] |= {"name": word, "model": word, "preset": word, word: 1}
    scenario["classes"][1] |= {"name": word, "slo": {word: 1}}
    scenario["classes"][3]["trace"] = {"file": word}
    scenario["fleet"]["nodes"][0] |= {"node": word, "name": word}
    scenario["fleet"]["nodes"][1] |= {"price_key": word, "term": word}
    scenario["fleet"]["nodes"][2] |= {"price_key": f"aws:{word}:{word}", "price": None}
    scenario["engine"] |= {"name": word, "version": word}
    problems = problems_of(lambda: parse_scenario(json.dumps(scenario), catalog, folder=HERE, file="s.yaml"))
    assert len(problems) >= 10
    check_words(problems)
    assert all(str(problem).isprintable() and len(str(problem)) < 600 for problem in problems)


def test_a_scenario_of_ten_thousand_mistakes_is_reported_whole_and_soon(catalog: Catalog) -> None:
    text = FULL + "".join(f"odd{i}: 1\n" for i in range(10_000))
    assert len(problems_of(lambda: parse_scenario(text, catalog, folder=HERE, file="s.yaml"))) == 10_000


def test_what_is_read_is_what_was_written() -> None:
    scenario = as_noun(read_yaml(HERE / "full.yaml"), Scenario)
    assert as_noun(parse_yaml(scenario.model_dump_json()), Scenario) == scenario
