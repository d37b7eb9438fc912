"""SLO: both forms, what each means, and that a form's mistake is reported in that form's words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from planner.spec.slo import METRICS, Slo

milliseconds = st.integers(1, 10**6).map(lambda ms: f"{ms} ms")
percentiles = st.dictionaries(st.sampled_from(["mean", "p50", "p90", "p95", "p99"]), milliseconds, min_size=1)
slos = st.dictionaries(st.sampled_from(METRICS), percentiles | milliseconds)


def mistakes(data: object) -> list[tuple[tuple[int | str, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        Slo.model_validate(data)
    return [(error["loc"], error["msg"]) for error in caught.value.errors()]


def test_percentiles_are_targets() -> None:
    slo = Slo.model_validate({"tpot": {"p99": "60 ms", "mean": "40 ms"}, "ttft": {"p95": "2 s"}})
    assert slo.targets == (("ttft", "p95", 2.0), ("tpot", "mean", 0.04), ("tpot", "p99", 0.06))
    assert slo.per_request == {}


def test_plain_times_are_limits_of_each_request() -> None:
    slo = Slo.model_validate({"ttft": "2 s", "e2e": "1 min", "itl": {"p99": "1 s"}, "attainment": "99 %"})
    assert slo.per_request == {"ttft": 2.0, "e2e": 60.0}
    assert slo.targets == (("itl", "p99", 1.0),)
    assert slo.attainment == 0.99


def test_without_limits_only_throughput_counts() -> None:
    assert (Slo().targets, Slo().per_request) == ((), {})


@given(slos)
def test_every_slo_survives_json(data: dict[str, object]) -> None:
    slo = Slo.model_validate(data)
    assert Slo.model_validate(slo.model_dump(mode="json")) == slo
    assert len(slo.targets) + len(slo.per_request) == sum(len(v) if isinstance(v, dict) else 1 for v in data.values())


@pytest.mark.parametrize(
    ("data", "place", "words"),
    [
        ({"ttft": 2}, ("ttft", "each"), "expected time with a unit"),
        ({"ttft": {"p99": 2}}, ("ttft", "percentiles", "p99"), "expected time with a unit"),
        ({"ttft": {"p98": "2 s"}}, ("ttft", "percentiles", "p98"), "Extra inputs"),
        ({"ttft": {}}, ("ttft", "percentiles"), "give at least one of"),
        ({"ttft": {"p99": "0 s"}}, ("ttft", "percentiles", "p99"), "must be longer than 0 s"),
        ({"ttft": "0 s"}, ("ttft",), "must be longer than 0 s"),
        ({"attainment": 0.5}, ("attainment",), "counts requests that meet limits"),
        ({"ttft": "1 s", "attainment": 0}, ("attainment",), "greater than 0"),
        ({"ttft": "1 s", "attainment": "120%"}, ("attainment",), "less than or equal to 1"),
        ({"ttft": "-1 s"}, ("ttft", "each"), "not negative"),
    ],
)
def test_one_mistake_is_one_error(data: object, place: tuple[str, ...], words: str) -> None:
    ((found, message),) = mistakes(data)
    assert found == place
    assert words in message


def test_all_mistakes_at_once() -> None:
    assert len(mistakes({"ttft": {"p99": 1, "p98": "1 s"}, "tpot": 3, "e2e": "x"})) == 4
