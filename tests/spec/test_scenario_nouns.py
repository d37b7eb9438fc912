"""Scenario, workload and deployment nouns built in Python: the same rules as in files, each mistake at its field."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from planner.spec.checks import Name, Share, twice
from planner.spec.deployment import Deployment
from planner.spec.lengths import Length
from planner.spec.scenario import Scenario
from planner.spec.workload import Arrivals, RequestClass
from planner.testing import tiny_scenario

POOL = {"name": "a", "model": "m", "node": "n", "accelerator": "x"}


def places(make: Any, *args: object, **fields: object) -> list[tuple[int | str, ...]]:
    with pytest.raises(ValidationError) as caught:
        make(*args, **fields)
    return [error["loc"] for error in caught.value.errors()]


def test_the_tiny_scenario_survives_json() -> None:
    scenario = tiny_scenario()
    assert Scenario.model_validate(scenario.model_dump(mode="json")) == scenario


def test_names_that_mean_nothing_or_two_things() -> None:
    one = tiny_scenario().model_dump(mode="json")
    (chat,), (node,) = one["classes"], one["fleet"]["nodes"]
    fleet = {"nodes": [node, node], "networks": [{"between": [node["name"], "moon"], "bandwidth": "1 GB/s"}]}
    found = places(tiny_scenario, classes=[chat, {**chat, "model": "odd"}], fleet=fleet, objective=["gpus", "gpus"])
    assert sorted(map(str, found)) == sorted(
        map(
            str,
            [
                ("classes", 1, "model"), ("classes", 1, "name"), ("fleet", "nodes", 1, "name"),
                ("fleet", "networks", 0, "between", 1), ("objective", 1),
            ],
        )
    )  # fmt: skip


@pytest.mark.parametrize("version", [0, 2, True, "1", 1.0, None])
def test_only_version_1_is_read(version: object) -> None:
    assert places(tiny_scenario, version=version) == [("version",)]


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({}, ()),
        ({"rate": "1/s", "concurrency": 2}, ()),
        ({"rate": "0/s"}, ("rate",)),
        ({"rate": "1/s", "deadline": "1 h"}, ("deadline",)),
        ({"concurrency": 2, "cv": 2.0}, ("cv",)),
        ({"concurrency": 2, "profile": [1.0]}, ("profile",)),
        ({"rate": "1/s", "profile": [1.0, -1.0]}, ("profile", 1)),
        ({"rate": "1/s", "profile": [0.0, 0.0]}, ("profile",)),
        ({"rate": "1/s", "profile_step": "0 s"}, ("profile_step",)),
    ],
)
def test_arrivals_that_contradict_themselves(fields: dict[str, object], place: tuple[str, ...]) -> None:
    assert places(Arrivals.model_validate, fields) == [place]


def test_a_job_needs_its_size() -> None:
    job = {"name": "j", "model": "m", "preset": "p", "arrivals": {"all_at_once": True}}
    assert places(RequestClass.model_validate, job) == [("arrivals", "all_at_once")]
    assert RequestClass.model_validate({**job, "requests": 10}).requests == 10


def test_a_length_has_one_form() -> None:
    assert places(Length.model_validate, {}) == [()]
    assert places(Length.model_validate, {"fixed": 1, "uniform": {"low": 1, "high": 2}}) == [()]


def test_a_deployment_names_its_pools() -> None:
    routes = [{"request_class": "c", "pool": "b"}]
    edges = [{"source": "a", "target": "z", "bandwidth": "1 GB/s"}]
    found = places(Deployment.model_validate, {"pools": [POOL, POOL], "routes": routes, "edges": edges})
    assert found == [("pools", 1, "name"), ("edges", 0, "target"), ("routes", 0, "pool")]


@pytest.mark.parametrize(
    ("written", "meant"), [("5%", 0.05), (" 12.5 % ", 0.125), (".5%", 0.005), (0.25, 0.25), (1, 1.0)]
)
def test_shares(written: object, meant: float) -> None:
    assert TypeAdapter(Share).validate_python(written) == meant


@pytest.mark.parametrize("written", ["5", "half", "-5%", "%", ""])
def test_what_is_no_share(written: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Share).validate_python(written)


@pytest.mark.parametrize("text", ["", "  ", "two\nlines", "a\x00", "x" * 81])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Name).validate_python(text)


def test_positions_of_repeated_names() -> None:
    assert list(twice(["a", "b", "a", "c", "b", "a"])) == [2, 4, 5]
