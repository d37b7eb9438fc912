"""The capacity search: it ends where the SLO breaks, and stops probes early without changing their verdict."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from planner.sim.again import Again
from planner.sim.backlog import saturated
from planner.sim.border import Outcome, Search, border
from planner.sim.capacity import STUDENT_T, Probe, breaking_points, margins, max_concurrency, max_rate
from planner.sim.metrics import summarise, ttft_s
from planner.sim.simulate import simulate
from planner.sim.verdict import holds, judge
from planner.spec.slo import Slo


def probe(world: Any, n: int = 1000, **limits: Any) -> Probe:
    random = np.random.default_rng(12)
    requests = world.some_requests(
        np.cumsum(random.exponential(1.0, n)), random.integers(1, 900, n), random.integers(1, 200, n)
    )
    slos = {"chat": Slo.model_validate(limits)}
    return Probe(world.one_pool(), {"all": world.a_replica(max_seqs=32)}, requests, slos, warmup=0.1)


LIMITS: list[dict[str, Any]] = [
    {"ttft": {"p99": "100 ms"}},
    {"tpot": {"mean": "8 ms"}},
    {"itl": {"p95": "12 ms"}},
    {"ttft": "80 ms", "tpot": "9 ms", "attainment": 0.9},
    {},
]


@pytest.mark.parametrize("limits", LIMITS, ids=lambda x: "-".join(x) or "none")
def test_the_border_lies_where_the_slo_breaks(world: Any, limits: dict[str, Any]) -> None:
    p = probe(world, **limits)
    found = max_rate(p, guess=5.0, tolerance=0.02)
    assert 1 < found.breaks / found.holds <= 1.02
    assert found.run is not None
    assert holds(found.run, p.slos)
    assert p.at_rate(found.holds) is not None
    assert p.at_rate(found.breaks) is None
    assert max_rate(p, guess=5.0, tolerance=0.02).holds == found.holds
    assert max_rate(p, guess=70.0, tolerance=0.02).holds == pytest.approx(found.holds, rel=0.06)


def test_the_answer_says_how_sure_it_is(world: Any) -> None:
    """At the border the share is what is needed, within its error; far below it the promise is sure."""
    p = probe(world, n=3000, ttft={"p90": "100 ms"})
    found = max_rate(p, guess=5.0)
    assert found.run is not None
    assert found.bracket == pytest.approx(found.breaks / found.holds - 1)
    assert found.bracket <= 0.01
    (border_margin,) = margins(found.run, p.slos)
    assert border_margin.needed == 0.9
    assert border_margin.kept == pytest.approx(0.9, abs=2 * border_margin.error)
    assert 0 < border_margin.error < 0.1
    assert not border_margin.sure
    easy = p.at_rate(found.holds / 3)
    assert easy is not None
    assert margins(easy, p.slos)[0].sure


def test_the_error_of_a_share_covers_other_draws(world: Any) -> None:
    """Shares of independent draws at one rate differ from each other as the error of each says."""
    shares, errors, limit_s = [], [], 0.0
    for seed in range(12):
        random = np.random.default_rng(seed)
        requests = world.some_requests(
            np.cumsum(random.exponential(1 / 15, 2000)), random.integers(1, 900, 2000), random.integers(1, 200, 2000)
        )
        run = simulate(world.one_pool(), {"all": world.a_replica(max_seqs=32)}, requests)
        limit_s = limit_s or float(np.quantile(ttft_s(run), 0.9))
        (margin,) = margins(run, {"chat": Slo.model_validate({"ttft": {"p90": f"{limit_s!r} s"}})})
        shares.append(margin.kept)
        errors.append(margin.error / STUDENT_T)
    assert 0.4 < np.std(shares, ddof=1) / np.mean(errors) < 2.0


def test_impossible_and_boundless(world: Any) -> None:
    none = max_rate(probe(world, n=50, ttft={"p50": "1 us"}), guess=1.0)
    assert none.holds == 0
    assert none.run is None
    capped = max_rate(probe(world, n=50, ttft={"p50": "1 h"}), guess=1.0, limit=2.0)
    assert 2.0 / 1.01 <= capped.holds <= 2.0
    assert capped.breaks == float("inf")


def test_concurrency(world: Any) -> None:
    p = probe(world, tpot={"mean": "2.5 ms"})
    found = max_concurrency(p, most=64)
    assert 1 <= found.holds < 32
    assert p.at_concurrency(found.holds + 1) is None
    assert max_concurrency(probe(world), most=16).holds == 16


@pytest.mark.parametrize("limits", LIMITS[:4], ids=lambda x: "-".join(x))
@pytest.mark.parametrize("rate", [5.0, 15.0, 20.0, 25.0, 40.0])
def test_early_stop_never_changes_the_verdict(world: Any, limits: dict[str, Any], rate: float) -> None:
    p = probe(world, **limits)
    quick = p.at_rate(rate)
    requests = world.some_requests(p.requests.arrival_s / rate, p.requests.input_tokens, p.requests.output_tokens)
    whole = simulate(p.deployment, p.replicas, requests, warmup=p.warmup)
    assert (quick is not None) == holds(whole, p.slos)


def test_a_hopeless_probe_stops_early(world: Any) -> None:
    p = probe(world, ttft={"p90": "50 ms"})
    requests = world.some_requests(p.requests.arrival_s / 500, p.requests.input_tokens, p.requests.output_tokens)
    rules = breaking_points(requests, p.slos)
    run = simulate(p.deployment, p.replicas, requests, rules=rules)
    assert run.stopped
    assert np.isfinite(run.finish_s).sum() < 500
    late = run.first_token_s - run.arrival_s > 0.05  # judged when the first token comes, not when the last does
    assert late[np.isfinite(run.first_token_s)].sum() <= rules["allowed"][0] + 32


def searched(attempt: Any, guess: float, **limits: float) -> Search:
    bounds = {"tolerance": 1e-3, "limit": math.inf, "least": 0.0}
    return border(attempt, Search(guess, **(bounds | limits)))


@pytest.mark.parametrize("guess", [0.01, 1.0, 5e4])
@pytest.mark.parametrize("true", [0.003, 1.0, 777.0])
def test_a_border_is_found_whatever_slack_says(true: float, guess: float) -> None:
    """Known borders, from guesses on both sides, by probes that say nothing of how near it is, the truth, or lies."""
    run: Any = object()
    lies = np.random.default_rng(3)
    for slack in (lambda x: math.nan, lambda x: 2 - x / true, lambda x: lies.uniform(0, 10)):
        found = searched(lambda x, slack=slack: Outcome(run if x <= true else None, max(slack(x), 0.01)), guess)
        assert found.low <= true < found.high <= found.low * 1.001
        assert found.probes < 80


def test_slack_saves_probes() -> None:
    """Where slack is what it is meant to be, about linear in load near the border, a few probes are enough."""
    run: Any = object()
    for guess in (30.0, 70.0, 95.0, 130.0, 400.0):
        found = searched(
            lambda x: Outcome(run if x <= 100 else None, max(1 + 0.02 * (100 - x) - 1e-4 * (100 - x) ** 2, 0.05)),
            guess, tolerance=0.01,
        )  # fmt: skip
        assert found.high <= found.low * 1.01
        assert found.probes <= 7


def test_nothing_is_looked_for_beyond_the_limits() -> None:
    run: Any = object()
    asked: list[float] = []

    def never(x: float) -> Outcome:
        asked.append(x)
        return Outcome(None)

    assert searched(never, 8.0, least=2.0).low == 0.0
    assert min(asked) == 2.0
    found = searched(lambda x: Outcome(run), 1.0, limit=50.0)
    assert 50.0 / 1.001 <= found.low < 50.0
    assert not found.broken


def test_served_again_is_simulated_anew(world: Any) -> None:
    """Services of one state, broken ones between, leave nothing behind: each equals a run of its own, bit for bit."""
    p = probe(world, ttft={"p99": "100 ms"})
    again = Again(p.deployment, p.replicas, p.requests, warmup=0.1, rules=breaking_points(p.requests, p.slos, 0.1))
    for rate, concurrency in ((15.0, 0), (60.0, 0), (1.0, 12), (15.0, 0)):
        asked = replace(p.requests, arrival_s=p.requests.arrival_s / rate, concurrency=concurrency)
        again.serve(asked.arrival_s, concurrency)
        anew = simulate(
            p.deployment, p.replicas, asked, warmup=0.1, rules=breaking_points(p.requests, p.slos, 0.1)
        )  # fmt: skip
        assert again.stopped == anew.stopped
        assert pickle.dumps(again.run()) == pickle.dumps(anew)


@pytest.mark.parametrize("limits", [*LIMITS, {"ttft": {"p50": "30 ms"}, "e2e": {"p90": "2 s"}}], ids=str)
@pytest.mark.parametrize("rate", [5.0, 20.0, 40.0])
def test_the_verdict_is_that_of_the_summary(world: Any, limits: dict[str, Any], rate: float) -> None:
    p = probe(world, **limits)
    run = simulate(p.deployment, p.replicas, replace(p.requests, arrival_s=p.requests.arrival_s / rate), warmup=0.1)
    found = judge(run, p.slos)
    assert found.held == (not saturated(run) and all(one.met for one in summarise(run, p.slos).values()))
    assert (found.slack >= 1) == found.held
