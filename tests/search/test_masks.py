"""Judging arrays of candidates against judging each by the rules, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from planner.search.admit import Refused, admit
from planner.search.masks import MASKS, VERDICTS
from planner.search.rules import ORDER, RULES
from planner.search.setting import Setting
from planner.search.space import Candidate, enumerate_pools, pools_of
from planner.spec.engine import Abilities

ODD = {"tp": [1, 2, 3, 8, 16], "pp": [1, 17], "dp": [1, 3], "ep": [1, 2, 6], "cp": [1, 2], "dcp": [1, 2],
       "max_seqs": [7]}  # fmt: skip
SAMPLE = 400
"""Candidates of a large space that are judged one by one."""
MOE = {"m": {"model": "moe", "weights": ["fp8", "bf16", "int4"], "kv": ["bf16", "fp8"]}}
DENSE = {"m": {"model": "dense", "weights": ["bf16", "fp16", "fp8"], "kv": ["bf16", "fp16"]}}


def one_by_one(candidates: Iterable[Candidate], setting: Setting) -> list[str]:
    verdicts = ((RULES.get(name)(c, setting) for name in ORDER) for c in candidates)
    return [next((one.rule for one in found if not one.ok), "") for found in verdicts]


def some(setting: Setting) -> list[Candidate]:
    """Every so many candidates of the space, in its order."""
    space = list(enumerate_pools(setting))
    return space[:: len(space) // SAMPLE + 1]


def at_once(candidates: Iterable[Candidate], setting: Setting) -> list[str]:
    return [one.rule if isinstance(one, Refused) else "" for one in admit(candidates, setting)]


SETTINGS: list[dict[str, Any]] = [
    {"models": models, "search": search, **more}
    for models, search, more in product((MOE, DENSE), (ODD, {}), ({}, {"limits": {"gpus": 6}}))
]


@pytest.mark.parametrize("changes", SETTINGS, ids=str)
@pytest.mark.parametrize("unconstrained", [False, True])
def test_masks_say_what_the_rules_say(
    small: Callable[..., Setting], changes: dict[str, Any], unconstrained: bool
) -> None:
    setting = replace(small(**changes), unconstrained=unconstrained)
    space = some(setting)
    assert at_once(space, setting) == one_by_one(space, setting)


@pytest.mark.parametrize("longest", [0, 30_000, 33_000, 10**6])
@pytest.mark.parametrize("whole", [False, True])
def test_long_requests_are_refused_alike(small: Callable[..., Setting], longest: int, whole: bool) -> None:
    narrow = Abilities(ways=("dp", "ep"), weights=("fp8",), kv=("bf16",), max_tp=4, partial_ep=False)
    setting = small(models=MOE, search=ODD, engine={"name": "engine", "version": "1.0", "whole_prompts": whole})
    for profile in (setting.profile, setting.profile.model_copy(update={"can": narrow})):
        asked = replace(setting, longest={"m": longest}, profile=profile)
        space = some(asked)
        assert at_once(space, asked) == one_by_one(space, asked)


def test_every_rule_has_a_mask_and_a_refusal_its_words(small: Callable[..., Setting]) -> None:
    assert tuple(MASKS) == ORDER
    setting = small(models=MOE, search=ODD)
    refused = [one for one in admit(enumerate_pools(setting), setting) if isinstance(one, Refused)]
    told = {one.rule for one in refused}
    assert len(told) > 5
    assert told <= {name for rule in ORDER for name in VERDICTS.get(rule, (rule,))}
    for rule in told:
        first = next(one for one in refused if one.rule == rule)
        assert (first.verdict.ok, first.verdict.rule) == (False, rule)
        assert first.verdict.reason


def test_arrays_hold_the_candidates(small: Callable[..., Setting]) -> None:
    space = enumerate_pools(small(models=MOE, search=ODD))
    for pools in space.arrays:
        each = [pools[i] for i in range(len(pools))]
        again = pools_of(each)
        assert [again[i] for i in range(len(again))] == each


def test_a_rule_without_a_mask_judges_one_by_one(
    small: Callable[..., Setting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who adds a rule need not add a mask."""
    setting = small(models=MOE, search=ODD)
    space, masked = some(setting), [rule for rule in ORDER if rule in ("heads", "memory")]
    expected = at_once(space, setting)
    for rule in masked:
        monkeypatch.delitem(MASKS, rule)
    assert at_once(space, setting) == expected
    assert {"heads", "kv-fits"} & set(expected)
