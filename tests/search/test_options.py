"""Settings of the engine and priorities of classes: from the scenario's file to the simulated replica."""

from collections.abc import Callable

import pytest

from planner.catalog import Catalog, ResolvedScenario, parse_scenario
from planner.errors import BadInput
from planner.search.confirm import replica_of
from planner.search.predict import setting_of, simulate
from planner.spec.deployment import Deployment, Pool, Route
from planner.spec.scenario import Scenario
from planner.spec.step import Replica

SCENARIO = """\
version: 1
name: mixed
models:
  llama: {model: llama-3.1-8b}
classes:
  - name: chat
    model: llama
    lengths: {input: {fixed: 512}, output: {fixed: 64}}
    arrivals: {rate: 20/s}
    requests: 400
CHAT
  - name: batch
    model: llama
    lengths: {input: {fixed: 6000}, output: {fixed: 64}}
    arrivals: {rate: 4/s}
    requests: 80
BATCH
fleet:
  nodes:
    - {name: h100, node: aws-p5.4xlarge, count: 2}
engine: {ENGINE}
"""
V1, V0, SGLANG, TRTLLM = (f"name: {name}, version: {version}" for name, version in (
    ("vllm", "0.19.0"), ("vllm", "0.6.3"), ("sglang", "0.5.5"), ("trtllm", "1.1.0")
))  # fmt: skip
Read = Callable[..., ResolvedScenario]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.open()


@pytest.fixture(scope="module")
def read(catalog: Catalog) -> Read:
    def given(engine: str, chat: int | None = None, batch: int | None = None) -> ResolvedScenario:
        text = SCENARIO.replace("{ENGINE}", f"{{{engine}}}")
        for word, priority in (("CHAT", chat), ("BATCH", batch)):
            text = text.replace(f"{word}\n", "" if priority is None else f"    priority: {priority}\n")
        return parse_scenario(text, catalog, file="mixed.yaml")

    return given


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    pool = Pool(name="all", model="llama-3.1-8b", node="h100", accelerator="h100-sxm-80gb", max_seqs=8)
    return Deployment(pools=(pool,), routes=tuple(Route(request_class=c, pool="all") for c in ("chat", "batch")))


def built(scenario: ResolvedScenario, deployment: Deployment) -> Replica:
    return replica_of(setting_of(scenario, None, None), deployment.pools[0])


def mean_ttft_s(scenario: ResolvedScenario, deployment: Deployment) -> dict[str, float]:
    found = simulate(scenario, deployment)
    return {one.name: one.metrics["ttft"]["mean"].value for one in found.classes}


def test_the_class_with_the_lower_priority_answers_sooner(read: Read, deployment: Deployment) -> None:
    plain = mean_ttft_s(read(V1), deployment)
    first = mean_ttft_s(read(f"{V1}, scheduling: priority", 0, 5), deployment)
    last = mean_ttft_s(read(f"{V1}, scheduling: priority", 5, 0), deployment)
    assert first["chat"] < 0.8 * plain["chat"] < plain["chat"] < last["chat"]
    assert last["batch"] < plain["batch"] < first["batch"]


def test_equal_priorities_change_no_bit(read: Read, deployment: Deployment) -> None:
    plain, equal = (
        simulate(read(f"{V1}{more}", *same), deployment)
        for more, same in (("", ()), (", scheduling: priority", (3, 3)))
    )
    assert plain.classes == equal.classes


def test_a_priority_needs_an_engine_that_goes_by_it(read: Read) -> None:
    with pytest.raises(BadInput, match=r"mixed\.yaml:11:.*scheduling: priority"):
        read(V1, 1)


@pytest.mark.parametrize(
    ("engine", "field", "value"),
    [
        (f"{V1}, scheduling: priority", "by_priority", True),
        (f"{V1}, long_prompt_tokens: 512", "long_prompt_tokens", 512),
        (f"{V1}, whole_prompts: true", "whole_prompts", True),
        (f"{V0}, preemption: swap", "swap_bytes_per_s", 64e9),
        (V0, "swap_bytes_per_s", 0.0),
        (f"{SGLANG}, mixed_chunks: true", "mixed_chunks", True),
        (f"{SGLANG}, conservativeness: 0.3", "conservativeness", 0.3),
        (f"{TRTLLM}, balance_steps: 60", "balance_steps", 60),
    ],
)
def test_settings_reach_the_replica(read: Read, deployment: Deployment, engine: str, field: str, value: object) -> None:
    assert getattr(built(read(engine), deployment), field) == value


@pytest.mark.parametrize(
    ("engine", "value"),
    [
        (f"{V1}, preemption: swap", "swap"),
        (f"{V1}, mixed_chunks: true", "true"),
        (f"{V0}, scheduling: priority", "priority"),
        (f"{SGLANG}, long_prompt_tokens: 512", "512"),
        (f"{SGLANG}, balance_steps: 60", "60"),
    ],
)
def test_a_setting_that_the_engine_has_no_flag_for_is_refused_where_it_stands(
    read: Read, engine: str, value: str
) -> None:
    with pytest.raises(BadInput, match="no such setting") as refused:
        read(engine)
    (problem,) = refused.value.problems
    line = SCENARIO.replace("CHAT\n", "").replace("BATCH\n", "").splitlines().index("engine: {ENGINE}") + 1
    assert (problem.where.file, problem.where.line) == ("mixed.yaml", line)
    assert f"engine: {{{engine}}}"[problem.where.column - 1 :] == f"{value}}}"


def test_a_step_of_whole_prompts_holds_the_longest_request(read: Read, deployment: Deployment) -> None:
    pool = deployment.pools[0].model_copy(update={"max_tokens_per_step": 4096})
    narrow = deployment.model_copy(update={"pools": (pool,)})
    with pytest.raises(BadInput, match="6064 tokens, a step that cuts no prompts takes 4096"):
        simulate(read(f"{V1}, whole_prompts: true"), narrow)


def test_defaults_stay_out_of_the_plan(read: Read) -> None:
    scenario = read(V1).scenario.model_dump(mode="json")
    assert not {"scheduling", "preemption", "whole_prompts", "too_long"} & set(scenario["engine"])
    assert "priority" not in scenario["classes"][0]


def with_long_prompts(catalog: Catalog, engine: str) -> ResolvedScenario:
    """The batch class asks for 120,000 to 140,000 tokens of a model with a context of 131,072."""
    text = SCENARIO.replace("{ENGINE}", f"{{{engine}}}").replace("CHAT\n", "").replace("BATCH\n", "")
    text = text.replace("input: {fixed: 6000}", "input: {uniform: {low: 120000, high: 140000}}")
    return parse_scenario(text, catalog, file="mixed.yaml")


def test_requests_that_are_too_long_refuse_the_run_by_class(catalog: Catalog, deployment: Deployment) -> None:
    with pytest.raises(BadInput, match=r"takes 131072 \(class batch\) - .*too_long: reject"):
        simulate(with_long_prompts(catalog, V1), deployment)


def test_requests_that_are_too_long_are_rejected_if_the_scenario_says_so(
    catalog: Catalog, deployment: Deployment
) -> None:
    found = simulate(with_long_prompts(catalog, f"{V1}, too_long: reject"), deployment)
    (one,) = found.too_long
    assert (one.name, one.pool, one.what, one.limit) == ("batch", "all", "context", 131072)
    assert 131072 < one.tokens <= 140064
    assert 0.3 < one.requests / one.of < 0.6  # 8,992 of 20,001 lengths are too long
    assert str(one) in found.warnings
    rows = [row for row in found.measurements if row.scope == "class" and row.metric in ("requests", "rejected")]
    counted = {(row.name, row.metric): row.value for row in rows}
    assert counted["chat", "rejected"] == 0
    assert 0 < counted["batch", "rejected"] <= one.requests


def test_a_run_of_which_everything_is_too_long_has_no_result(catalog: Catalog, deployment: Deployment) -> None:
    document = with_long_prompts(catalog, f"{V1}, too_long: reject").scenario.model_dump(mode="json")
    for one in document["classes"]:
        one["lengths"]["input"] = {"fixed": 140000}
    with pytest.raises(BadInput, match=r"chat: .* requests are refused, the longest has 140,064 tokens"):
        simulate(Scenario.model_validate(document), deployment, catalog=catalog)
