"""Captured graphs with prompts: short steps escape the host's floor, long ones do not, and 0 changes nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from planner.sim.simulate import simulate

FLOOR_S, STEP_S, TOKEN_S, CHUNK_S, PAIR_S = 0.05, 2e-3, 1e-5, 1e-5, 1e-10


def first_token_s(world: SimpleNamespace, tokens: int, graph_tokens: int) -> float:
    cost = world.step_cost(prefill_floor_s=FLOOR_S, graph_tokens=graph_tokens)
    run = simulate(world.one_pool(), {"all": world.a_replica(cost=cost)}, world.some_requests([0.0], tokens, 1))
    return float(run.first_token_s[0])


@pytest.mark.parametrize(
    ("tokens", "graph_tokens", "floored"),
    [(512, 512, False), (513, 512, True), (1, 512, False), (512, 0, True), (1, 0, True)],
)
def test_the_floor_holds_beyond_the_largest_graph(
    world: SimpleNamespace, tokens: int, graph_tokens: int, floored: bool
) -> None:
    step_s = STEP_S + tokens * TOKEN_S + CHUNK_S + PAIR_S * tokens * (tokens + 1) / 2
    expected = FLOOR_S if floored else step_s
    assert first_token_s(world, tokens, graph_tokens) == pytest.approx(expected, rel=1e-12)
