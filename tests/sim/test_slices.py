"""A run taken in slices is the run in one go; one that is ended early is the same run up to there."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from planner.sim import kernel
from planner.sim.metrics import e2e_s, summarise
from planner.sim.simulate import Run, simulate


def play(world: Any, **options: Any) -> Run:
    random = np.random.default_rng(8)
    n = 300
    requests = world.some_requests(
        np.cumsum(random.exponential(0.05, n)), random.integers(1, 900, n), random.integers(1, 200, n)
    )
    replica = world.a_replica(kv_blocks=400, max_seqs=16)
    return simulate(world.one_pool(replicas=2, router="power_of_two"), {"all": replica}, requests, **options)


def differing(a: Run, b: Run) -> set[str]:
    """Fields that are not the same to the last bit."""
    names = [field.name for field in dataclasses.fields(Run)]
    return {name for name in names if not np.array_equal(getattr(a, name), getattr(b, name))}


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("events", [1, 7, 1000])
def test_slices_change_no_bit(world: Any, monkeypatch: pytest.MonkeyPatch, compiled: bool, events: int) -> None:
    monkeypatch.setattr(kernel, "FIRST_SLICE", events)
    monkeypatch.setattr(kernel, "SLICE_S", 0.0)  # every later slice is one event
    seen: list[tuple[int, int]] = []

    def go_on(done: int, total: int) -> bool:
        seen.append((done, total))
        return True

    sliced = play(world, compiled=compiled, go_on=go_on)
    assert not differing(sliced, play(world, compiled=compiled))
    assert len(seen) > 500
    assert seen == sorted(seen)
    assert seen[-1][0] >= 299
    assert {total for _, total in seen} == {300}


@pytest.mark.parametrize("compiled", [True, False])
def test_an_ended_run_is_the_run_up_to_there(world: Any, monkeypatch: pytest.MonkeyPatch, compiled: bool) -> None:
    monkeypatch.setattr(kernel, "FIRST_SLICE", 100)
    monkeypatch.setattr(kernel, "SLICE_S", 0.0)
    cut = play(world, compiled=compiled, go_on=lambda done, total: done < 60)
    assert cut.interrupted
    assert np.isfinite(cut.finish_s).sum() == 60
    assert differing(cut, play(world, compiled=compiled, horizon_s=cut.end_s)) == {"interrupted"}
    found = summarise(cut)["chat"]
    arrived = int((cut.arrival_s <= cut.end_s).sum())
    assert 60 < arrived < 300
    assert found.requests == arrived
    assert found.metrics["e2e"].count == arrived
    assert "p99" in found.metrics["e2e"].bounded
    under_way = ~np.isfinite(cut.finish_s) & (cut.arrival_s <= cut.end_s)
    assert np.array_equal(e2e_s(cut)[under_way], cut.end_s - cut.arrival_s[under_way])


def test_a_run_can_be_ended_before_anything_happened(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "FIRST_SLICE", 1)
    cut = play(world, go_on=lambda done, total: False)
    found = summarise(cut)["chat"]
    assert cut.interrupted
    assert found.finished == 0
    assert found.requests <= 1
