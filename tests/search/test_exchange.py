"""What evaluation drops is never missed: the solver over all columns against the solver over those that are kept."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from planner.perf.energy import idle_w
from planner.search.admit import admit
from planner.search.bounds import capacity_bound, promised_bound
from planner.search.columns import problem_of
from planner.search.evaluate import evaluate_family, families_of, frugal, undominated
from planner.search.evaluated import Evaluated
from planner.search.measure import Draws, measure
from planner.search.probe import trials
from planner.search.problem import Conflict, Selection
from planner.search.select import select
from planner.search.setting import Setting
from planner.search.space import Candidate, enumerate_pools
from tests.search.conftest import FAST

Small = Callable[..., Setting]
FEW = {"requests_per_probe": 100, "pp": [1], "max_tokens_per_step": [2048]}
GOALS = (("joules_per_token", "gpus"), ("usd_per_hour", "gpus"), ("gpus",), ("goodput", "gpus"))


def columns(setting: Setting, draw: np.random.Generator) -> list[Evaluated]:
    """A family of replicas of 1 to 16 accelerators: some carry more, others work with less power."""
    found = []
    for i in range(int(draw.integers(2, 7))):
        tp, pp = int(draw.choice([1, 2, 4, 8])), int(draw.choice([1, 1, 2]))
        c = Candidate("m", "fast", "aggregated", tp, pp, 1, 1, "bf16", "bf16", 64 + i, 2048)
        watts = c.gpus * idle_w(FAST, loaded=True) + c.gpus * float(draw.choice([60.0, 150.0, 320.0]))
        capacity = float(draw.choice([3.0, 5.0, 9.0])) * c.gpus ** float(draw.choice([0.8, 1.0]))
        found.append(
            Evaluated(c, setting.loads[0].name, capacity, accelerators_w=watts, busy=float(draw.uniform(0.2, 1)))
        )
    return found


def best(setting: Setting, found: list[Evaluated]) -> tuple[float, ...] | None:
    chosen = select(problem_of(setting, tuple(found)))
    if isinstance(chosen, Conflict):
        return None
    assert isinstance(chosen, Selection)
    return tuple(one.value for one in chosen.reached)


def check(small: Small, seed: int) -> bool:
    """Both ways agree on every goal; whether dropping by capacity alone would have cost joules."""
    draw = np.random.default_rng(seed)
    goals = GOALS[seed % len(GOALS)]
    limits = {"power": "9 kW"} if goals[0] == "usd_per_hour" and draw.random() < 0.5 else {}
    setting = small(objective=list(goals), limits=limits)
    every = columns(setting, draw)
    energy = goals[0] == "joules_per_token" or bool(limits)
    kept = frugal(setting, every) if energy else undominated(every)
    expected, found = best(setting, every), best(setting, kept)
    if expected is None or found is None:
        assert expected == found, seed
        return False
    shown = len(goals) if energy else 1 + (goals[0] == "usd_per_hour")
    assert found[:shown] == pytest.approx(expected[:shown], rel=1e-9), seed
    return energy and best(setting, undominated(every)) != found


def test_nothing_that_is_dropped_is_missed(small: Small) -> None:
    assert sum(check(small, seed) for seed in range(40)) > 0  # capacity alone is not enough where energy decides


@pytest.mark.bench
def test_nothing_that_is_dropped_is_missed_at_length(small: Small) -> None:
    lost = sum(check(small, seed) for seed in range(40, 2100))
    print(f"\n2,060 spaces agree; by capacity alone {lost} would have lost their optimum")


def test_where_energy_decides_every_candidate_is_measured(small: Small) -> None:
    search = {
        "requests_per_probe": 100,
        "tp": [1, 2],
        "pp": [1],
        "max_tokens_per_step": [2048],
        "roles": ["aggregated"],
    }
    cheap, frugal_one = small(search=search), small(search=search, objective=["joules_per_token"])
    reasons = []
    for setting in (cheap, frugal_one):
        family, *_ = families_of(setting, admit(enumerate_pools(setting), setting))
        reasons.append([one.reason for one in evaluate_family(setting, family)])
    assert any(reason.startswith("another candidate") for reason in reasons[0])
    assert not any(reason.startswith("another candidate") for reason in reasons[1])


@pytest.mark.parametrize("tpot", ["50 ms", "6 ms", "4.2 ms"])
def test_no_replica_carries_more_than_its_bound(small: Small, tpot: str) -> None:
    """The bound that knows the promise is never above the one that does not, nor below what a simulation carries."""
    search = {"requests_per_probe": 300, "tp": [1, 4], "pp": [1, 2], "max_tokens_per_step": [2048]}
    classes = small().scenario.model_dump(mode="json")["classes"]
    classes[0]["slo"] = {"ttft": {"p95": "1 s"}, "tpot": {"p95": tpot}}
    setting = small(search=search, classes=classes)
    tighter = 0
    for family in families_of(setting, admit(enumerate_pools(setting), setting)):
        load, draws = setting.loads[family.load], Draws(setting.loads[family.load], 0)
        for t in trials(setting, family.candidates, load):
            drawn = draws.first(300)
            loose = capacity_bound(t.replica, drawn, t.candidate.role)
            tight = promised_bound(t.replica, drawn, t.candidate.role, t.slos)
            assert tight <= loose
            assert measure(t, draws, 300).amount <= tight * (1 + 1e-9)
            tighter += tight < 0.999 * loose
    assert tighter > 0 or tpot == "50 ms"


def test_prefill_and_decode_of_one_answer_run_one_weight_format(small: Small) -> None:
    models = {"m": {"model": "dense", "weights": ["bf16", "fp8"]}}
    search = {
        "requests_per_probe": 100,
        "tp": [1],
        "pp": [1],
        "max_tokens_per_step": [2048],
        "roles": ["disaggregated"],
    }
    pairs = {}
    for mixed in (False, True):
        setting = small(models=models, search={**search, "mixed_weights": mixed})
        shown = [
            Evaluated(c, setting.loads[0].name, 5.0, accelerators_w=300.0)
            for c in admit(enumerate_pools(setting), setting)
            if isinstance(c, Candidate)
        ]
        problem = problem_of(setting, tuple(shown))
        ends = [[shown[i].candidate.weights for i in path.columns] for path in problem.paths]
        pairs[mixed] = {tuple(one) for one in ends}
    assert pairs[False] == {("bf16", "bf16"), ("fp8", "fp8")}
    assert pairs[True] == pairs[False] | {("bf16", "fp8"), ("fp8", "bf16")}
