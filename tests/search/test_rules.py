"""Each rule alone, with numbers done by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from planner.perf.memory import memory_of
from planner.search.admit import Refused, admit
from planner.search.rules import RULES
from planner.search.setting import Setting
from planner.search.space import Candidate, enumerate_pools
from planner.spec.engine import Abilities

GOOD = Candidate("m", "fast", "aggregated", 2, 1, 1, 1, "bf16", "bf16", 256, 2048)


def verdict(rule: str, candidate: Candidate, setting: Setting) -> tuple[bool, str]:
    found = RULES.get(rule)(candidate, setting)
    return found.ok, found.reason


@pytest.fixture
def dense(small: Callable[..., Setting]) -> Setting:
    return small()


@pytest.fixture
def moe(small: Callable[..., Setting]) -> Setting:
    return small(models={"m": {"model": "moe", "weights": ["fp8"]}})


def test_a_plain_candidate_passes_all_rules(dense: Setting) -> None:
    assert list(admit([GOOD], dense)) == [GOOD]


@pytest.mark.parametrize(
    ("rule", "change", "words"),
    [
        ("heads", {"tp": 3}, "16 attention heads do not divide by tp 3"),
        ("kv-heads", {"tp": 6}, "4 KV heads can neither be split nor copied evenly over tp 6"),
        ("ffn-width", {"tp": 5}, "a feed-forward width of 6144 does not divide by 5"),
        ("pipeline-layers", {"pp": 17}, "17 pipeline stages for 16 layers"),
        ("inventory", {"tp": 8, "pp": 3}, "a replica of 24 accelerators is larger than the 16 of fast"),
        ("whole-nodes", {"tp": 4, "pp": 3}, "12 accelerators do not fill whole nodes of 8"),
        ("scale-up", {"tp": 16}, "tp 16 leaves the scale-up domain of 8 accelerators of fast"),
        ("experts", {"ep": 2}, "ep 2 for a model without experts"),
        ("number-format", {"site": "old"}, "Old has no bf16 units for the KV cache"),
        ("number-format", {"site": "old", "kv": "fp16"}, "Old does not compute in bf16"),
    ],
)
def test_dense_rules(dense: Setting, rule: str, change: dict[str, object], words: str) -> None:
    assert verdict(rule, replace(GOOD, **change), dense) == (False, words)
    assert verdict(rule, GOOD, dense)[0]


@pytest.mark.parametrize(
    ("rule", "change", "words"),
    [
        ("experts", {"tp": 4, "ep": 3}, "ep 3 does not divide tp x dp = 4"),
        ("experts", {"tp": 16, "ep": 16}, "24 experts do not divide by ep 16"),
        ("ffn-width", {"tp": 4, "dp": 4, "ep": 2}, ""),
        ("fp8-blocks", {"tp": 8}, "192 feed-forward columns per rank cut through the fp8 scale blocks of 128"),
        ("fp8-blocks", {"tp": 8, "ep": 8}, ""),
        ("fp8-blocks", {"tp": 8, "weights": "bf16"}, ""),
    ],
)
def test_expert_rules(moe: Setting, rule: str, change: dict[str, object], words: str) -> None:
    candidate = replace(GOOD, **{"weights": "fp8", **change})
    assert verdict(rule, candidate, moe) == (not words, words)


def test_key_value_heads_may_be_copied(dense: Setting) -> None:
    assert verdict("kv-heads", replace(GOOD, tp=8), dense)[0]


def test_limits_of_the_scenario(small: Callable[..., Setting]) -> None:
    assert not verdict("replica-size", GOOD, small(limits={"gpus": 1}))[0]
    assert not verdict("replica-size", GOOD, small(search={"max_gpus_per_replica": 1}))[0]
    assert verdict("replica-size", GOOD, small(limits={"gpus": 2}))[0]


def test_context_counts_the_longest_request(dense: Setting) -> None:
    long = replace(dense, longest={"m": 40_000})
    assert verdict("context", GOOD, long) == (False, "the longest request has 40000 tokens, dense takes 32768")
    assert verdict("context", GOOD, dense)[0]


def test_memory_agrees_with_physics_and_names_what_is_missing(dense: Setting) -> None:
    """16 GB of T4-like memory hold no fp16 model that takes more; the verdict repeats the physics to the byte."""
    site = dense.sites["old"]
    tiny = replace(GOOD, site="old", tp=1, weights="fp16", kv="fp16", max_tokens_per_step=65536)
    found = memory_of(dense.models["m"], tiny.pool(dense), site.hardware, dense.profile)
    judged = RULES.get("memory")(tiny, dense)
    assert judged.ok == (found.fits and found.kv_tokens >= 950)
    huge = replace(dense, longest={"m": found.kv_tokens + 10**9})
    refused = RULES.get("memory")(GOOD, huge)
    assert (refused.ok, refused.rule) == (False, "kv-fits")


def test_the_first_refusal_is_the_one_that_is_told(dense: Setting) -> None:
    (refused,) = admit([replace(GOOD, tp=48)], dense)
    assert isinstance(refused, Refused)
    assert refused.verdict.rule == "inventory"


def test_the_space_is_complete_and_never_repeats(small: Callable[..., Setting]) -> None:
    asked = {"tp": [1, 2], "pp": [1], "max_tokens_per_step": [2048], "max_seqs": [64], "roles": ["aggregated"]}
    candidates = list(enumerate_pools(small(search=asked)))
    assert len(candidates) == len(set(candidates)) == 2 * 2
    everything = list(enumerate_pools(small()))
    assert len(everything) == len({c.key for c in everything})
    assert {c.role for c in everything} == {"aggregated", "prefill", "decode"}


def test_experts_get_attention_data_parallelism_dense_models_do_not(dense: Setting, moe: Setting) -> None:
    assert {c.dp for c in enumerate_pools(dense)} == {1}
    assert {1, 2, 4, 8} <= {c.dp for c in enumerate_pools(moe)}
    assert all(c.ep in (1, c.tp * c.dp) for c in enumerate_pools(moe))


def test_copies_of_a_cache_may_be_shared_and_nothing_else(dense: Setting) -> None:
    """4 KV heads: tp 8 makes 2 copies of each; prompts are shared whatever the heads."""
    able = replace(dense, unconstrained=True)
    assert verdict("context-parallel", replace(GOOD, tp=8, dcp=2), able) == (True, "")
    assert verdict("context-parallel", replace(GOOD, cp=4), able) == (True, "")
    ok, words = verdict("context-parallel", replace(GOOD, tp=4, dcp=2), able)
    assert not ok
    assert words == "tp 4 makes 1 copies of the cache, which dcp 2 does not divide"


def test_an_engine_says_what_it_cannot_run(dense: Setting) -> None:
    narrow = dense.profile.model_copy(update={"can": Abilities(ways=("pp",), weights=("bf16",), max_tp=4)})
    setting = replace(dense, profile=narrow)
    assert verdict("engine", replace(GOOD, pp=2), setting) == (True, "")
    wide = replace(GOOD, role="decode", tp=8, dp=2, weights="fp8")
    said = "engine does not run attention-data parallelism, prefill apart from decode, fp8 weights, tp 8"
    assert verdict("engine", wide, setting) == (False, said)
    assert verdict("engine", wide, replace(setting, unconstrained=True)) == (True, "")


def test_context_parallel_pools_are_only_proposed_to_engines_that_run_them(dense: Setting) -> None:
    degrees = {(c.cp, c.dcp) for c in enumerate_pools(dense)}
    assert degrees == {(1, 1)}
    able = replace(dense, profile=dense.profile.model_copy(update={"can": Abilities(ways=("pp", "dcp", "split"))}))
    shared = [c for c in enumerate_pools(able) if c.dcp > 1]
    assert {(c.tp, c.dcp) for c in shared} == {(8, 2)}
    assert {c.role for c in shared} == {"aggregated", "decode"}
    assert {c.cp for c in enumerate_pools(replace(dense, unconstrained=True))} == {1, 2, 4, 8, 16}
