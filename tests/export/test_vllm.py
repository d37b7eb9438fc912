"""The vLLM exporter: flags of a pool, what vLLM cannot run, and plans that are not for it."""

import json

import pytest
import yaml

from planner.errors import BadInput
from planner.export import EXPORTERS
from planner.spec.plan import Plan
from planner.testing import tiny_plan


def changed(plan: Plan, engine: dict[str, object] | None = None, **pool: object) -> Plan:
    document = plan.model_dump(mode="json")
    document["scenario"]["engine"].update(engine or {})
    document["deployment"]["pools"][0].update(pool)
    document["pools"][0]["checkpoint"] = "meta-llama/Llama-3.1-8B"
    return Plan.model_validate(document)


def flags(plan: Plan) -> dict[str, object]:
    (text,) = EXPORTERS.get("vllm")(plan).values()
    return dict(yaml.safe_load(text))


def test_a_pool_becomes_the_flags_of_vllm_serve():
    pool = {"parallelism": {"tp": 2, "dp": 4, "ep": 8}, "weights": "fp8", "kv": "fp8", "max_seqs": 1024}
    found = flags(changed(tiny_plan(), **pool))
    assert found["model"] == "meta-llama/Llama-3.1-8B"
    assert (found["tensor-parallel-size"], found["data-parallel-size"]) == (2, 4)
    assert found["enable-expert-parallel"] is True
    assert (found["quantization"], found["kv-cache-dtype"]) == ("fp8", "fp8")
    assert found["max-num-seqs"] == 256  # of each data-parallel rank


def test_a_16_bit_pool_says_nothing_of_formats():
    found = flags(changed(tiny_plan()))
    assert not {"quantization", "kv-cache-dtype", "enable-expert-parallel", "kv-transfer-config"} & set(found)


def test_weights_that_a_checkpoint_must_bring_are_said():
    (text,) = EXPORTERS.get("vllm")(changed(tiny_plan(), weights="nvfp4")).values()
    assert "# name a checkpoint whose weights are nvfp4" in text


def test_pools_joined_by_an_edge_get_a_connector():
    document = changed(tiny_plan()).model_dump(mode="json")
    first, about = document["deployment"]["pools"][0], document["pools"][0]
    document["deployment"]["pools"] = [
        first | {"phases": ["prefill"]},
        first | {"name": "decode", "phases": ["decode"]},
    ]
    document["deployment"]["edges"] = [{"source": first["name"], "target": "decode", "bandwidth": "50 GB/s"}]
    document["pools"] = [about, about | {"name": "decode"}]
    for text in EXPORTERS.get("vllm")(Plan.model_validate(document)).values():
        assert json.loads(yaml.safe_load(text)["kv-transfer-config"])["kv_connector"] == "NixlConnector"


@pytest.mark.parametrize(
    ("engine", "pool", "said"),
    [
        ({"name": "sglang", "version": "0.5.9"}, {}, "for sglang, not vllm"),
        ({"version": "0.5.4"}, {}, "0.5.4: its flags are not known"),
        ({}, {"parallelism": {"tp": 8, "ep": 4}}, "1 or 8 ranks, not 4"),
    ],
)
def test_what_vllm_cannot_run_is_refused(engine: dict[str, str], pool: dict[str, object], said: str):
    with pytest.raises(BadInput, match=said):
        EXPORTERS.get("vllm")(changed(tiny_plan(), engine, **pool))


def test_an_unknown_target_names_the_known_ones():
    with pytest.raises(BadInput, match="vllm"):
        EXPORTERS.get("vlm")


def test_shared_caches_have_a_flag_and_shared_prompts_have_none():
    pool = {"parallelism": {"tp": 8, "dcp": 2}}
    assert flags(changed(tiny_plan(), **pool))["decode-context-parallel-size"] == 2
    with pytest.raises(BadInput, match="no vLLM release runs prefill context parallelism"):
        flags(changed(tiny_plan(), parallelism={"tp": 4, "cp": 2}))


def test_settings_of_the_engine_become_flags():
    asked = {"scheduling": "priority", "long_prompt_tokens": 512, "whole_prompts": True, "memory_fraction": 0.8}
    found = flags(changed(tiny_plan(), engine=asked))
    assert found["scheduling-policy"] == "priority"
    assert found["long-prefill-token-threshold"] == 512
    assert found["no-enable-chunked-prefill"] is True
    assert found["max-model-len"] == found["max-num-batched-tokens"]
    assert found["gpu-memory-utilization"] == 0.8
