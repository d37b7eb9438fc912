"""The second result: what the engine cannot run is searched too, told apart, and never in the plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from planner.report.terminal import as_text
from planner.search.admit import admit
from planner.search.beyond import look_beyond, with_beyond
from planner.search.choose import choose
from planner.search.document import document
from planner.search.evaluate import evaluate
from planner.search.journal import NoJournal
from planner.search.setting import Setting
from planner.search.space import enumerate_pools
from planner.search.workers import Serial
from planner.spec.engine import Abilities
from planner.spec.plan import Plan


def quiet(done: int, total: int, what: str) -> None:
    pass


def planned(setting: Setting) -> Plan:
    found = evaluate(admit(enumerate_pools(setting), setting), setting, Serial(), NoJournal(), quiet)
    wider = look_beyond(setting, Serial(), NoJournal(), quiet, lambda: False)
    return with_beyond(document(setting, found, choose(found, setting, quiet), quiet), setting, wider, quiet)


@pytest.fixture
def narrow(small: Callable[..., Setting]) -> Callable[..., Setting]:
    """An engine without fp8, asked for most goodput of one node."""

    def build(**search: object) -> Setting:
        fleet = {"nodes": [{"name": "fast", "node": "Fast-8", "count": 1, "price": "$80/h"}]}
        tried = {"requests_per_probe": 100, "roles": ["aggregated"], "max_tokens_per_step": [2048], "tp": [1], **search}
        able = small(
            models={"m": {"model": "dense", "weights": ["bf16", "fp8"]}},
            fleet=fleet,
            search=tried,
            objective=["goodput"],
        )
        can = Abilities(ways=("pp",), weights=("bf16",))
        return replace(able, profile=able.profile.model_copy(update={"can": can}))

    return build


def test_nobody_asked(narrow: Callable[..., Setting]) -> None:
    plan = planned(narrow())
    assert plan.unconstrained is None
    assert "Unconstrained" not in as_text(plan)


def test_the_plan_is_the_same_with_a_second_result_beside_it(narrow: Callable[..., Setting]) -> None:
    alone, asked = planned(narrow()), planned(narrow(unconstrained=True))
    assert asked.model_copy(update={"unconstrained": None, "scenario": alone.scenario}) == alone
    more = asked.unconstrained
    assert more is not None
    assert more.objectives[0].value > 1.05 * alone.objectives[0].value
    assert {pool.weights for pool in alone.deployment.pools} == {"bf16"}
    assert {pool.weights for pool in more.deployment.pools} == {"fp8"}
    assert all("engine does not run fp8 weights" in words for words in more.lacking)
    assert more.lacking
    assert "Unconstrained, not part of the plan" in as_text(asked)


def test_an_engine_that_lacks_nothing_useful_is_told_so(narrow: Callable[..., Setting]) -> None:
    setting = narrow(unconstrained=True)
    able = replace(setting, profile=setting.profile.model_copy(update={"can": Abilities(ways=("pp", "cp"))}))
    plan = planned(able)
    assert plan.unconstrained is not None
    assert plan.unconstrained.lacking == ()
    assert plan.unconstrained.reason == "the engine runs the best that there is"
